"""Convolution over one, two or three spatial axes: plain, masked, separable and transposed."""

import functools
import math
from collections.abc import Sequence
from typing import get_args

import jax
import numpy as np

from nnjax.core import (
    Layer,
    check_choice,
    check_entries,
    check_floating,
    check_positive,
    check_shape,
    serial,
)
from nnjax.core.errors import LayerTypeError, LayerValueError
from nnjax.initializers import Initializer, draw, lecun_normal, zeros
from nnjax.layers.windows import (
    Padding,
    check_room,
    output_size,
    per_axis,
    resolve_padding,
)
from nnjax.native import convolution as native
from nnjax.ops import convolution, padding as fill
from nnjax.ops.convolution import Implementation, Painting
from nnjax.ops.padding import MODES, PaddingMode
from nnjax.ops.precision import widen


def conv(
    in_features: int,
    out_features: int,
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    padding_mode: PaddingMode = "constant",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    mask: np.ndarray | None = None,
    implementation: Implementation = "auto",
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Cross-correlation with a kernel, over as many spatial axes as kernel_size has entries.

    ``y[i] = sum_k x[stride * i + dilation * k - before] @ kernel[k] + bias``. ``conv(3, 64, 3)``
    takes images, ``conv(3, 64, (3,))`` sequences, ``conv(3, 64, (3, 3, 3))`` volumes: one integer
    stands for two axes. ``groups=in_features`` is a depthwise convolution.

    Shapes: x [..., H, W, in] -> y [..., H', W', out]; kernel [*kernel_size, in / groups, out],
        bias [out]. "SAME" and "CAUSAL": H' = ceil(H / stride); "VALID": H' = ceil((H - reach + 1)
        / stride), where reach = (kernel_size - 1) * dilation + 1. A number pads each side by as
        much, a pair a side; "CAUSAL" pads before alone, so that y[i] sees nothing after stride * i.
        Padding is zeros, or x itself: mirrored ("reflect"), its edge ("replicate"), its other end
        ("circular"). ``mask``, True where a weight takes part, broadcasts to the kernel.
    implementation: "whole", or what is quicker on a CPU: "halves" (of the batch, side by side),
        "patches" (a product with them), "shifts" (of x, for a depthwise convolution) or "native"
        (in C++, after ``nnjax.native.build``); "auto" chooses; see ``nnjax.ops.convolution``.
    Dtypes: params are made in float32; x and params share the dtype that they are called in.
    Raises: ValueError, for another number of channels or axes, groups that do not divide both
        features, a mask that does not fit, or an x smaller than the kernel or its own padding;
        TypeError, if x is not floating.
    Source: LeCun et al. 1998, https://doi.org/10.1109/5.726791, section II.A; groups from
        Krizhevsky et al. 2012; dilation from Yu and Koltun 2016, https://arxiv.org/abs/1511.07122.
    """
    return _conv(
        f"conv({in_features}, {out_features}, {kernel_size})",
        in_features,
        out_features,
        kernel_size,
        stride=stride,
        padding=padding,
        padding_mode=padding_mode,
        dilation=dilation,
        groups=groups,
        bias=bias,
        mask=mask,
        implementation=implementation,
        kernel_init=kernel_init,
        bias_init=bias_init,
    )


def depthwise_conv(
    features: int,
    kernel_size: int | Sequence[int],
    *,
    multiplier: int = 1,
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
) -> Layer:
    """``multiplier`` kernels for each feature alone: ``conv`` with ``groups=features``.

    Shapes: x [..., H, W, C] -> y [..., H', W', C * multiplier], those of feature c at
        c * multiplier and after; kernel [*kernel_size, 1, C * multiplier], bias [C * multiplier].
    Dtypes: as in conv.
    Raises: as conv.
    Source: Chollet 2017, https://arxiv.org/abs/1610.02357, section 2.
    """
    name = f"depthwise_conv({features}, {kernel_size})"
    check_positive(name, features=features, multiplier=multiplier)
    return _conv(
        name,
        features,
        features * multiplier,
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=features,
        bias=bias,
        kernel_init=kernel_init,
    )


def separable_conv(
    in_features: int,
    out_features: int,
    kernel_size: int | Sequence[int],
    *,
    multiplier: int = 1,
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
) -> Layer:
    """Space first, then channels: ``depthwise_conv`` without bias, then a ``conv`` of size 1.

    Shapes: x [..., H, W, in] -> y [..., H', W', out]; the kernels together have
        prod(kernel_size) * in * multiplier + in * multiplier * out entries.
    Dtypes: as in conv.
    Raises: as conv.
    Source: Chollet 2017, https://arxiv.org/abs/1610.02357, section 2.
    """
    name = f"separable_conv({in_features}, {out_features}, {kernel_size})"
    depthwise = depthwise_conv(
        in_features,
        kernel_size,
        multiplier=multiplier,
        stride=stride,
        padding=padding,
        dilation=dilation,
        bias=False,
        kernel_init=kernel_init,
    )
    one = (1,) * len(per_axis(name, "kernel_size", kernel_size, 2))
    inside = in_features * multiplier
    pointwise = conv(inside, out_features, one, bias=bias, kernel_init=kernel_init)
    return serial(depthwise=depthwise, pointwise=pointwise).named(name)


def masked_conv(
    in_features: int,
    out_features: int,
    kernel_size: int | Sequence[int],
    *,
    centre: bool,
    colors: int = 1,
    dilation: int | Sequence[int] = 1,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """``conv`` that sees only what comes before in reading order: row by row, left to right.

    The first layer of an autoregressive model leaves the pixel itself out (``centre=False``, mask A
    of the paper), later ones see their own features (``centre=True``, mask B). With ``colors``,
    the features of each color, in equal blocks, also see the colors before at the pixel itself.

    Shapes: x [..., H, W, in] -> y [..., H, W, out]; kernel [*kernel_size, in, out], bias [out].
    Dtypes: as in conv.
    Raises: ValueError, for an even kernel_size, or colors that do not divide both features; else
        as conv.
    Source: van den Oord, Kalchbrenner, Kavukcuoglu 2016, https://arxiv.org/abs/1601.06759,
        section 3.4; colors in blocks as in https://arxiv.org/abs/1606.05328.
    """
    name = f"masked_conv({in_features}, {out_features}, {kernel_size})"
    size = per_axis(name, "kernel_size", kernel_size, 2)
    check_positive(name, in_features=in_features, out_features=out_features, colors=colors)
    if not all(k % 2 for k in size):
        raise LayerValueError(
            f"{name}: got kernel_size={kernel_size}, expected odd sizes, which have a centre."
        )
    if in_features % colors or out_features % colors:
        raise LayerValueError(
            f"{name}: got colors={colors}, expected a divisor of both in_features={in_features} "
            f"and out_features={out_features}."
        )
    features = (in_features, out_features)
    return _conv(
        name,
        in_features,
        out_features,
        kernel_size,
        dilation=dilation,
        bias=bias,
        mask=convolution.raster_mask(size, features, colors=colors, centre=centre),
        kernel_init=kernel_init,
        bias_init=bias_init,
    )


def conv_transpose(
    in_features: int,
    out_features: int,
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    implementation: Painting = "auto",
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Each entry paints a kernel: ``y[stride * i + dilation * k - before] += x[i] @ kernel[k]``.

    It is the transpose of the ``conv`` of the same settings (hence the name, and not its inverse),
    and maps shapes as that one does backwards. Axes are as many as kernel_size has entries.

    Shapes: x [..., H, W, in] -> y [..., H', W', out]; kernel [*kernel_size, in / groups, out],
        bias [out]. "SAME": H' = stride * H; "VALID": H' = stride * H + max(reach - stride, 0),
        where reach = (kernel_size - 1) * dilation + 1. A number p, or a pair a side, is what the
        conv would pad, so here it is cut off: H' = stride * (H - 1) + reach - 2 p +
        output_padding, as in PyTorch. ``output_padding`` adds entries after, to choose among the
        sizes that a strided conv maps to H.
    implementation: "whole", "patches" (the kernel's gradient is a product), "native" (in C++, after
        ``nnjax.native.build``), or "auto"; see ``nnjax.ops.convolution``.
    Dtypes: params are made in float32; x and params share the dtype that they are called in.
    Raises: ValueError, for another number of channels or axes, groups that do not divide both
        features, output_padding that is not below stride or dilation, or padding that leaves
        nothing; TypeError, if x is not floating.
    Source: Zeiler et al. 2010, https://doi.org/10.1109/CVPR.2010.5539957; Dumoulin and Visin 2016,
        https://arxiv.org/abs/1603.07285, chapter 4.
    """
    name = f"conv_transpose({in_features}, {out_features}, {kernel_size})"
    size = per_axis(name, "kernel_size", kernel_size, 2)
    axes = len(size)
    stride = per_axis(name, "stride", stride, axes)
    dilation = per_axis(name, "dilation", dilation, axes)
    extra = per_axis(name, "output_padding", output_padding, axes, least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise LayerValueError(
            f"{name}: got output_padding={output_padding}, expected less than stride or dilation."
        )
    _check_way(name, implementation, get_args(Painting), groups, axes)
    if padding == "CAUSAL":
        raise LayerValueError(f"{name}: got padding='CAUSAL', expected 'SAME', 'VALID' or numbers.")
    reach = tuple((k - 1) * d + 1 for k, d in zip(size, dilation, strict=True))
    shapes = _shapes(name, in_features, out_features, size, groups, bias)

    def init(key):
        return draw(key, shapes, kernel=kernel_init, bias=bias_init), {}

    def crops(spatial):
        if padding in ("SAME", "VALID"):  # what is cut from the end may be negative
            excess = [r - s for r, s in zip(reach, stride, strict=True)]
            if padding == "SAME":
                before = [max(e, 0) // 2 for e in excess]
                return [(b, e - b) for b, e in zip(before, excess, strict=True)]
            return [(0, min(e, 0)) for e in excess]
        return resolve_padding(name, padding, spatial, reach, stride)

    def paint(x, kernel):
        spatial = x.shape[1:-1]
        cuts = [(a, b - e) for (a, b), e in zip(crops(spatial), extra, strict=True)]
        sides = zip(spatial, stride, reach, cuts, strict=True)
        made = [s * (n - 1) + r - a - b for n, s, r, (a, b) in sides]
        if min(*spatial, *made) < 1:
            raise LayerValueError(
                f"{name}: got x of spatial shape {spatial}, expected more than padding={padding!r} "
                f"cuts off: y would be of spatial shape {tuple(made)}."
            )
        _check_native(name, implementation, x)
        return convolution.conv_transpose(
            x,
            kernel,
            stride=stride,
            crops=cuts,
            dilation=dilation,
            groups=groups,
            implementation=implementation,
        )

    def apply(params, state, x, *, key=None, train=False):
        return _run(name, shapes, in_features, params, x, paint), state

    return Layer(init, apply, name)


def _conv(
    name: str,
    in_features: int,
    out_features: int,
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    padding_mode: PaddingMode = "constant",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    mask: np.ndarray | None = None,
    implementation: Implementation = "auto",
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """``conv``, under the name that its errors begin with."""
    size = per_axis(name, "kernel_size", kernel_size, 2)
    axes = len(size)
    stride = per_axis(name, "stride", stride, axes)
    dilation = per_axis(name, "dilation", dilation, axes)
    check_choice(name, "padding_mode", padding_mode, MODES)
    _check_way(name, implementation, get_args(Implementation), groups, axes)
    reach = tuple((k - 1) * d + 1 for k, d in zip(size, dilation, strict=True))
    shapes = _shapes(name, in_features, out_features, size, groups, bias)
    if implementation == "shifts" and groups != in_features:
        raise LayerValueError(
            f"{name}: got groups={groups} with implementation='shifts', expected as many as "
            f"in_features={in_features}. Use 'auto'."
        )
    if mask is not None:
        _check_mask(name, mask, shapes["kernel"])

    def init(key):
        return draw(key, shapes, kernel=kernel_init, bias=bias_init), {}

    def correlate(x, kernel, train):
        spatial = x.shape[1:-1]
        pads = resolve_padding(name, padding, spatial, reach, stride)
        output_size(name, spatial, reach, stride, pads)
        if padding_mode != "constant":
            check_room(name, padding_mode, spatial, pads)
            x, pads = fill.pad(x, pads, padding_mode), [(0, 0)] * axes
        if mask is not None:
            kernel = kernel * mask.astype(kernel.dtype)
        if implementation == "halves" and len(x) % 2:
            raise LayerValueError(
                f"{name}: got a batch of {len(x)} with implementation='halves', expected an even "
                "one. Use 'auto'."
            )
        _check_native(name, implementation, x)
        return convolution.conv(
            x,
            kernel,
            stride=stride,
            pads=pads,
            dilation=dilation,
            groups=groups,
            train=train,
            implementation=implementation,
        )

    def apply(params, state, x, *, key=None, train=False):
        run = functools.partial(correlate, train=train)
        return _run(name, shapes, in_features, params, x, run), state

    return Layer(init, apply, name)


def _check_way(name, implementation: str, choices: tuple[str, ...], groups: int, axes: int):
    check_choice(name, "implementation", implementation, choices)
    if implementation in ("patches", "native") and groups > 1:
        raise LayerValueError(
            f"{name}: got groups={groups} with implementation='{implementation}', expected one "
            "group. Use 'auto'."
        )
    if implementation == "native" and axes > 2:
        raise LayerValueError(
            f"{name}: got {axes} spatial axes with implementation='native', expected one or two. "
            "Use 'auto'."
        )


def _check_native(name: str, implementation: str, x: jax.Array) -> None:
    if implementation == "native" and not native.fits(x):
        raise LayerValueError(
            f"{name}: got x of {x.dtype} with implementation='native', expected float32 or "
            "narrower, outside of shard_map, after a call of nnjax.native.build(). Call it, or use "
            "'auto'."
        )


def _shapes(name, in_features, out_features, size, groups, bias):
    check_positive(name, in_features=in_features, out_features=out_features, groups=groups)
    if in_features % groups or out_features % groups:
        raise LayerValueError(
            f"{name}: got groups={groups}, expected a divisor of both "
            f"in_features={in_features} and out_features={out_features}."
        )
    kernel = (*size, in_features // groups, out_features)
    return {"kernel": kernel} | ({"bias": (out_features,)} if bias else {})


def _check_mask(name, mask, kernel):
    try:
        fits = np.broadcast_shapes(np.shape(mask), kernel) == kernel
    except ValueError:
        fits = False
    if not fits or np.asarray(mask).dtype != bool:
        got = f"got mask of {np.asarray(mask).dtype} and shape {np.shape(mask)}"
        raise LayerValueError(f"{name}: {got}, expected booleans that broadcast to {kernel}.")


def _run(name, shapes, features, params, x, op):
    """``op(x, kernel)`` and the bias, for x checked and with its batch axes joined into one."""
    axes = len(shapes["kernel"]) - 2
    check_floating(name, "x", x)
    check_shape(name, "x", x, (..., *[None] * axes, features))
    kernel, *bias = check_entries(name, "params", params, **shapes)
    if x.dtype != kernel.dtype:  # lax.conv does not promote
        got = f"got x of dtype {x.dtype} and params of {kernel.dtype}"
        raise LayerTypeError(f"{name}: {got}, expected one dtype. Cast one of them.")
    batch = x.shape[: -1 - axes]
    y = op(x.reshape(math.prod(batch), *x.shape[-1 - axes :]), kernel)
    y = y.reshape(*batch, *y.shape[1:])
    if not bias:
        return y
    # wide, as the bias's derivative is a sum over all places: in bfloat16 it was off by percents
    return (widen(y) + widen(bias[0])).astype(y.dtype)
