"""Pooling: windows of spatial axes reduced to their maximum, mean, sum or norm, and undone."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core import Layer, check_dtype, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.layers.images import image_layer, join_batch
from nnjax.layers.windows import Padding, output_size as count_windows, per_axis, resolve_padding
from nnjax.ops import pooling

Sizes = int | Sequence[int]


def max_pool(
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "VALID",
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Layer:
    """The largest entry of each window, channel by channel; stride defaults to window.

    One integer stands for two spatial axes, as in ``conv``. Padding never wins. Of equal entries
    the first takes the derivative and gives the index.

    Shapes: x [..., H, W, C] -> y [..., H', W', C], where H' = floor((H + padding - reach) /
        stride) + 1 and reach = (window - 1) dilation + 1; with ceil_mode, a last window that starts
        inside but ends outside counts too. With return_indices (y, indices), both of that shape.
    Dtypes: y has x.dtype; indices int32, counting the H W positions of one channel in reading
        order, as ``max_unpool`` takes them.
    Raises: ValueError, if x has too few axes, is smaller than the window, or if some window holds
        nothing but padding; TypeError, if x is not floating.
    """
    op = pooling.max_pool_indices if return_indices else pooling.max_pool
    name = f"max_pool({window})"
    window, stride, dilation = _sizes(name, window, stride, dilation)

    def reduce(x, pads, plain):
        return op(x, window, stride, pads, dilation)

    return _pool(name, reduce, window, stride, padding, ceil_mode, dilation)


def min_pool(
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "VALID",
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Layer:
    """The smallest entry of each window, channel by channel: ``-max_pool(-x)``.

    Shapes: x [..., H, W, C] -> y [..., H', W', C], as ``max_pool``.
    Dtypes: y has x.dtype.
    Raises: ValueError, if x has too few axes, is smaller than the window, or if some window holds
        nothing but padding; TypeError, if x is not floating.
    """
    name = f"min_pool({window})"
    window, stride, dilation = _sizes(name, window, stride, dilation)

    def reduce(x, pads, plain):
        return -pooling.max_pool(-x, window, stride, pads, dilation)

    return _pool(name, reduce, window, stride, padding, ceil_mode, dilation)


def avg_pool(
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    divisor: float | None = None,
) -> Layer:
    """The mean of each window, channel by channel; stride defaults to window.

    One integer stands for two spatial axes, as in ``conv``. The sum is divided by the number of
    entries that are not padding; with count_include_pad padding counts as zeros, though not what a
    window of ceil_mode has beyond it; with divisor, by that number.

    Shapes: x [..., H, W, C] -> y [..., H', W', C], where H' = floor((H + padding - window) /
        stride) + 1; with ceil_mode, a last window that starts inside but ends outside counts too.
    Dtypes: y has x.dtype; the sum is taken in float32 or wider.
    Raises: ValueError, if x has too few axes, is smaller than the window, or if some window holds
        nothing but padding; TypeError, if x is not floating.
    """
    name = f"avg_pool({window})"
    window, stride, _ = _sizes(name, window, stride)
    if divisor == 0:
        raise LayerValueError(f"{name}: got divisor=0, expected a number to divide by.")

    def reduce(x, pads, plain):
        if divisor is not None:
            return (pooling.sum_pool(x, window, stride, pads) / divisor).astype(x.dtype)
        counted = plain if count_include_pad else None
        return pooling.avg_pool(x, window, stride, pads, counted)

    return _pool(name, reduce, window, stride, padding, ceil_mode)


def sum_pool(
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
) -> Layer:
    """The sum of each window, channel by channel; padding adds nothing.

    Shapes: x [..., H, W, C] -> y [..., H', W', C], as ``avg_pool``.
    Dtypes: y has x.dtype; the sum is taken in float32 or wider.
    Raises: ValueError, if x has too few axes, is smaller than the window, or if some window holds
        nothing but padding; TypeError, if x is not floating.
    """
    name = f"sum_pool({window})"
    window, stride, _ = _sizes(name, window, stride)

    def reduce(x, pads, plain):
        return pooling.sum_pool(x, window, stride, pads).astype(x.dtype)

    return _pool(name, reduce, window, stride, padding, ceil_mode)


def lp_pool(
    p: float,
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
) -> Layer:
    """The p-norm of each window, channel by channel: ``y = (sum |x|^p)^(1/p)``.

    p = 1 is the sum of the absolute values; as p grows, y nears the largest of them. A window of
    zeros has slope 0.

    Shapes: x [..., H, W, C] -> y [..., H', W', C], as ``avg_pool``.
    Dtypes: y has x.dtype; powers and sum in float32 or wider.
    Units:  y has those of x.
    Raises: ValueError, if p is not positive and finite, if x has too few axes, is smaller than the
        window, or if some window holds nothing but padding; TypeError, if x is not floating.
    Source: Gulcehre et al. 2014, https://arxiv.org/abs/1311.1780, equation 1, without its 1/N.
    """
    name = f"lp_pool({p}, {window})"
    window, stride, _ = _sizes(name, window, stride)
    if not 0 < p < math.inf:
        fix = "For p = inf, pool |x| with max_pool."
        raise LayerValueError(f"{name}: got p={p}, expected a positive number. {fix}")

    def reduce(x, pads, plain):
        return pooling.lp_pool(x, float(p), window, stride, pads)

    return _pool(name, reduce, window, stride, padding, ceil_mode)


def blur_pool(window: Sizes = 3, *, stride: Sizes = 2) -> Layer:
    """Smooth each channel with binomial weights, then keep every stride-th entry.

    A window of 3 weighs 1, 2, 1 (over 4) along each axis. Put after a pool or convolution of
    stride 1, it makes what a strided one makes, but shifts of the input change it less. The border
    is mirrored.

    Shapes: x [..., H, W, C] -> y [..., ceil(H / stride), ceil(W / stride), C].
    Dtypes: y has x.dtype; sums in float32 or wider.
    Raises: ValueError, if x has too few axes, or fewer than window // 2 + 1 entries along one;
        TypeError, if x is not floating.
    Source: Zhang 2019, https://arxiv.org/abs/1904.11486, section 3.2.
    """
    name = f"blur_pool({window})"
    window, stride, _ = _sizes(name, window, stride)

    def run(x):
        for size, w in zip(x.shape[1:-1], window, strict=True):
            if size <= w // 2:
                raise LayerValueError(
                    f"{name}: got x of spatial shape {x.shape[1:-1]}, expected at least "
                    f"{w // 2 + 1} along each axis to mirror at the border. Use a smaller window."
                )
        return pooling.blur_pool(x, window, stride)

    return image_layer(name, len(window), run)


def max_unpool(
    window: Sizes,
    *,
    stride: Sizes | None = None,
    padding: int | Sequence[int] = 0,
    output_size: Sequence[int] | None = None,
) -> Layer:
    """Put pooled entries back where ``max_pool(..., return_indices=True)`` took them, among zeros.

    ``layer(params, y, indices)``. Window, stride and padding are those of the pool; they say how
    large its input was, up to less than a stride: output_size tells.

    Shapes: y, indices [..., H', W', C] -> x [..., H, W, C], where H = (H' - 1) stride + window -
        padding on both sides, or as output_size says.
    Dtypes: x has y.dtype; indices integer.
    Raises: ValueError, for shapes that do not fit, or an output_size more than a stride away;
        TypeError, if y is not floating or indices not integer.
    Source: Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901, section 2.1.
    """
    name = f"max_unpool({window})"
    window, stride, _ = _sizes(name, window, stride)
    axes = len(window)
    if output_size is not None:
        output_size = per_axis(name, "output_size", output_size, axes)

    def init(key):
        return {}, {}

    def apply(params, state, x, indices, *, key=None, train=False):
        joined, part = join_batch(name, x, axes)
        check_dtype(name, "indices", indices, jnp.integer, "Take those of max_pool.")
        check_shape(name, "indices", indices, x.shape, "There is one index for each entry of x.")
        spatial = joined.shape[1:-1]
        if padding == "SAME":
            fix = "Give it in numbers: the size that it was made for is not known here."
            raise LayerValueError(f"{name}: got padding='SAME'. {fix}")
        pads = resolve_padding(name, padding, spatial, window, stride)
        sides = zip(spatial, window, stride, pads, strict=True)
        size = tuple((n - 1) * s + w - sum(pair) for n, w, s, pair in sides)
        given = size if output_size is None else output_size
        if min(given) < 1:
            got = f"got x of spatial shape {spatial}, expected one that padding={padding!r} leaves"
            fix = "Give window, stride and padding as the pool has them."
            raise LayerValueError(f"{name}: {got} entries of: it would make {given}. {fix}")
        if any(abs(a - b) >= s for a, b, s in zip(given, size, stride, strict=True)):
            raise LayerValueError(
                f"{name}: got output_size={output_size}, expected {size} or less than a stride of "
                f"{stride} from it."
            )
        y = pooling.max_unpool(joined, indices.reshape(joined.shape), given)
        return part(y), state

    return Layer(init, apply, name)


def _sizes(name: str, window, stride, dilation: Any = 1) -> tuple[tuple[int, ...], ...]:
    window = per_axis(name, "window", window, 2)
    axes = len(window)
    stride = window if stride is None else per_axis(name, "stride", stride, axes)
    return window, stride, per_axis(name, "dilation", dilation, axes)


def _pool(
    name: str,
    reduce: Callable[[jax.Array, Any, Any], Any],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    ceil_mode: bool,
    dilation: Sequence[int] | None = None,
) -> Layer:
    """``reduce(x, pads, plain)`` takes x [B, *spatial, C]; plain is pads without ceil_mode's."""
    dilation = (1,) * len(window) if dilation is None else dilation
    reach = [(w - 1) * d + 1 for w, d in zip(window, dilation, strict=True)]

    def run(x):
        spatial = x.shape[1:-1]
        plain = tuple(resolve_padding(name, padding, spatial, reach, stride))
        pads = _reach_over(spatial, reach, stride, plain) if ceil_mode else plain
        count_windows(name, spatial, reach, stride, pads)
        for size, w, s, pair, d in zip(spatial, window, stride, pads, dilation, strict=True):
            if not pooling.entries(size, w, s, pair, dilation=d).all():
                raise LayerValueError(
                    f"{name}: got padding={padding!r}, expected less than the window on each side. "
                    "A window of nothing but padding has no maximum and no mean."
                )
        return reduce(x, pads, plain)

    return image_layer(name, len(window), run)


def _reach_over(spatial, reach, stride, pads):
    """Padding with as much after the end as a last window needs that starts before it."""
    longer = []
    for n, r, s, (before, after) in zip(spatial, reach, stride, pads, strict=True):
        steps = -(-(n + before + after - r) // s)
        if steps * s >= n + before:
            steps -= 1
        longer.append((before, max(after, steps * s + r - n - before)))
    return tuple(longer)
