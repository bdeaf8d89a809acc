"""A metric is a monoid: measure a batch, merge measurements, compute the value at the end."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core import check_dtype, check_shape
from nnjax.ops.precision import widen

State = Any


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Metric:
    """Four pure functions, so that a value streams over batches, devices and files::

        init() -> state                                 nothing seen yet
        update(state, *batch, mask=None) -> state       one more batch
        merge(state, state) -> state                    two measurements as one
        compute(state) -> value

    ``metric(*batch)`` is the value of one batch alone. Rows whose ``mask`` is False take no part,
    whatever they hold. ``across`` merges the states of the devices or copies of a mapped axis.
    A metric of nothing is NaN. All of it runs under ``jit``, ``vmap`` and ``scan``, unless the
    metric says that it takes text.
    """

    init: Callable[[], State]
    measure: Callable[..., State]
    merge: Callable[[State, State], State]
    compute: Callable[[State], Any]
    name: str

    def update(self, state: State, *batch: Any, mask: Any = None) -> State:
        """The state after one more batch."""
        return self.merge(state, self.measure(*batch, mask=mask))

    def __call__(self, *batch: Any, mask: Any = None) -> Any:
        """The value of one batch."""
        return self.compute(self.measure(*batch, mask=mask))

    def across(self, state: State, axis_name: str) -> State:
        """The states of all devices or copies of ``axis_name`` as one, the same on each."""
        every = jax.lax.all_gather(state, axis_name)
        parts = [jax.tree.map(lambda a, i=i: a[i], every) for i in range(_length(every))]
        return functools.reduce(self.merge, parts)

    def __repr__(self) -> str:
        return self.name


def collection(**metrics: Metric) -> Metric:
    """Metrics of the same batches under one roof: states and values are dicts by name."""
    each = lambda call: {name: call(name, metric) for name, metric in metrics.items()}
    return Metric(
        lambda: each(lambda _, metric: metric.init()),
        lambda *batch, mask=None: each(lambda _, metric: metric.measure(*batch, mask=mask)),
        lambda a, b: each(lambda name, metric: metric.merge(a[name], b[name])),
        lambda state: each(lambda name, metric: metric.compute(state[name])),
        f"collection({', '.join(metrics)})",
    )


def bootstrap(
    metric: Metric,
    key: jax.Array,
    *batch: Any,
    mask: Any = None,
    samples: int = 1000,
    level: float = 0.95,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``(value, low, high)``: a metric with its percentile bootstrap interval, by one ``vmap``.

    Rows are drawn with replacement ``samples`` times; low and high are the quantiles
    (1 - level) / 2 and (1 + level) / 2 of the values.

    Shapes: batch arrays [B, ...], mask [B].
    Raises: ValueError, if level is outside (0, 1).
    Source: Efron 1979, https://doi.org/10.1214/aos/1176344552.
    """
    if not 0 < level < 1:
        raise ValueError(f"bootstrap: got level={level}, expected 0 < level < 1.")
    rows = len(batch[0])
    mask = jnp.ones(rows, bool) if mask is None else mask

    def once(key):
        drawn = jax.random.choice(key, rows, (rows,))
        return metric(*(jnp.asarray(x)[drawn] for x in batch), mask=mask[drawn])

    values = jax.vmap(once)(jax.random.split(key, samples))
    ends = jnp.asarray([(1 - level) / 2, (1 + level) / 2], values.dtype)
    low, high = jnp.nanquantile(values, ends, axis=0)
    return metric(*batch, mask=mask), low, high


# What the makers of metrics share.


def summed(name: str, measure: Callable[..., State], compute: Callable[[State], Any], empty: State):
    """A metric whose states add: counts in int32, exact to 2 thousand million, and sums.

    States may also be added over devices by a bare ``jax.lax.psum``.
    """
    return Metric(
        lambda: jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), empty),
        measure,
        lambda a, b: jax.tree.map(jnp.add, a, b),
        compute,
        name,
    )


def averaged(
    name: str, values: Callable[..., jax.Array], finish: Callable[[jax.Array], Any] = lambda x: x
) -> Metric:
    """The mean of ``values(*batch)`` over all unmasked entries of the stream, then ``finish``.

    The running mean and not the running sum is carried, so that a long stream loses no digits.
    """

    def measure(*batch, mask=None):
        x = values(*batch)
        kept = rows(name, mask, x.shape)
        count = kept.sum(dtype=jnp.int32)
        total = jnp.where(kept, x, 0).sum()
        return {"mean": total / jnp.maximum(count, 1).astype(x.dtype), "count": count}

    def merge(a, b):
        count = a["count"] + b["count"]
        share = b["count"].astype(jnp.float32) / jnp.maximum(count, 1).astype(jnp.float32)
        # a share of 0 keeps a's mean to the bit, and 0 * inf away
        move = jnp.where(b["count"] > 0, (b["mean"] - a["mean"]) * share, 0)
        return {"mean": a["mean"] + move, "count": count}

    def compute(state):
        return finish(jnp.where(state["count"] > 0, state["mean"], jnp.nan))

    empty = lambda: {"mean": jnp.zeros((), jnp.float32), "count": jnp.zeros((), jnp.int32)}
    return Metric(empty, measure, merge, compute, name)


def collected(
    name: str,
    columns: Callable[..., dict[str, jax.Array]],
    compute: Callable[[dict[str, jax.Array], jax.Array], Any],
    capacity: int | None,
    **empty: Any,
) -> Metric:
    """A metric that needs all rows at once, as those of ranks do.

    ``columns(*batch)`` gives named columns [rows, ...], of the dtypes and trailing shapes of
    ``empty``; ``compute(columns, kept)`` the value. With a ``capacity``, the state has room for as
    many unmasked rows and one shape for all batches, and the value is NaN when more came; without
    one, the state grows by every batch.
    """

    def measure(*batch, mask=None):
        table = columns(*batch)
        size = len(next(iter(table.values())))
        kept = rows(name, mask, (size,))
        state = {"rows": table, "kept": kept, "lost": jnp.zeros((), jnp.int32)}
        return state if capacity is None else fit(state)

    def fit(state):
        """Unmasked rows first, then cut or padded to the capacity."""
        order = jnp.argsort(~state["kept"], stable=True)
        short = max(0, capacity - len(order))  # type: ignore

        def arrange(a):
            a = a[order][:capacity]
            return jnp.pad(a, ((0, short), *((0, 0),) * (a.ndim - 1)))

        lost = state["lost"] + jnp.maximum(state["kept"].sum(dtype=jnp.int32) - capacity, 0)
        table, kept = jax.tree.map(arrange, (state["rows"], state["kept"]))
        return {"rows": table, "kept": kept, "lost": lost}

    def init():
        size = 0 if capacity is None else capacity
        table = {n: jnp.zeros((size, *spec.shape), spec.dtype) for n, spec in empty.items()}
        return {"rows": table, "kept": jnp.zeros(size, bool), "lost": jnp.zeros((), jnp.int32)}

    def merge(a, b):
        joined = lambda x, y: jnp.concatenate([x, y])
        table, kept = jax.tree.map(joined, (a["rows"], a["kept"]), (b["rows"], b["kept"]))
        state = {"rows": table, "kept": kept, "lost": a["lost"] + b["lost"]}
        return state if capacity is None else fit(state)

    def value(state):
        result = compute(state["rows"], state["kept"]) if len(state["kept"]) else jnp.nan
        return jnp.where(state["lost"] == 0, result, jnp.nan)

    return Metric(init, measure, merge, value, name)


def rows(name: str, mask: Any, shape: tuple[int, ...]) -> jax.Array:
    """``mask``, or that all take part. A mask of fewer axes holds for whole rows."""
    if mask is None:
        return jnp.ones(shape, bool)
    check_dtype(name, "mask", mask, jnp.bool_, "True where a row takes part.")
    mask = jnp.asarray(mask)
    check_shape(name, "mask", mask, shape[: mask.ndim], "One entry a row.")
    return jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)


def labels_of(name: str, scores: Any, labels: Any) -> tuple[jax.Array, jax.Array]:
    """scores [..., C] and integer labels [...], as [rows, C] and [rows]."""
    scores = widen(jnp.asarray(scores))
    check_shape(name, "scores", scores, (..., None), "Give it an axis of classes.")
    check_dtype(name, "labels", labels, jnp.integer, "Labels are class numbers.")
    check_shape(name, "labels", labels, scores.shape[:-1], "One label a row of scores.")
    return scores.reshape(-1, scores.shape[-1]), jnp.asarray(labels).astype(jnp.int32).reshape(-1)


def pair_of(name: str, predictions: Any, targets: Any) -> tuple[jax.Array, jax.Array]:
    """Two real arrays of one shape, in float32 or wider."""
    fix = "Shapes must be equal, not merely broadcast."
    check_shape(name, "targets", targets, jnp.shape(predictions), fix)
    predictions = widen(predictions)
    return predictions, jnp.asarray(targets).astype(predictions.dtype)


def divide(a: jax.Array, b: jax.Array, otherwise: float = jnp.nan) -> jax.Array:
    """a / b, or ``otherwise`` where b is 0."""
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return jnp.where(b != 0, a / jnp.where(b != 0, b, 1), otherwise)


def _length(tree: State) -> int:
    return len(jax.tree.leaves(tree)[0])
