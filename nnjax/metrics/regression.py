"""Regression: errors, correlations and the explained share of variance."""

from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core import check_shape
from nnjax.metrics.metric import Metric, averaged, collected, divide, pair_of, rows
from nnjax.ops.precision import widen


def mean() -> Metric:
    """The mean of the values given: of a loss, for example."""
    return averaged("mean", lambda values: widen(values))


def mean_squared_error() -> Metric:
    """``mean((predictions - targets)^2)``."""
    return _error("mean_squared_error", jnp.square)


def root_mean_squared_error() -> Metric:
    """``sqrt(mean((predictions - targets)^2))`` over the whole stream."""
    return _error("root_mean_squared_error", jnp.square, jnp.sqrt)


def mean_absolute_error() -> Metric:
    """``mean(|predictions - targets|)``."""
    return _error("mean_absolute_error", jnp.abs)


def _error(name, size, finish=lambda x: x) -> Metric:
    def values(predictions, targets):
        predictions, targets = pair_of(name, predictions, targets)
        return size(predictions - targets)

    return averaged(name, values, finish)


def r2() -> Metric:
    """``1 - sum((targets - predictions)^2) / sum((targets - mean(targets))^2)``.

    NaN where the targets do not vary.
    """

    compute = lambda s: 1 - divide(s["error"], s["yy"])
    return _moments("r2", compute)


def pearson() -> Metric:
    """Covariance of predictions and targets over the product of their standard deviations."""
    compute = lambda s: divide(s["xy"], jnp.sqrt(s["xx"]) * jnp.sqrt(s["yy"]))
    return _moments("pearson", compute)


def _moments(name, compute) -> Metric:
    """Means and centred second moments, merged without cancellation.

    Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm", equation 2.1.
    """

    def measure(predictions, targets, mask=None):
        x, y = pair_of(name, predictions, targets)
        kept = rows(name, mask, x.shape)
        count = kept.sum(dtype=jnp.int32)
        n = jnp.maximum(count, 1).astype(x.dtype)
        mean = lambda a: jnp.where(kept, a, 0).sum() / n
        mx, my = mean(x), mean(y)
        dx, dy = jnp.where(kept, x - mx, 0), jnp.where(kept, y - my, 0)
        moments = {"xx": (dx * dx).sum(), "xy": (dx * dy).sum(), "yy": (dy * dy).sum()}
        error = jnp.where(kept, jnp.square(x - y), 0).sum()
        return {"count": count, "x": mx, "y": my, **moments, "error": error}

    def merge(a, b):
        count = a["count"] + b["count"]
        n, na, nb = (c.astype(jnp.float32) for c in (jnp.maximum(count, 1), a["count"], b["count"]))
        dx, dy = b["x"] - a["x"], b["y"] - a["y"]
        both = {"xx": dx * dx, "xy": dx * dy, "yy": dy * dy}
        moments = {k: a[k] + b[k] + d * (na / n) * nb for k, d in both.items()}
        means = {"x": a["x"] + dx * nb / n, "y": a["y"] + dy * nb / n}
        return {"count": count, **means, **moments, "error": a["error"] + b["error"]}

    def init():
        zero = {k: jnp.zeros((), jnp.float32) for k in ("x", "y", "xx", "xy", "yy", "error")}
        return {"count": jnp.zeros((), jnp.int32), **zero}

    return Metric(init, measure, merge, compute, name)


def spearman(*, capacity: int | None = None) -> Metric:
    """Pearson's correlation of the ranks, equal values sharing their mean rank.

    It needs all rows: give the ``capacity`` for a state of one shape.
    """

    def columns(predictions, targets):
        x, y = pair_of("spearman", predictions, targets)
        return {"x": x.reshape(-1), "y": y.reshape(-1)}

    def compute(table, kept):
        return pearson()(ranks(table["x"], kept), ranks(table["y"], kept), mask=kept)

    number = jax.ShapeDtypeStruct((), jnp.float32)
    return collected("spearman", columns, compute, capacity, x=number, y=number)


def ranks(x: jax.Array, kept: jax.Array) -> jax.Array:
    """Ranks from 1 among the kept, ties by their mean. x [N], kept [N] -> [N] in float32."""
    ordered = jnp.sort(jnp.where(kept, x, jnp.inf))
    below = jnp.searchsorted(ordered, x, side="left")
    upto = jnp.minimum(jnp.searchsorted(ordered, x, side="right"), kept.sum())
    return (below + 1 + upto).astype(jnp.float32) / 2


def crps() -> Metric:
    """Continuous ranked probability score of an ensemble, mean over targets.

    ``mean_i |x_i - y| - mean_ij |x_i - x_j| / 2`` for members x_i; one member gives the absolute
    error.

    Shapes: members [..., M], targets [...]; mask [...].
    Units:  those of the targets.
    Source: Gneiting and Raftery 2007, https://doi.org/10.1198/016214506000001437, equation 21.
    """

    def values(members: Any, targets: Any):
        members = widen(members)
        check_shape("crps", "targets", targets, members.shape[:-1], "One target an ensemble.")
        targets = jnp.asarray(targets).astype(members.dtype)
        m = members.shape[-1]
        # sum_ij |x_i - x_j| = 2 sum_i (2 i - m + 1) x_(i) for sorted x, i from 0
        weights = 2 * jnp.arange(m, dtype=members.dtype) - m + 1
        spread = (jnp.sort(members, -1) * weights).sum(-1) / m**2
        return jnp.abs(members - targets[..., None]).mean(-1) - spread

    return averaged("crps", values)
