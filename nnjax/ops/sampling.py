"""Sampling of an image at given places: grid_sample, and the grid of an affine map."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from nnjax.ops.precision import widen
from nnjax.ops.resample import Method, blend

Outside = Literal["zeros", "border", "reflection"]


def affine_grid(
    theta: Float[Array, "B D D1"], size: Sequence[int], *, align_corners: bool = False
) -> Float[Array, "B *size D"]:
    """``theta @ (x, y, [z,] 1)`` at every pixel, both sides in coordinates from -1 to 1.

    -1 and 1 are the outer edges of the outer pixels, or their centres with ``align_corners``. As x
    runs along the last spatial axis, coordinates come in the reverse order of axes.
    """
    wide = widen(theta)
    lines = []
    for n in size:
        line = 2 * jnp.arange(n, dtype=wide.dtype) + 1 - n
        lines.append(line / (max(n - 1, 1) if align_corners else n))
    points = jnp.stack([*jnp.meshgrid(*lines, indexing="ij")][::-1], -1)
    grid = jnp.einsum("...d,bed->b...e", points, wide[..., :-1], precision="highest")
    shift = wide[..., -1].reshape(-1, *[1] * len(size), len(size))
    return (grid + shift).astype(theta.dtype)


def grid_sample(
    x: Num[Array, "B *spatial C"],
    grid: Float[Array, "B *points D"],
    method: Method = "linear",
    outside: Outside = "zeros",
    *,
    align_corners: bool = False,
) -> Num[Array, "B *points C"]:
    """x read at each point of grid, whose coordinates are those of ``affine_grid``.

    "nearest" and "nearest-exact" are the same here.

    Weights and their sum are float32 or wider; y has x.dtype.
    """
    batch, *spatial, channels = x.shape
    points = widen(grid).reshape(batch, math.prod(grid.shape[1:-1]), len(spatial))
    taps = []  # for each axis, its few (index, weight)
    for axis, n in enumerate(spatial):
        g = points[..., -1 - axis]
        u = (g + 1) / 2 * (n - 1) if align_corners else ((g + 1) * n - 1) / 2
        taps.append(_taps(u, n, method, outside, align_corners))
    flat = widen(x).reshape(batch, math.prod(spatial), channels)
    total: Any = 0.0
    for corner in itertools.product(*taps):
        index, weight = corner[0]
        for n, (i, w) in zip(spatial[1:], corner[1:], strict=True):
            index, weight = index * n + i, weight * w
        values = jnp.take_along_axis(flat, index[..., None], 1, mode="clip")
        total = total + values * weight.astype(flat.dtype)[..., None]
    return total.astype(x.dtype).reshape(*grid.shape[:-1], channels)


def _taps(u, n: int, method: Method, outside: Outside, align_corners: bool):
    """The entries of an axis that make up the value at u, as (index, weight) pairs."""
    if method != "cubic":  # the place itself is brought inside, so that weights move with it
        u = _inside(u, n, outside, align_corners)
    if method in ("nearest", "nearest-exact"):
        places, weights = [jnp.round(u)], [jnp.ones_like(u)]
    else:
        base = jax.lax.stop_gradient(jnp.floor(u))
        weights = blend(u - base, method)
        places = [base + k - (len(weights) // 2 - 1) for k in range(len(weights))]
    if method == "cubic":
        places = [_inside(p, n, outside, align_corners) for p in places]
    seen = [(p >= 0) & (p <= n - 1) for p in places]
    weights = [jnp.where(s, w, jnp.zeros_like(w)) for s, w in zip(seen, weights, strict=True)]
    places = [jnp.clip(jax.lax.stop_gradient(p), 0, n - 1).astype(jnp.int32) for p in places]
    return list(zip(places, weights, strict=True))


def _inside(u, n: int, outside: Outside, align_corners: bool):
    """u brought back into the axis; where it meets an end it stops, and so does its derivative."""
    if outside == "zeros":
        return u
    if outside == "reflection":
        low, high = (0.0, n - 1.0) if align_corners else (-0.5, n - 0.5)
        span = high - low
        if not span:
            return jnp.zeros_like(u)
        distance = jnp.abs(u - low)
        turns, rest = jnp.floor(distance / span), jnp.mod(distance, span)
        u = jnp.where(jnp.mod(turns, 2) == 0, rest + low, high - rest)
    stopped = jax.lax.stop_gradient(jnp.clip(u, 0, n - 1))
    return jnp.where((u > 0) & (u < n - 1), u, stopped)
