"""GAN losses: non-saturating, least squares, hinge, Wasserstein with a gradient penalty.

A discriminator's takes its outputs for real and for generated examples, a generator's those for
generated ones alone.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.core import check_shape
from nnjax.losses.contrastive import safe_sqrt
from nnjax.losses.reduction import Reduction, alike, reduce


def gan_discriminator_loss(
    real: ArrayLike,
    fake: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-log sigmoid(real) - log(1 - sigmoid(fake))``.

    Shapes: real [...], fake [...], logits -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if real is not floating.
    Source: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1.
    """
    name = "gan_discriminator_loss"
    real, fake = alike(name, mask, real=real, fake=fake)
    return reduce(name, jax.nn.softplus(-real) + jax.nn.softplus(fake), weights, mask, reduction)


def gan_generator_loss(
    fake: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-log sigmoid(fake)``: the form that does not saturate while the discriminator wins.

    Shapes: fake [...], logits -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  nats.
    Raises: TypeError, if fake is not floating.
    Source: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, section 3.
    """
    (fake,) = alike("gan_generator_loss", mask, fake=fake)
    return reduce("gan_generator_loss", jax.nn.softplus(-fake), weights, mask, reduction)


def lsgan_discriminator_loss(
    real: ArrayLike,
    fake: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``((real - 1)**2 + fake**2) / 2``.

    Shapes: real [...], fake [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Raises: ValueError, if the shapes differ; TypeError, if real is not floating.
    Source: Mao et al. 2016, https://arxiv.org/abs/1611.04076, equation 9.
    """
    name = "lsgan_discriminator_loss"
    real, fake = alike(name, mask, real=real, fake=fake)
    return reduce(name, 0.5 * ((real - 1) ** 2 + fake**2), weights, mask, reduction)


def lsgan_generator_loss(
    fake: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``(fake - 1)**2 / 2``.

    Shapes: fake [...] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Raises: TypeError, if fake is not floating.
    Source: Mao et al. 2016, https://arxiv.org/abs/1611.04076, equation 9.
    """
    (fake,) = alike("lsgan_generator_loss", mask, fake=fake)
    return reduce("lsgan_generator_loss", 0.5 * (fake - 1) ** 2, weights, mask, reduction)


def hinge_discriminator_loss(
    real: ArrayLike,
    fake: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``max(0, 1 - real) + max(0, 1 + fake)``; its generator's is wasserstein_generator_loss.

    Shapes: real [...], fake [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Raises: ValueError, if the shapes differ; TypeError, if real is not floating.
    Source: Lim, Ye 2017, https://arxiv.org/abs/1705.02894.
    """
    name = "hinge_discriminator_loss"
    real, fake = alike(name, mask, real=real, fake=fake)
    loss = jnp.maximum(0, 1 - real) + jnp.maximum(0, 1 + fake)
    return reduce(name, loss, weights, mask, reduction)


def wasserstein_critic_loss(
    real: ArrayLike,
    fake: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``fake - real``, to which the gradient penalty is added.

    Shapes: real [...], fake [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Raises: ValueError, if the shapes differ; TypeError, if real is not floating.
    Source: Arjovsky, Chintala, Bottou 2017, https://arxiv.org/abs/1701.07875, algorithm 1.
    """
    name = "wasserstein_critic_loss"
    real, fake = alike(name, mask, real=real, fake=fake)
    return reduce(name, fake - real, weights, mask, reduction)


def wasserstein_generator_loss(
    fake: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-fake``.

    Shapes: fake [...] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Raises: TypeError, if fake is not floating.
    Source: Arjovsky, Chintala, Bottou 2017, https://arxiv.org/abs/1701.07875, algorithm 1.
    """
    (fake,) = alike("wasserstein_generator_loss", mask, fake=fake)
    return reduce("wasserstein_generator_loss", -fake, weights, mask, reduction)


def gradient_penalty(
    critic: Callable[[jax.Array], jax.Array],
    real: ArrayLike,
    fake: ArrayLike,
    key: jax.Array,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``(|d critic / dx| - 1)**2`` at a random point x between each real and fake example.

    ``critic`` is a pure function of a batch, such as ``lambda x: model(params, x)[:, 0]``, that
    treats its examples one by one (no batch statistics). Multiply it by 10 and add it.

    Shapes: real [B, ...], fake [B, ...]; critic [B, ...] -> [B] -> [B].
    Dtypes: computed and returned in float32 or wider.
    Raises: ValueError, if the shapes differ or the critic returns not one number an example;
            TypeError, if real is not floating.
    Source: Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028, equation 3.
    """
    name = "gradient_penalty"
    check_shape(name, "real", real, (None, ...), "Give it an axis of examples.")
    event = len(jnp.shape(real)) - 1
    real, fake = alike(name, mask, event, real=real, fake=fake)
    share = jax.random.uniform(key, (real.shape[0],) + (1,) * event, real.dtype)

    def total(x):
        scores = critic(x)
        check_shape(name, "critic(x)", scores, real.shape[:1], "It gives one number an example.")
        return scores.sum()

    slope = jax.grad(total)(share * real + (1 - share) * fake)
    norm = safe_sqrt(jnp.square(slope).sum(tuple(range(1, event + 1))))
    return reduce(name, (norm - 1) ** 2, weights, mask, reduction)
