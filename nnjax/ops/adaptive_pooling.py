"""Pooling to a given number of bins an axis, each axis in its turn.

Means and maxima of boxes are those of their sides one after the other. The last axis goes first,
so that the first of equal maxima is the first in reading order, as in PyTorch.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from nnjax.ops.precision import widen


def adaptive_bins(size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of ``count`` bins over ``size`` entries starts and ends, as PyTorch cuts them.

    Bin i is [floor(i * size / count), ceil((i + 1) * size / count)), so that bins are never empty
    and neighbours may share an entry.
    """
    i = np.arange(count)
    return i * size // count, -(-(i + 1) * size // count)


def adaptive_avg_pool(
    x: Num[Array, "B *spatial C"], sizes: Sequence[int]
) -> Num[Array, "B *pooled C"]:
    """The mean of each bin, for each channel; summed in float32 or wider, returned in x.dtype."""
    h = widen(x)
    for axis, count in reversed(list(enumerate(sizes, 1))):
        starts, ends = adaptive_bins(h.shape[axis], count)
        lengths = (ends - starts).reshape(-1, *[1] * (h.ndim - axis - 1))
        positions, longest = _positions(starts, ends), int(lengths.max())
        entries = _split(h, positions, axis)
        if (lengths != longest).any():  # the places after a bin's end repeat its last entry
            place = np.arange(longest).reshape(-1, *[1] * (h.ndim - axis - 1))
            entries = jnp.where(place < lengths[:, None], entries, 0)
        h = entries.sum(axis + 1) / lengths.astype(h.dtype)
    return h.astype(x.dtype)


def adaptive_max_pool(
    x: Num[Array, "B *spatial C"], sizes: Sequence[int]
) -> tuple[Num[Array, "B *pooled C"], Int[Array, "B *pooled C"]]:
    """The largest entry of each bin, for each channel, and where the first of them lies."""
    flat = _reading_order(x.shape[1:-1])
    for axis, count in reversed(list(enumerate(sizes, 1))):
        positions = _positions(*adaptive_bins(x.shape[axis], count))
        x, flat = _largest(x, flat, positions, axis)
    return x, flat


def fractional_max_pool(
    x: Num[Array, "B *spatial C"],
    window: Sequence[int],
    sizes: Sequence[int],
    samples: Float[Array, "B C axes"],
) -> tuple[Num[Array, "B *pooled C"], Int[Array, "B *pooled C"]]:
    """The largest entry of windows at pseudo-random steps, and where the first of them lies.

    With alpha = (size - window) / (count - 1) and a sample u in [0, 1), window i starts at
    ``floor((i + u) alpha) - floor(u alpha)``, and the last at size - window.

    Source: Graham 2014, https://arxiv.org/abs/1412.6071, section 2; starts as in PyTorch.
    """

    def plane(x, samples):  # [*spatial], [axes]
        flat = _reading_order(x.shape)[0, ..., 0]
        for axis in reversed(range(x.ndim)):
            room, count = x.shape[axis] - window[axis], sizes[axis]
            alpha, u = np.float32(room / max(count - 1, 1)), samples[axis].astype(jnp.float32)
            steps = jnp.arange(count - 1, dtype=jnp.float32)
            starts = jnp.floor((steps + u) * alpha) - jnp.floor(u * alpha)
            starts = jnp.append(starts.astype(jnp.int32), jnp.int32(room))
            positions = starts[:, None] + np.arange(window[axis], dtype=np.int32)
            x, flat = _largest(x, flat, positions, axis)
        return x, flat

    channels = jax.vmap(plane, in_axes=(-1, 0), out_axes=-1)
    return jax.vmap(channels)(x, samples)


def _positions(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The entries of each bin, [bins, longest]; the last is repeated where a bin is shorter."""
    longest = int((ends - starts).max())
    return np.minimum(starts[:, None] + np.arange(longest), ends[:, None] - 1).astype(np.int32)


def _reading_order(spatial: Sequence[int]) -> jax.Array:
    return jnp.asarray(np.arange(np.prod(spatial), dtype=np.int32).reshape(1, *spatial, 1))


def _largest(x, flat, positions, axis) -> tuple[jax.Array, jax.Array]:
    """The first largest entry among each row of positions along an axis, and its ``flat``."""
    entries = _split(x, positions, axis)
    where = jnp.argmax(jax.lax.stop_gradient(entries), axis + 1, keepdims=True)
    pick = lambda a: jnp.take_along_axis(a, where, axis + 1).squeeze(axis + 1)
    flat = jnp.broadcast_to(_split(flat, positions, axis), entries.shape)
    return pick(entries), pick(flat)


def _split(x: jax.Array, positions: Any, axis: int) -> jax.Array:
    """The axis as [bins, entries]: a view where bins lie side by side, gathered otherwise."""
    fixed = isinstance(positions, np.ndarray)
    if fixed and np.array_equal(positions.ravel(), np.arange(x.shape[axis])):
        return x.reshape(*x.shape[:axis], *positions.shape, *x.shape[axis + 1 :])
    return jnp.take(x, positions, axis, mode="clip")
