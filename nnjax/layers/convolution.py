"""Convolution over one, two or three spatial axes."""

import math
from collections.abc import Sequence

import jax

from nnjax.core import Layer, check_entries, check_floating, check_positive, check_shape
from nnjax.core.errors import LayerTypeError, LayerValueError
from nnjax.initializers import Initializer, draw, lecun_normal, zeros
from nnjax.layers.windows import Padding, output_size, per_axis, resolve_padding


def conv(
    in_features: int,
    out_features: int,
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Cross-correlation with a kernel, over as many spatial axes as kernel_size has entries.

    ``conv(3, 64, 3)`` takes images, ``conv(3, 64, (3,))`` sequences, ``conv(3, 64, (3, 3, 3))``
    volumes: one integer stands for two axes. ``groups=in_features`` is a depthwise convolution.

    Shapes: x [..., H, W, in] -> y [..., H', W', out]; kernel [*kernel_size, in / groups, out],
        bias [out]. "SAME": H' = ceil(H / stride); "VALID": H' = ceil((H - reach) / stride), where
        reach = (kernel_size - 1) * dilation. A number pads each side by as much, a pair a side.
    Dtypes: params are made in float32; x and params share the dtype that they are called in.
    Raises: ValueError, for another number of channels or axes, groups that do not divide both
        features, or an x smaller than the kernel; TypeError, if x is not floating.
    Source: LeCun et al. 1998, https://doi.org/10.1109/5.726791, section II.A; groups from
        Krizhevsky et al. 2012; dilation from Yu and Koltun 2016, https://arxiv.org/abs/1511.07122.
    """
    name = f"conv({in_features}, {out_features}, {kernel_size})"
    size = per_axis(name, "kernel_size", kernel_size, 2)
    axes = len(size)
    stride = per_axis(name, "stride", stride, axes)
    dilation = per_axis(name, "dilation", dilation, axes)
    check_positive(name, in_features=in_features, out_features=out_features, groups=groups)
    if in_features % groups or out_features % groups:
        raise LayerValueError(
            f"{name}: got groups={groups}, expected a divisor of both "
            f"in_features={in_features} and out_features={out_features}."
        )
    reach = tuple((k - 1) * d + 1 for k, d in zip(size, dilation, strict=True))
    shapes = {"kernel": (*size, in_features // groups, out_features)}
    shapes |= {"bias": (out_features,)} if bias else {}
    letters = "HWD"[:axes]

    def init(key):
        return draw(key, shapes, kernel=kernel_init, bias=bias_init), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., *[None] * axes, in_features))
        kernel, *shift = check_entries(name, "params", params, **shapes)
        if x.dtype != kernel.dtype:  # lax.conv does not promote
            got = f"got x of dtype {x.dtype} and params of {kernel.dtype}"
            raise LayerTypeError(f"{name}: {got}, expected one dtype. Cast one of them.")
        batch, spatial = x.shape[: -1 - axes], x.shape[-1 - axes : -1]
        pads = resolve_padding(name, padding, spatial, reach, stride)
        output_size(name, spatial, reach, stride, pads)
        y = jax.lax.conv_general_dilated(
            x.reshape(math.prod(batch), *spatial, in_features),
            kernel,
            stride,
            pads,
            rhs_dilation=dilation,
            dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
            feature_group_count=groups,
        )
        y = y.reshape(*batch, *y.shape[1:])
        return y + shift[0] if bias else y, state

    return Layer(init, apply, name)
