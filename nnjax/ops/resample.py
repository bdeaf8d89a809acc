"""Resampling of spatial axes: resize, and the shuffles between channels and space."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num, Shaped

from nnjax.ops.precision import widen

Method = Literal["nearest", "nearest-exact", "linear", "cubic"]
METHODS = ("nearest", "nearest-exact", "linear", "cubic")


def resize(
    x: Num[Array, "B *spatial C"],
    size: Sequence[int],
    scale: Sequence[float],
    method: Method,
    *,
    align_corners: bool = False,
    antialias: bool = False,
) -> Num[Array, "B *resized C"]:
    """Each spatial axis to its new size, scaled by ``scale`` (new over old, if in doubt).

    Entry i of the new axis lies at u of the old one: ``u = (i + 1/2) / scale - 1/2``, so that the
    outer edges meet, or ``u = i (old - 1) / (new - 1)`` with ``align_corners``, so that the first
    and last entries do. Beyond the ends the axis goes on with its last entry. ``antialias`` widens
    the kernel by 1 / scale where that is above one; there the kernel is cut at the ends instead.

    "nearest" takes entry ``floor(i / scale)``, "nearest-exact" ``floor((i + 1/2) / scale)``.
    """
    if method in ("nearest", "nearest-exact"):
        for axis, (new, zoom) in enumerate(zip(size, scale, strict=True), 1):
            x = _nearest(x, axis, new, zoom, 0.5 if method == "nearest-exact" else 0.0)
        return x
    h = widen(x)
    for axis, (new, zoom) in enumerate(zip(size, scale, strict=True), 1):
        if new != x.shape[axis] or zoom != 1:
            taps = weights(x.shape[axis], new, zoom, method, align_corners, antialias)
            h = jax.lax.dot_general(
                h,
                jnp.asarray(taps, h.dtype),
                (((axis,), (1,)), ((), ())),
                precision=jax.lax.Precision.HIGHEST,  # a blend of pixels, not a layer's product
            )
            h = jnp.moveaxis(h, -1, axis)
    return h.astype(x.dtype)


def weights(
    old: int, new: int, scale: float, method: Method, align_corners: bool, antialias: bool
) -> np.ndarray:
    """The matrix [new, old] that resizes an axis; each row sums to one."""
    i = np.arange(new)
    if align_corners:
        u = i * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        u = (i + 0.5) / scale - 0.5
    if antialias:
        width = max(1.0, 1 / scale)
        w = _kernel((np.arange(old) - u[:, None]) / width, method)
        return w / w.sum(1, keepdims=True)
    base = np.floor(u)
    w = np.stack(blend(u - base, method), 1)
    taps = base[:, None] + np.arange(w.shape[1]) - (w.shape[1] // 2 - 1)
    matrix = np.zeros((new, old))
    rows = np.broadcast_to(i[:, None], taps.shape)
    np.add.at(matrix, (rows, np.clip(taps, 0, old - 1).astype(int)), w)
    return matrix


def blend(f: Any, method: Method, a: float = -0.75) -> list[Any]:
    """Weights of the entries around a place at fraction f between two: of 2, or 4 if cubic.

    Cubic weights are Keys's, https://doi.org/10.1109/TASSP.1981.1163711. With a = -1/2 they keep
    quadratics; PyTorch and OpenCV take the sharper -3/4.
    """
    if method == "linear":
        return [1 - f, f]
    return [_far(1 + f, a), _near(f, a), _near(1 - f, a), _far(2 - f, a)]


def _near(t, a):
    return ((a + 2) * t - (a + 3)) * t * t + 1


def _far(t, a):
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a


def _kernel(t: np.ndarray, method: Method) -> np.ndarray:
    """The same weights as a function of the distance t to a place."""
    t = abs(t)
    if method == "linear":
        return np.maximum(0, 1 - t)
    return np.where(t <= 1, _near(t, -0.5), np.where(t < 2, _far(t, -0.5), 0))


def _nearest(x, axis: int, new: int, scale: float, shift: float):
    old = x.shape[axis]
    if new == old * scale and new % old == 0:  # whole copies: no gather, and no scatter backward
        x = jnp.expand_dims(x, axis + 1)
        x = jnp.broadcast_to(x, (*x.shape[: axis + 1], new // old, *x.shape[axis + 2 :]))
        return x.reshape(*x.shape[:axis], new, *x.shape[axis + 2 :])
    # float32, as PyTorch rounds: 5 * (1 / 0.2) has its floor on either side of 25
    step = np.float32(1 / scale)
    index = np.floor((np.arange(new, dtype=np.float32) + np.float32(shift)) * step)
    return jnp.take(x, np.clip(index, 0, old - 1).astype(np.int32), axis)


def pixel_shuffle(
    x: Shaped[Array, "B *spatial C"], factor: Sequence[int]
) -> Shaped[Array, "B *larger c"]:
    """Channels to space: the first of C splits in [c, *factor], and each factor joins its axis."""
    batch, *spatial, channels = x.shape
    n = len(factor)
    x = x.reshape(batch, *spatial, channels // math.prod(factor), *factor)
    pairs = [axis for i in range(n) for axis in (1 + i, 2 + n + i)]
    x = x.transpose(0, *pairs, 1 + n)
    sizes = (size * f for size, f in zip(spatial, factor, strict=True))
    return x.reshape(batch, *sizes, channels // math.prod(factor))


def pixel_unshuffle(
    x: Shaped[Array, "B *spatial c"], factor: Sequence[int]
) -> Shaped[Array, "B *smaller C"]:
    """The inverse of ``pixel_shuffle``."""
    batch, *spatial, channels = x.shape
    n = len(factor)
    blocks = [(size // f, f) for size, f in zip(spatial, factor, strict=True)]
    x = x.reshape(batch, *(size for block in blocks for size in block), channels)
    x = x.transpose(0, *range(1, 2 * n, 2), 2 * n + 1, *range(2, 2 * n + 1, 2))
    return x.reshape(batch, *(size for size, _ in blocks), channels * math.prod(factor))
