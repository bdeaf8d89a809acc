"""Tables looked up by integers: embedding, and embedding_bag, which reduces the rows of a bag."""

from typing import Literal

import jax
import jax.numpy as jnp

from nnjax.core import (
    Layer,
    check_dtype,
    check_entries,
    check_floating,
    check_positive,
    check_shape,
)
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, normal
from nnjax.ops.precision import widen
from nnjax.ops.product import tensordot


def embedding(
    vocabulary: int,
    dim: int,
    *,
    padding_id: int | None = None,
    max_norm: float | None = None,
    embedding_init: Initializer = normal(stddev=0.02),
) -> Layer:
    """Row ``ids`` of a table, ``y = embedding[ids]``.

    With ``attend=True`` the same table works the other way, ``logits = x @ embedding.T``: tied
    weights. An id outside [0, vocabulary) gives a row of NaN, so that it shows; a negative one
    counts from the end, as in NumPy. Row padding_id begins as zeros and, looked up, has no
    gradient. A row longer than max_norm is scaled down to it on its way out; the table stays.

    Shapes: ids [...] -> y [..., D]; x [..., D] -> logits [..., V], with attend; embedding [V, D].
    Dtypes: ids any integer; embedding is made in float32, y has its dtype; logits have the dtype
        that x and embedding promote to.
    Raises: TypeError, if ids are not integers, or x is not floating; ValueError, if the last axis
        of x is not dim, or padding_id not in the table.
    Source: init of Radford et al. 2018 (GPT), section 4.1; tying from Press and Wolf 2017,
        https://arxiv.org/abs/1608.05859.
    """
    name = f"embedding({vocabulary}, {dim})"
    padding_id = _check_table(name, vocabulary, dim, padding_id, max_norm)

    def apply(params, state, ids, *, attend: bool = False, key=None, train=False):
        (table,) = check_entries(name, "params", params, embedding=(vocabulary, dim))
        if attend:
            check_floating(name, "x", ids)
            check_shape(name, "x", ids, (..., dim))
            return tensordot(ids, _shorten(table, max_norm).T), state
        return _rows(name, table, ids, padding_id, max_norm)[0], state

    return Layer(_table_init(vocabulary, dim, padding_id, embedding_init), apply, name)


def embedding_bag(
    vocabulary: int,
    dim: int,
    *,
    reduce: Literal["sum", "mean", "max"] = "mean",
    padding_id: int | None = None,
    max_norm: float | None = None,
    embedding_init: Initializer = normal(stddev=0.02),
) -> Layer:
    """The rows of a bag of ids as one: ``y = reduce_i embedding[ids_i]``.

    Bags are the last axis of ids, or, with ``offsets``, pieces of one long row of ids: bag b begins
    at ``offsets[b]`` and ends where the next one begins. Ids equal to padding_id take no part. An
    empty bag gives zeros. ``weights`` multiplies each row; only a sum has them.

    Shapes: ids [..., L] -> y [..., D]; ids [N] and offsets [B], ascending from 0 -> y [B, D];
        weights as ids; embedding [V, D].
    Dtypes: ids and offsets any integer; embedding is made in float32, y has its dtype; sums are
        taken in float32 or wider.
    Raises: TypeError, if ids or offsets are not integers; ValueError, for weights that do not fit
        ids, or another reduction than a sum.
    """
    name = f"embedding_bag({vocabulary}, {dim})"
    padding_id = _check_table(name, vocabulary, dim, padding_id, max_norm)
    if reduce not in ("sum", "mean", "max"):
        raise LayerValueError(f"{name}: got reduce={reduce!r}, expected 'sum', 'mean' or 'max'.")

    def apply(params, state, ids, *, offsets=None, weights=None, key=None, train=False):
        (table,) = check_entries(name, "params", params, embedding=(vocabulary, dim))
        fix = "A bag is an axis of ids; for bags of several lengths, give offsets."
        check_shape(name, "ids", ids, (..., None) if offsets is None else (None,), fix)
        rows, counted = _rows(name, table, ids, padding_id, max_norm)
        if weights is not None:
            if reduce != "sum":
                fix = "Take reduce='sum', and divide by the weights' sum for a weighted mean."
                raise LayerValueError(f"{name}: got weights and reduce={reduce!r}. {fix}")
            check_floating(name, "weights", weights)
            check_shape(name, "weights", weights, jnp.shape(ids), "Give each id one weight.")
            rows = widen(rows) * widen(weights)[..., None]
        rows, counted = widen(rows), counted[..., None]
        if offsets is None:
            y = _reduce_axis(reduce, rows, counted)
        else:
            check_dtype(name, "offsets", offsets, jnp.integer, "They count ids.")
            check_shape(name, "offsets", offsets, (None,))
            y = _reduce_pieces(reduce, rows, counted, offsets)
        return y.astype(table.dtype), state

    return Layer(_table_init(vocabulary, dim, padding_id, embedding_init), apply, name)


def _check_table(name, vocabulary, dim, padding_id, max_norm) -> int | None:
    """Check the settings of a table; padding_id as a row counted from 0."""
    check_positive(name, vocabulary=vocabulary, dim=dim)
    if padding_id is not None and not -vocabulary <= padding_id < vocabulary:
        raise LayerValueError(f"{name}: got padding_id={padding_id}, expected one of its rows.")
    if max_norm is not None and not max_norm > 0:
        raise LayerValueError(f"{name}: got max_norm={max_norm}, expected a positive length.")
    return None if padding_id is None else padding_id % vocabulary


def _table_init(vocabulary, dim, padding_id, embedding_init):
    def init(key):
        table = embedding_init(key, (vocabulary, dim))
        if padding_id is not None:
            table = table.at[padding_id].set(0.0)
        return {"embedding": table}, {}

    return init


def _rows(name, table, ids, padding_id, max_norm) -> tuple[jax.Array, jax.Array]:
    """``table[ids]``, and which of the ids are not padding."""
    check_dtype(name, "ids", ids, jnp.integer, "Convert them: ids.astype(jnp.int32).")
    if jnp.result_type(ids).itemsize < 4:  # too narrow to add the vocabulary to negative ids
        ids = jnp.asarray(ids, jnp.int32)
    rows = jnp.take(table, ids, axis=0, mode="fill", fill_value=jnp.nan)
    counted = jnp.ones(jnp.shape(ids), bool)
    if padding_id is not None:
        counted = (ids != padding_id) & (ids != padding_id - len(table))
        rows = jnp.where(counted[..., None], rows, jax.lax.stop_gradient(rows))
    return _shorten(rows, max_norm), counted


def _shorten(rows: jax.Array, max_norm: float | None) -> jax.Array:
    """Rows longer than max_norm, scaled down to it."""
    if max_norm is None:
        return rows
    squared = jnp.square(widen(rows)).sum(-1, keepdims=True)
    long = squared > max_norm**2
    scale = max_norm / jnp.sqrt(jnp.where(long, squared, 1.0))  # no square root of zero's slope
    return jnp.where(long, rows * scale.astype(rows.dtype), rows)


def _reduce_axis(reduce, rows, counted):
    """Rows [..., L, D], counted [..., L, 1] -> [..., D]."""
    if reduce == "max":
        top = jnp.where(counted, rows, -jnp.inf).max(-2, initial=-jnp.inf)
        return jnp.where(counted.any(-2), top, 0.0)
    total = jnp.where(counted, rows, 0.0).sum(-2)
    if reduce == "mean":
        total = total / jnp.maximum(counted.sum(-2, dtype=rows.dtype), 1.0)
    return total


def _reduce_pieces(reduce, rows, counted, offsets):
    """Rows [N, D], counted [N, 1] and offsets [B] -> [B, D]."""
    place = jnp.arange(len(rows), dtype=jnp.int32)
    bag = jnp.searchsorted(offsets.astype(jnp.int32), place, side="right") - 1
    options = {"num_segments": len(offsets), "indices_are_sorted": True}
    if reduce == "max":  # found by index: a gather has a derivative, a scattered maximum has none
        # One copy of the numbers, or a maximum might equal none of them computed anew.
        fixed = jax.lax.optimization_barrier(jax.lax.stop_gradient(rows))
        top = jax.ops.segment_max(jnp.where(counted, fixed, -jnp.inf), bag, **options)
        best = counted & ((fixed == top[bag]) | jnp.isnan(fixed))
        first = jax.ops.segment_min(jnp.where(best, place[:, None], len(rows)), bag, **options)
        first = jnp.minimum(first, len(rows))  # an empty bag has the largest integer
        padded = jnp.concatenate([rows, jnp.zeros_like(rows, shape=(1, rows.shape[-1]))])
        return jnp.take_along_axis(padded, first, axis=0)
    total = jax.ops.segment_sum(jnp.where(counted, rows, 0.0), bag, **options)
    if reduce == "mean":
        count = jax.ops.segment_sum(counted.astype(rows.dtype), bag, **options)
        total = total / jnp.maximum(count, 1.0)
    return total
