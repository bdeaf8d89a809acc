"""Pooling over windows of spatial axes, with a maximum that is quick to differentiate."""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from nnjax.ops.precision import widen
from nnjax.ops.windows import Pads, tile, views


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3, 4))
def max_pool(
    x: Num[Array, "B *spatial C"],
    window: Sequence[int],
    stride: Sequence[int],
    pads: Pads,
    dilation: Sequence[int] | None = None,
) -> Num[Array, "B *pooled C"]:
    """The largest entry of each window, for each channel.

    Where entries tie, the derivative is that of the first, as in PyTorch. JAX's own derivative
    scatters each gradient to the window it came from, a loop on CPU; here it is one comparison a
    window position, forward and reverse (``benchmarks/kernels.py`` has the times of both).
    """
    windows = _windows(window, stride, pads)
    dilation = None if dilation is None else (1, *dilation, 1)
    lowest = np.array(_lowest(x.dtype), x.dtype)
    return jax.lax.reduce_window(x, lowest, jax.lax.max, *windows, window_dilation=dilation)


@max_pool.defjvp
def _max_pool_jvp(window, stride, pads, dilation, primals, tangents):
    (x,), (dx,) = primals, tangents
    y = max_pool(x, window, stride, pads, dilation)
    at = window, stride, pads, dilation or (1,) * len(window)
    if tile(x.shape[1:-1], *at):  # the gradient is then no sum of shifted ones
        first = jnp.zeros(y.shape, jnp.int32)  # the place of the largest entry in its window
        for place, larger in enumerate(_larger(x, y, *at)):
            first = jnp.where(larger, place, first)
        tiles = [size for pair in zip(y.shape[1:-1], window, strict=True) for size in pair]
        within = tuple(range(2, 2 + 2 * len(window), 2))  # the axes of a window
        places = np.arange(math.prod(window)).reshape([n for size in window for n in (size, 1)])
        chosen = jnp.expand_dims(first, within) == places
        return y, jnp.where(chosen, dx.reshape(len(x), *tiles, x.shape[-1]), 0).sum(within)
    dy = jnp.zeros_like(y)
    for larger, view in zip(_larger(x, y, *at), views(dx, *at), strict=True):
        dy = jnp.where(larger, view, dy)
    return y, dy


def max_pool_indices(
    x: Num[Array, "B *spatial C"],
    window: Sequence[int],
    stride: Sequence[int],
    pads: Pads,
    dilation: Sequence[int] | None = None,
) -> tuple[Num[Array, "B *pooled C"], Int[Array, "B *pooled C"]]:
    """``max_pool``, and where its first largest entries lie.

    An index counts the positions of one channel's input, padding left out, in reading order.
    """
    y = max_pool(x, window, stride, pads, dilation)
    at = window, stride, pads, dilation or (1,) * len(window)
    indices = jnp.zeros(y.shape, jnp.int32)
    fixed = jax.lax.stop_gradient((x, y))
    for larger, position in zip(_larger(*fixed, *at), _positions(x, y, *at), strict=True):
        flat = jnp.zeros((), jnp.int32)
        for size, along in zip(x.shape[1:-1], position, strict=True):
            flat = flat * size + jnp.asarray(along)
        indices = jnp.where(larger, flat, indices)
    return y, indices


def max_unpool(
    x: Num[Array, "B *pooled C"], indices: Int[Array, "B *pooled C"], size: Sequence[int]
) -> Num[Array, "B *spatial C"]:
    """Entries put back to their ``indices`` among zeros: what ``max_pool_indices`` took them from.

    Where several share an index, as overlapping windows may, one of them stays.
    """
    batch, channels = x.shape[0], x.shape[-1]
    flat = jnp.zeros((batch, math.prod(size), channels), x.dtype)
    rows = (batch, x.size // max(batch * channels, 1), channels)
    image, channel = np.arange(batch)[:, None, None], np.arange(channels)
    placed = flat.at[image, indices.reshape(rows), channel].set(x.reshape(rows), mode="drop")
    return placed.reshape(batch, *size, channels)


def sum_pool(
    x: Num[Array, "B *spatial C"], window: Sequence[int], stride: Sequence[int], pads: Pads
) -> Num[Array, "B *pooled C"]:
    """The sum of each window, for each channel, in float32 or wider."""
    h = widen(x)
    zero = np.array(0, h.dtype)
    return jax.lax.reduce_window(h, zero, jax.lax.add, *_windows(window, stride, pads))


def avg_pool(
    x: Num[Array, "B *spatial C"],
    window: Sequence[int],
    stride: Sequence[int],
    pads: Pads,
    counted: Pads | None = None,
) -> Num[Array, "B *pooled C"]:
    """The mean of each window, for each channel, over what is not padding.

    Of the padding, as much as ``counted`` takes part, as zeros. Sums are taken in float32 or wider,
    whatever x is; the result has x.dtype.
    """
    total = sum_pool(x, window, stride, pads)
    counted = [(0, 0)] * len(window) if counted is None else counted
    count = np.ones((), np.float32)
    for axis in zip(x.shape[1:-1], window, stride, pads, counted, strict=True):
        count = count[..., None] * entries(*axis)
    return (total / count[..., None].astype(total.dtype)).astype(x.dtype)


def lp_pool(
    x: Float[Array, "B *spatial C"],
    p: float,
    window: Sequence[int],
    stride: Sequence[int],
    pads: Pads,
) -> Float[Array, "B *pooled C"]:
    """The p-norm of each window, ``(sum |x|^p)^(1/p)``, for each channel; at zero, it has slope 0.

    Computed in float32 or wider; the result has x.dtype.
    """
    h = widen(x)
    powers = h ** int(p) if p % 2 == 0 else jnp.abs(h) ** p  # smooth at 0 where it can be
    total = sum_pool(powers, window, stride, pads)
    some = total > 0
    norm = jnp.where(some, total, 1) ** (1 / p)
    return jnp.where(some, norm, 0).astype(x.dtype)


def blur_pool(
    x: Float[Array, "B *spatial C"], window: Sequence[int], stride: Sequence[int]
) -> Float[Array, "B *pooled C"]:
    """Smoothed by binomial weights, then every stride-th entry, ceil(size / stride) in all.

    The border is mirrored, its own entries not repeated. In float32 or wider; result in x.dtype.
    """
    h: Any = widen(x)
    for axis, (taps, step) in enumerate(zip(window, stride, strict=True), 1):
        pads = [(0, 0)] * x.ndim
        pads[axis] = (taps - 1) // 2, taps // 2
        padded = jnp.pad(h, pads, mode="reflect")
        reach = (h.shape[axis] - 1) // step * step + 1
        h = sum(
            math.comb(taps - 1, k)
            / 2 ** (taps - 1)
            * jax.lax.slice_in_dim(padded, k, k + reach, step, axis)
            for k in range(taps)
        )
    return h.astype(x.dtype)


def entries(
    size: int,
    window: int,
    stride: int,
    pads: tuple[int, int],
    counted: tuple[int, int] = (0, 0),
    dilation: int = 1,
) -> np.ndarray:
    """How many entries each window along one axis has inside, with ``counted`` padding if any."""
    starts = np.arange(-pads[0], size + pads[1] - (window - 1) * dilation, stride)
    at = starts[:, None] + dilation * np.arange(window)
    return ((-counted[0] <= at) & (at < size + counted[1])).sum(1)


def _lowest(dtype: Any) -> Any:
    return -jnp.inf if jnp.issubdtype(dtype, jnp.inexact) else jnp.iinfo(dtype).min


def _windows(window, stride, pads):
    """Arguments of ``lax.reduce_window``, which also counts the batch and channel axes."""
    return (1, *window, 1), (1, *stride, 1), ((0, 0), *pads, (0, 0))


def _positions(x, y, window, stride, pads, dilation) -> Iterator[list[np.ndarray]]:
    """For each position in the window, where that is in x: axis by axis, to broadcast."""
    for offsets in itertools.product(*map(range, window)):
        position = []
        for axis, k in enumerate(offsets):
            starts = np.arange(y.shape[axis + 1], dtype=np.int32) * stride[axis] - pads[axis][0]
            shape = [1] * x.ndim
            shape[axis + 1] = -1
            position.append((starts + k * dilation[axis]).astype(np.int32).reshape(shape))
        yield position


def _larger(x, y, window, stride, pads, dilation) -> Iterator[jax.Array]:
    """For each position in the window, which windows have more there than anywhere before it.

    The last of them is the first largest entry. To ask which entries equal the maximum would not
    do: where XLA computes x once for the maximum and again for the comparison, it may round
    differently, and an entry that equals nothing has no derivative.
    """
    at = window, stride, pads, dilation
    there = views(x, *at, fill=_lowest(x.dtype))
    best, seen = jnp.full(y.shape, _lowest(x.dtype), x.dtype), jnp.zeros(y.shape, bool)
    for view, position in zip(there, _positions(x, y, *at), strict=True):
        larger = ~seen | (~(view <= best) & (best == best))  # a NaN is the largest
        for along, size, pad in zip(position, x.shape[1:-1], pads, strict=True):
            if max(pad):  # an entry of -inf ties with padding, which is never meant
                larger = larger & jnp.asarray((along >= 0) & (along < size))
        best, seen = jnp.where(larger, view, best), seen | larger
        yield larger
