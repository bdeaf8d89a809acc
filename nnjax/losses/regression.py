"""Losses over real targets, entry by entry: optax's where it has them."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from nnjax.core.errors import LayerValueError
from nnjax.losses.reduction import Reduction, alike, reduce


def squared_error(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``(predictions - targets)**2``, entry by entry, without the half that some books put before.

    Shapes: predictions [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the targets, squared.
    Raises: ValueError, if the shapes differ; TypeError, if predictions are not floating.
    """
    name = "squared_error"
    predictions, targets = alike(name, mask, predictions=predictions, targets=targets)
    return reduce(name, optax.squared_error(predictions, targets), weights, mask, reduction)


def absolute_error(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``|predictions - targets|``, entry by entry.

    Shapes: predictions [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the targets.
    Raises: ValueError, if the shapes differ; TypeError, if predictions are not floating.
    """
    name = "absolute_error"
    predictions, targets = alike(name, mask, predictions=predictions, targets=targets)
    return reduce(name, jnp.abs(predictions - targets), weights, mask, reduction)


def huber_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    delta: float = 1.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``e**2 / 2`` up to an error e of delta, and the straight line ``delta * (e - delta / 2)`` on.

    Shapes: predictions [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the targets, squared; delta has those of the targets.
    Raises: ValueError, if the shapes differ or delta is not above 0; TypeError, if predictions are
            not floating.
    Source: Huber 1964, https://doi.org/10.1214/aoms/1177703732.
    """
    name = "huber_loss"
    if not delta > 0:
        raise LayerValueError(f"{name}: got delta={delta}, expected above 0. Or use squared_error.")
    predictions, targets = alike(name, mask, predictions=predictions, targets=targets)
    loss = optax.losses.huber_loss(predictions, targets, delta=delta)
    return reduce(name, loss, weights, mask, reduction)


def smooth_l1_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    beta: float = 1.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``huber_loss / beta``: slope 1 beyond an error of beta, ``e**2 / (2 * beta)`` below it.

    Shapes: predictions [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the targets, beta's too. With beta 0 it is absolute_error.
    Raises: ValueError, if the shapes differ or beta is negative; TypeError, if predictions are not
            floating.
    Source: Girshick 2015, https://arxiv.org/abs/1504.08083, equation 3.
    """
    name = "smooth_l1_loss"
    if beta < 0:
        raise LayerValueError(f"{name}: got beta={beta}, expected 0 or above.")
    if beta == 0:
        return absolute_error(predictions, targets, weights=weights, mask=mask, reduction=reduction)
    predictions, targets = alike(name, mask, predictions=predictions, targets=targets)
    loss = optax.losses.huber_loss(predictions, targets, delta=beta) / beta
    return reduce(name, loss, weights, mask, reduction)


def log_cosh(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``log(cosh(predictions - targets))``: half the square when small, the size less log 2 else.

    Shapes: predictions [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  targets without one: the error 1 is where the square turns into a line.
    Raises: ValueError, if the shapes differ; TypeError, if predictions are not floating.
    """
    name = "log_cosh"
    predictions, targets = alike(name, mask, predictions=predictions, targets=targets)
    return reduce(name, optax.losses.log_cosh(predictions, targets), weights, mask, reduction)


def absolute_percentage_error(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    eps: float = 1e-7,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``|predictions - targets| / max(|targets|, eps)``; its mean is the MAPE.

    Shapes: predictions [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  a share, not percent: 0.1 is ten percent off. eps has the units of the targets.
    Raises: ValueError, if the shapes differ; TypeError, if predictions are not floating.
    """
    name = "absolute_percentage_error"
    predictions, targets = alike(name, mask, predictions=predictions, targets=targets)
    loss = jnp.abs(predictions - targets) / jnp.maximum(jnp.abs(targets), eps)
    return reduce(name, loss, weights, mask, reduction)


def squared_log_error(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``(log(1 + predictions) - log(1 + targets))**2``; its mean is the MSLE.

    Shapes: predictions [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider; NaN for what is below -1.
    Units:  targets are counts.
    Raises: ValueError, if the shapes differ; TypeError, if predictions are not floating.
    """
    name = "squared_log_error"
    predictions, targets = alike(name, mask, predictions=predictions, targets=targets)
    loss = (jnp.log1p(predictions) - jnp.log1p(targets)) ** 2
    return reduce(name, loss, weights, mask, reduction)


def quantile_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    quantile: float,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``max(q e, (q - 1) e)`` with ``e = targets - predictions``: least at the quantile q.

    Shapes: predictions [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the targets. Half of absolute_error at the median, q = 0.5.
    Raises: ValueError, if the shapes differ or the quantile is not inside (0, 1); TypeError, if
            predictions are not floating.
    Source: Koenker, Bassett 1978, https://doi.org/10.2307/1913643.
    """
    name = "quantile_loss"
    if not 0 < quantile < 1:
        fix = "The median is 0.5."
        raise LayerValueError(f"{name}: got quantile={quantile}, expected inside (0, 1). {fix}")
    predictions, targets = alike(name, mask, predictions=predictions, targets=targets)
    e = targets - predictions
    return reduce(name, jnp.maximum(quantile * e, (quantile - 1) * e), weights, mask, reduction)


def cosine_distance(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    eps: float = 1e-12,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``1 - cos(angle between predictions and targets)``.

    Shapes: predictions [..., D], targets [..., D] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  eps bounds the squared lengths from below, so that a vector of zeros has a gradient.
    Raises: ValueError, if the shapes differ; TypeError, if predictions are not floating.
    """
    name = "cosine_distance"
    predictions, targets = alike(name, mask, 1, predictions=predictions, targets=targets)
    loss = optax.losses.cosine_distance(predictions, targets, epsilon=eps)
    return reduce(name, loss, weights, mask, reduction)
