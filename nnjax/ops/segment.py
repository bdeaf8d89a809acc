"""Sums, means, extremes and softmax over segments: rows that share an id, wherever they stand.

``data [..., E, *features]`` holds one row an entry, ``ids [..., E]`` the segment of each. The axes
before E are batch axes, segments of their own each; their number is that of ids. An id outside
[0, segments) takes part in nothing, like an entry where mask is False, whatever it holds. A segment
without entries gets zero. ``sorted=True`` promises ids that never decrease, which some devices add
up faster. Sums are taken in float32 or wider; results have data's dtype.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Num, Shaped

from nnjax.ops.precision import widen

Rows = Float[Array, "..."]  # [*batch, E, *features], or S in place of E
Ids = Integer[Array, "*batch E"]
Mask = Bool[Array, "*batch E"] | None


def take_rows(data: Shaped[Array, "..."], ids: Ids) -> Shaped[Array, "..."]:
    """Row ``ids[e]`` of data for each e: [*batch, S, *features] -> [*batch, E, *features].

    As in NumPy, negative ids count from the end; ids too large get the last row, or zeros if there
    are no rows.
    """
    axis = ids.ndim - 1
    if data.shape[axis] == 0:
        return jnp.zeros((*ids.shape, *data.shape[axis + 1 :]), data.dtype)
    f = lambda data, ids: data.at[ids].get(mode="clip")
    return _over_batch(f, ids)(data, ids)


def segment_sum(
    data: Num[Array, "..."],
    ids: Ids,
    segments: int,
    *,
    mask: Mask = None,
    sorted: bool = False,
) -> Num[Array, "..."]:
    """The sum of each segment's rows; integers are summed as they are."""
    wide = widen(data) if jnp.issubdtype(data.dtype, jnp.inexact) else data
    return _scatter(jax.ops.segment_sum, wide, ids, segments, mask, 0, sorted).astype(data.dtype)


def segment_count(
    ids: Ids, segments: int, *, mask: Mask = None, sorted: bool = False
) -> Integer[Array, "*batch S"]:
    """How many entries each segment has."""
    return segment_sum(jnp.ones(ids.shape, jnp.int32), ids, segments, mask=mask, sorted=sorted)


def segment_mean(
    data: Rows, ids: Ids, segments: int, *, mask: Mask = None, sorted: bool = False
) -> Rows:
    """The mean of each segment's rows."""
    total = segment_sum(widen(data), ids, segments, mask=mask, sorted=sorted)
    count = segment_count(ids, segments, mask=mask, sorted=sorted)
    count = jnp.maximum(count, 1).astype(total.dtype)
    return (total / _as_rows(count, total)).astype(data.dtype)


def segment_max(
    data: Rows, ids: Ids, segments: int, *, mask: Mask = None, sorted: bool = False
) -> Rows:
    """The largest of each segment's rows, feature by feature; entries that tie share gradients."""
    top = _scatter(jax.ops.segment_max, data, ids, segments, mask, -jnp.inf, sorted)
    any_row = segment_count(ids, segments, mask=mask, sorted=sorted) > 0
    return jnp.where(_as_rows(any_row, top), top, 0)


def segment_min(
    data: Rows, ids: Ids, segments: int, *, mask: Mask = None, sorted: bool = False
) -> Rows:
    """The smallest of each segment's rows, feature by feature; entries that tie share gradients."""
    return -segment_max(-data, ids, segments, mask=mask, sorted=sorted)


def segment_std(
    data: Rows,
    ids: Ids,
    segments: int,
    *,
    mask: Mask = None,
    sorted: bool = False,
    eps: float = 1e-5,
) -> Rows:
    """``sqrt(mean((x - mean)^2) + eps)`` of each segment's rows; eps keeps its gradient finite."""
    x = widen(data)
    x = x - take_rows(segment_mean(x, ids, segments, mask=mask, sorted=sorted), ids)
    var = segment_mean(jnp.square(x), ids, segments, mask=mask, sorted=sorted)
    any_row = segment_count(ids, segments, mask=mask, sorted=sorted) > 0
    return jnp.where(_as_rows(any_row, var), jnp.sqrt(var + eps), 0).astype(data.dtype)


def segment_softmax(
    logits: Rows, ids: Ids, segments: int, *, mask: Mask = None, sorted: bool = False
) -> Rows:
    """``exp(x_e) / sum(exp(x) over the segment of e)``: weights that sum to one in each segment.

    Zero where mask is False, and where every logit of the segment is -inf.
    """
    x = widen(logits)
    top = segment_max(x, ids, segments, mask=mask, sorted=sorted)
    top = jax.lax.stop_gradient(jnp.where(jnp.isneginf(top), 0, top))
    part = jnp.exp(_keep(x - take_rows(top, ids), mask, ids, -jnp.inf))
    total = segment_sum(part, ids, segments, sorted=sorted)
    return (part / take_rows(jnp.where(total > 0, total, 1), ids)).astype(logits.dtype)


AGGREGATES: dict[str, Callable[..., jax.Array]] = {
    "sum": segment_sum,
    "mean": segment_mean,
    "max": segment_max,
    "min": segment_min,
    "std": segment_std,
}


def ids_of_sizes(sizes: Integer[Array, "*batch G"], total: int) -> Integer[Array, "*batch N"]:
    """The segment of each of ``total`` rows that lie segment after segment, of these sizes.

    Rows beyond the last segment get G, which is out of range and so takes part in nothing.
    """
    ends = jnp.cumsum(sizes, -1)
    passed = segment_count(ends, total)  # how many segments end right before each row
    return jnp.cumsum(passed, -1).astype(sizes.dtype)


def _scatter(reduce, data, ids, segments, mask, fill, sorted):
    f = lambda data, ids: reduce(data, ids, num_segments=segments, indices_are_sorted=sorted)
    return _over_batch(f, ids)(_keep(data, mask, ids, fill), ids)


def _keep(data, mask, ids, fill):
    if mask is None:
        return data
    return jnp.where(_as_rows(mask, data), data, jnp.array(fill, data.dtype))


def _as_rows(a, data):
    """a [*batch, E] with axes of size one for the features of data."""
    return a.reshape(a.shape + (1,) * (data.ndim - a.ndim))


def _over_batch(f, ids):
    for _ in range(ids.ndim - 1):
        f = jax.vmap(f)
    return f
