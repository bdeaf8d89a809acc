"""Pooling: windows of spatial axes reduced to their maximum or mean."""

import math
from collections.abc import Callable, Sequence

import jax

from nnjax.core import Layer, check_floating, check_positive, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.layers.windows import Padding, output_size, per_axis, resolve_padding
from nnjax.ops import pooling
from nnjax.ops.precision import widen


def max_pool(
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> Layer:
    """The largest entry of each window, channel by channel; stride defaults to window.

    One integer stands for two spatial axes, as in ``conv``. Padding never wins.

    Shapes: x [..., H, W, C] -> y [..., H', W', C], where H' = floor((H + padding - window) /
        stride) + 1.
    Dtypes: y has x.dtype.
    Raises: ValueError, if x has too few axes or is smaller than the window; TypeError, if x is not
        floating.
    """
    return _pool("max_pool", pooling.max_pool, window, stride, padding)


def avg_pool(
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> Layer:
    """The mean of each window, channel by channel; stride defaults to window.

    One integer stands for two spatial axes, as in ``conv``. Padding is not counted.

    Shapes: x [..., H, W, C] -> y [..., H', W', C], where H' = floor((H + padding - window) /
        stride) + 1.
    Dtypes: y has x.dtype; the sum is taken in float32 or wider.
    Raises: ValueError, if x has too few axes or is smaller than the window; TypeError, if x is not
        floating.
    """
    return _pool("avg_pool", pooling.avg_pool, window, stride, padding)


def global_avg_pool(axes: int = 2) -> Layer:
    """The mean over all positions of the last ``axes`` spatial axes, channel by channel.

    Shapes: x [..., H, W, C] -> y [..., C] for axes = 2.
    Dtypes: y has x.dtype; the mean is taken in float32 or wider.
    Raises: ValueError, if x has too few axes; TypeError, if x is not floating.
    Source: Lin, Chen, Yan 2014, https://arxiv.org/abs/1312.4400, section 3.2.
    """
    name = f"global_avg_pool({axes})"
    check_positive(name, axes=axes)

    def init(key):
        return {}, {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., *[None] * (axes + 1)), "Give it spatial axes and channels.")
        spatial = tuple(range(x.ndim - 1 - axes, x.ndim - 1))
        return widen(x).mean(spatial).astype(x.dtype), state

    return Layer(init, apply, name)


def _pool(kind: str, op: Callable[..., jax.Array], window, stride, padding) -> Layer:
    name = f"{kind}({window})"
    window = per_axis(name, "window", window, 2)
    axes = len(window)
    stride = window if stride is None else per_axis(name, "stride", stride, axes)

    def init(key):
        return {}, {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., *[None] * (axes + 1)), "Give it spatial axes and channels.")
        batch, spatial = x.shape[: -1 - axes], x.shape[-1 - axes : -1]
        pads = tuple(resolve_padding(name, padding, spatial, window, stride))
        if any(max(pair) >= w for pair, w in zip(pads, window, strict=True)):
            raise LayerValueError(
                f"{name}: got padding={padding!r}, expected less than the window on each side. "
                "A window of nothing but padding has no maximum and no mean."
            )
        pooled = output_size(name, spatial, window, stride, pads)
        y = op(x.reshape(math.prod(batch), *x.shape[-1 - axes :]), window, stride, pads)
        return y.reshape(*batch, *pooled, x.shape[-1]), state

    return Layer(init, apply, name)
