"""Negative log likelihoods of real and of counted targets."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.core import check_floating, check_shape
from nnjax.losses.reduction import Reduction, alike, hide, reduce
from nnjax.ops.precision import widen

LOG_2PI = math.log(2 * math.pi)


def poisson_nll(
    log_rates: ArrayLike,
    targets: ArrayLike,
    *,
    full: bool = False,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``exp(log_rates) - targets * log_rates``, and ``+ log(targets!)`` if full.

    Shapes: log_rates [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  nats; targets are counts. Without full it lacks what no prediction can change.
    Raises: ValueError, if the shapes differ; TypeError, if log_rates are not floating.
    """
    name = "poisson_nll"
    log_rates, targets = alike(name, mask, log_rates=log_rates, targets=targets)
    loss = jnp.exp(log_rates) - targets * log_rates
    if full:
        loss = loss + jax.scipy.special.gammaln(targets + 1)
    return reduce(name, loss, weights, mask, reduction)


def gaussian_nll(
    means: ArrayLike,
    targets: ArrayLike,
    variances: ArrayLike,
    *,
    eps: float = 1e-6,
    full: bool = False,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``(log v + (means - targets)**2 / v) / 2``, and ``+ log(2 pi) / 2`` if full.

    Here ``v = max(variances, eps)``, with the gradient of v alone, so that a variance below eps can
    still grow.

    Shapes: means [...], targets [...], variances [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  nats; variances and eps have the units of the targets, squared.
    Raises: ValueError, if the shapes differ; TypeError, if means are not floating.
    Source: Nix, Weigend 1994, https://doi.org/10.1109/ICNN.1994.374138.
    """
    name = "gaussian_nll"
    means, targets, v = alike(name, mask, means=means, targets=targets, variances=variances)
    v = v + jax.lax.stop_gradient(jnp.maximum(v, eps) - v)
    loss = 0.5 * (jnp.log(v) + (means - targets) ** 2 / v)
    return reduce(name, loss + 0.5 * LOG_2PI if full else loss, weights, mask, reduction)


def gaussian_mixture_nll(
    means: ArrayLike,
    targets: ArrayLike,
    log_scales: ArrayLike,
    logits: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-log sum_k softmax(logits)_k prod_d N(targets_d; means_kd, exp(log_scales_kd))``.

    The loss of a mixture density network, each of whose K components has its own scale an axis.

    Shapes: means [..., K, D], targets [..., D], log_scales [..., K, D], logits [..., K] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  nats, of a density in the targets' units; log_scales are logs of standard deviations.
    Raises: ValueError, if the shapes do not fit; TypeError, if means are not floating.
    Source: Bishop 1994, https://publications.aston.ac.uk/id/eprint/373/, section 3.
    """
    name = "gaussian_mixture_nll"
    means, log_scales = alike(name, mask, 2, means=means, log_scales=log_scales)
    *batch, k, d = means.shape
    check_shape(name, "targets", targets, (*batch, d), "Give one vector an example.")
    check_shape(name, "logits", logits, (*batch, k), "Give one an example and component.")
    check_floating(name, "logits", logits)
    targets = hide(name, jnp.asarray(targets, means.dtype), mask, 1)
    logits = hide(name, jnp.asarray(widen(logits), means.dtype), mask, 1)
    z = (targets[..., None, :] - means) * jnp.exp(-log_scales)
    log_density = -0.5 * jnp.square(z) - log_scales - 0.5 * LOG_2PI
    loss = -jax.nn.logsumexp(jax.nn.log_softmax(logits) + log_density.sum(-1), -1)
    return reduce(name, loss, weights, mask, reduction)
