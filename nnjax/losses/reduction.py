"""The calling form that all losses share: what weights, mask and reduction mean, in one place.

A loss gives one value an example. ``mask`` (boolean, True = takes part) and ``weights`` have the
shape of those values; an axis of size 1 stretches, and nothing else does. What the mask hides is
replaced before anything is computed from it, so that it reaches neither a value nor a gradient,
NaN included; a weight of zero does not do that. ``reduction`` is one of

- ``"none"``: ``weights * values``, and 0 where hidden;
- ``"sum"``: their sum;
- ``"mean"``: that sum over the sum of the weights that take part; 0 if none does.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.core import check_dtype, check_floating, check_shape
from nnjax.core.errors import LayerTypeError, LayerValueError
from nnjax.ops.precision import widen

Reduction = Literal["none", "mean", "sum"]

ALIKE = "Shapes must be equal, not merely broadcast: add or remove an axis."


def hide(
    name: str, x: jax.Array, mask: ArrayLike | None, core: int = 0, value: float = 0.0
) -> jax.Array:
    """x with ``value`` where the mask is False; the last ``core`` axes of x have no mask."""
    if mask is None:
        return x
    shown = _fit(name, "mask", _boolean(name, mask), x.shape[: x.ndim - core])
    shown = shown.reshape(shown.shape + (1,) * core)
    return jnp.where(shown, x, jnp.asarray(value, x.dtype))


def alike(
    name: str, mask: ArrayLike | None, core: int = 0, /, **arrays: ArrayLike
) -> list[jax.Array]:
    """The arrays, wide and hidden; refused unless the first is floating and all of one shape."""
    (first, x), *rest = arrays.items()
    check_floating(name, first, x)
    if core:
        check_shape(name, first, x, (..., *(None,) * core), "Give it the axis it is summed over.")
    for argument, a in rest:
        check_shape(name, argument, a, jnp.shape(x), ALIKE)
    dtype = widen(x).dtype
    return [hide(name, jnp.asarray(a, dtype), mask, core) for a in arrays.values()]


def integer_labels(
    name: str, labels: ArrayLike, shape: tuple[int, ...], mask: ArrayLike | None
) -> tuple[jax.Array, jax.Array]:
    """Labels fit to index the last axis of ``shape``, and what to multiply their losses with.

    That is 1, or NaN where a label is outside [0, C): its value and its gradient are both NaN.
    """
    fix = "Integer labels have no class axis; class probabilities are floating."
    check_dtype(name, "labels", labels, jnp.integer, "Classes are integers: labels.astype(int).")
    check_shape(name, "labels", labels, shape[:-1], fix)
    labels = hide(name, jnp.asarray(labels, int), mask)  # int: uint8 has no room for 256 classes
    inside = (labels >= 0) & (labels < shape[-1])
    return jnp.where(inside, labels, 0), jnp.where(inside, 1.0, jnp.nan)


def is_integer(labels: ArrayLike) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(labels), jnp.integer))


def reduce(
    name: str,
    values: jax.Array,
    weights: ArrayLike | None,
    mask: ArrayLike | None,
    reduction: Reduction,
    counts: jax.Array | None = None,
) -> jax.Array:
    """Weigh, hide and reduce; a value counts ``counts`` (1 by default) times in the mean."""
    if reduction not in ("none", "mean", "sum"):
        got = f'got reduction={reduction!r}, expected "none", "mean" or "sum"'
        raise LayerValueError(f'{name}: {got}. Others are made from the values of "none".')
    counts = jnp.ones_like(values) if counts is None else counts
    if weights is not None:
        w = _fit(name, "weights", jnp.asarray(weights, values.dtype), values.shape)
        values, counts = values * w, counts * w
    values, counts = hide(name, values, mask), hide(name, counts, mask)
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    count = counts.sum()
    return values.sum() / jnp.where(count == 0, 1, count)


def _fit(name: str, argument: str, a: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    same_rank = len(a.shape) == len(shape)
    if a.shape and not (
        same_rank and all(g in (1, s) for g, s in zip(a.shape, shape, strict=True))
    ):
        wanted = ", ".join(map(str, shape))
        got = f"got {argument} of shape {a.shape}, expected [{wanted}]"
        fix = (
            f"It has the shape of the loss's values; stretch it with {argument}[:, None] and such."
        )
        raise LayerValueError(f"{name}: {got}. {fix}")
    return jnp.broadcast_to(a, shape)


def _boolean(name: str, mask: ArrayLike) -> jax.Array:
    dtype = jnp.result_type(mask)
    if dtype != jnp.bool_:
        fix = "True is what takes part: mask != 0, or labels != ignored."
        raise LayerTypeError(f"{name}: got mask of dtype {dtype}, expected bool. {fix}")
    return jnp.asarray(mask)
