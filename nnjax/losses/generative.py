"""Parts of the losses of variational and of vector-quantised autoencoders."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from nnjax.losses.likelihood import LOG_2PI
from nnjax.losses.reduction import Reduction, alike, reduce


def gaussian_kl(
    means: ArrayLike,
    log_variances: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``KL(N(means, exp(log_variances)) || N(0, 1)) = sum_d (m^2 + v - 1 - log v) / 2``.

    The negative ELBO is this plus a reconstruction; a factor on it makes a beta-VAE.

    Shapes: means [..., D], log_variances [..., D] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if means are not floating.
    Source: Kingma, Welling 2013, https://arxiv.org/abs/1312.6114, appendix B.
    """
    name = "gaussian_kl"
    m, log_v = alike(name, mask, 1, means=means, log_variances=log_variances)
    loss = 0.5 * (m**2 + jnp.expm1(log_v) - log_v).sum(-1)
    return reduce(name, loss, weights, mask, reduction)


def bernoulli_reconstruction(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    axes: int = 1,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-log p(targets)`` of independent bits with those logits: cross entropies, summed.

    Shapes: logits [..., *E], targets [..., *E] -> [...], E being the last ``axes`` axes, which make
            one example.
    Dtypes: targets in [0, 1], of any dtype; computed and returned in float32 or wider.
    Units:  nats an example, not an entry: only so does it add up with gaussian_kl.
    Raises: ValueError, if the shapes differ; TypeError, if logits are not floating.
    Source: Kingma, Welling 2013, https://arxiv.org/abs/1312.6114, appendix C.1.
    """
    name = "bernoulli_reconstruction"
    logits, targets = alike(name, mask, axes, logits=logits, targets=targets)
    loss = optax.sigmoid_binary_cross_entropy(logits, targets)
    return reduce(name, loss.sum(tuple(range(-axes, 0))), weights, mask, reduction)


def gaussian_reconstruction(
    means: ArrayLike,
    targets: ArrayLike,
    *,
    scale: float = 1.0,
    axes: int = 1,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-log p(targets)`` of independent normal entries: ``sum z**2 / 2 + log(scale sqrt(2 pi))``.

    Here ``z = (targets - means) / scale``. A scale of its own an entry is gaussian_nll's, summed.

    Shapes: means [..., *E], targets [..., *E] -> [...], E being the last ``axes`` axes, which make
            one example.
    Dtypes: computed and returned in float32 or wider.
    Units:  nats of a density in the targets' units, scale's too.
    Raises: ValueError, if the shapes differ; TypeError, if means are not floating.
    Source: Kingma, Welling 2013, https://arxiv.org/abs/1312.6114, appendix C.2.
    """
    name = "gaussian_reconstruction"
    means, targets = alike(name, mask, axes, means=means, targets=targets)
    loss = 0.5 * jnp.square((targets - means) / scale) + jnp.log(scale) + 0.5 * LOG_2PI
    return reduce(name, loss.sum(tuple(range(-axes, 0))), weights, mask, reduction)


def vq_codebook_loss(
    encoded: ArrayLike,
    quantized: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``|stop_gradient(encoded) - quantized|**2``: moves the code to what was encoded.

    Shapes: encoded [..., D], quantized [..., D] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the codes, squared.
    Raises: ValueError, if the shapes differ; TypeError, if encoded is not floating.
    Source: van den Oord, Vinyals, Kavukcuoglu 2017, https://arxiv.org/abs/1711.00937, equation 3.
    """
    name = "vq_codebook_loss"
    e, q = alike(name, mask, 1, encoded=encoded, quantized=quantized)
    loss = jnp.square(jax.lax.stop_gradient(e) - q).sum(-1)
    return reduce(name, loss, weights, mask, reduction)


def vq_commitment_loss(
    encoded: ArrayLike,
    quantized: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``|encoded - stop_gradient(quantized)|**2``: keeps the encoder near its code.

    The paper adds a quarter of it to the codebook loss.

    Shapes: encoded [..., D], quantized [..., D] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the codes, squared.
    Raises: ValueError, if the shapes differ; TypeError, if encoded is not floating.
    Source: van den Oord, Vinyals, Kavukcuoglu 2017, https://arxiv.org/abs/1711.00937, equation 3.
    """
    name = "vq_commitment_loss"
    e, q = alike(name, mask, 1, encoded=encoded, quantized=quantized)
    loss = jnp.square(e - jax.lax.stop_gradient(q)).sum(-1)
    return reduce(name, loss, weights, mask, reduction)
