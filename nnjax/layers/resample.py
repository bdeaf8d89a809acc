"""Layers that resample space: resize, shuffles with channels, windows as features, sampling."""

import math
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp

from nnjax.core import Layer, check_choice, check_floating, check_positive, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.layers.windows import Padding, output_size, per_axis, resolve_padding, spatial_layer
from nnjax.ops import convolution, resample, sampling
from nnjax.ops.resample import Method
from nnjax.ops.sampling import Outside


def resize(
    size: int | Sequence[int],
    *,
    method: Method = "linear",
    align_corners: bool = False,
    antialias: bool = False,
) -> Layer:
    """Spatial axes at a given size, whatever they were: one integer is a square of two axes.

    "linear" and "cubic" weigh the 2 and 4 nearest entries an axis; ``antialias`` widens that where
    the axis shrinks. "nearest" takes entry floor(i * old / new), "nearest-exact" the one whose
    centre is nearest. ``align_corners`` maps first to first and last to last, not edge to edge.

    Shapes: x [..., H, W, C] -> y [..., *size, C].
    Dtypes: y has x.dtype; weights and sums are float32 or wider.
    Raises: ValueError, for another method, align_corners or antialias where it has no meaning, or
        x with too few axes; TypeError, if x is not floating.
    Source: Keys 1981, https://doi.org/10.1109/TASSP.1981.1163711, with a = -3/4 as in PyTorch, and
        with a = -1/2 as in Pillow and ``jax.image.resize`` if antialias.
    """
    name = f"resize({size})"
    target = per_axis(name, "size", size, 2)
    _check_method(name, method, align_corners, antialias)

    def op(x):
        _check_not_empty(name, x)
        scale = [new / old for new, old in zip(target, x.shape[1:-1], strict=True)]
        return resample.resize(
            x, target, scale, method, align_corners=align_corners, antialias=antialias
        )

    return spatial_layer(name, len(target), op)


def upsample(
    scale: float | Sequence[float],
    *,
    method: Method = "nearest",
    align_corners: bool = False,
    antialias: bool = False,
) -> Layer:
    """Spatial axes ``scale`` times as long (or shorter, below one): one number for two axes.

    Entry i lies at (i + 1/2) / scale - 1/2 of x, so that with a fractional scale the last one need
    not meet the end; ``resize`` is the same from a size. Methods are those of ``resize``.

    Shapes: x [..., H, W, C] -> y [..., floor(H * scale), floor(W * scale), C].
    Dtypes: y has x.dtype; weights and sums are float32 or wider.
    Raises: ValueError, for a scale of 0 or less, one that leaves nothing of x, another method,
        align_corners or antialias where it has no meaning, or x with too few axes; TypeError, if x
        is not floating.
    Source: as in resize.
    """
    name = f"upsample({scale})"
    scales = [float(s) for s in (scale if isinstance(scale, Sequence) else [scale] * 2)]
    if not 1 <= len(scales) <= 3 or not all(0 < s < math.inf for s in scales):
        raise LayerValueError(f"{name}: got scale={scale}, expected one to three numbers above 0.")
    _check_method(name, method, align_corners, antialias)

    def op(x):
        _check_not_empty(name, x)
        target = [math.floor(n * s) for n, s in zip(x.shape[1:-1], scales, strict=True)]
        if min(target) < 1:
            raise LayerValueError(
                f"{name}: got x of spatial shape {x.shape[1:-1]}, expected some of it left, got "
                f"{target}. Give a larger x or scale."
            )
        return resample.resize(
            x, target, scales, method, align_corners=align_corners, antialias=antialias
        )

    return spatial_layer(name, len(scales), op)


def pixel_shuffle(factor: int | Sequence[int]) -> Layer:
    """Channels become space: ``y[r i + a, r j + b, c] = x[i, j, (c r + a) r + b]``, r = factor.

    Shapes: x [..., H, W, C * r * r] -> y [..., H * r, W * r, C]; one integer is two axes.
    Dtypes: y has x.dtype, which may be any.
    Raises: ValueError, for channels that r * r does not divide, or x with too few axes.
    Source: Shi et al. 2016, https://arxiv.org/abs/1609.05158, section 2.2.
    """
    name = f"pixel_shuffle({factor})"
    factors = per_axis(name, "factor", factor, 2)

    def op(x):
        if x.shape[-1] % math.prod(factors):
            raise LayerValueError(
                f"{name}: got x with {x.shape[-1]} channels, expected a multiple of "
                f"{math.prod(factors)}."
            )
        return resample.pixel_shuffle(x, factors)

    return spatial_layer(name, len(factors), op, floating=False)


def pixel_unshuffle(factor: int | Sequence[int]) -> Layer:
    """Space becomes channels: the inverse of ``pixel_shuffle``.

    Shapes: x [..., H, W, C] -> y [..., H / r, W / r, C * r * r]; one integer is two axes.
    Dtypes: y has x.dtype, which may be any.
    Raises: ValueError, for spatial sizes that r does not divide, or x with too few axes.
    Source: Shi et al. 2016, https://arxiv.org/abs/1609.05158, section 2.2, backwards.
    """
    name = f"pixel_unshuffle({factor})"
    factors = per_axis(name, "factor", factor, 2)

    def op(x):
        if any(n % f for n, f in zip(x.shape[1:-1], factors, strict=True)):
            raise LayerValueError(
                f"{name}: got x of spatial shape {x.shape[1:-1]}, expected multiples of {factors}."
            )
        return resample.pixel_unshuffle(x, factors)

    return spatial_layer(name, len(factors), op, floating=False)


def channel_shuffle(groups: int) -> Layer:
    """Mix channels between groups: those of [groups, C / groups] in the order of the transpose.

    Shapes: x [..., C] -> y [..., C].
    Dtypes: y has x.dtype, which may be any.
    Raises: ValueError, for channels that groups does not divide.
    Source: Zhang et al. 2018, https://arxiv.org/abs/1707.01083, section 3.1.
    """
    name = f"channel_shuffle({groups})"
    check_positive(name, groups=groups)

    def op(x):
        if x.shape[-1] % groups:
            got = f"got x with {x.shape[-1]} channels"
            raise LayerValueError(f"{name}: {got}, expected a multiple of groups={groups}.")
        pairs = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
        return jnp.swapaxes(pairs, -1, -2).reshape(x.shape)

    return spatial_layer(name, 0, op, floating=False)


def unfold(
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> Layer:
    """The entries under each window as the features of one place: patches of an image.

    Features are in the order of a kernel, so that ``unfold(3)`` and a product with
    ``kernel.reshape(-1, out)`` is ``conv``; ``unfold(16, stride=16)`` cuts an image into patches.

    Shapes: x [..., H, W, C] -> y [..., H', W', prod(window) * C], with H' as in conv.
    Dtypes: y has x.dtype.
    Raises: ValueError, if x has too few axes or is smaller than the window; TypeError, if x is not
        floating.
    """
    name = f"unfold({window})"
    window, stride, dilation, reach = _windows(name, window, stride, dilation)

    def op(x):
        pads = resolve_padding(name, padding, x.shape[1:-1], reach, stride)
        output_size(name, x.shape[1:-1], reach, stride, pads)
        return convolution.unfold(x, window=window, stride=stride, pads=pads, dilation=dilation)

    return spatial_layer(name, len(window), op)


def fold(
    size: int | Sequence[int],
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
) -> Layer:
    """Patches back into an image of ``size``, added up where they overlap: unfold's transpose.

    Shapes: x [..., H', W', prod(window) * C] -> y [..., *size, C], with H' what ``unfold`` of the
        same settings makes of size.
    Dtypes: y has x.dtype; sums are float32 or wider.
    Raises: ValueError, if x is not of the shape that unfold would make; TypeError, if x is not
        floating.
    """
    name = f"fold({size}, {window})"
    size = per_axis(name, "size", size, 2)
    window, stride, dilation, reach = _windows(name, window, stride, dilation, len(size))
    if len(window) != len(size):
        raise LayerValueError(f"{name}: got window={window}, expected {len(size)} entries.")
    pads = resolve_padding(name, padding, size, reach, stride)
    sites = output_size(name, size, reach, stride, pads)

    def op(x):
        if x.shape[1:-1] != sites or x.shape[-1] % math.prod(window):
            raise LayerValueError(
                f"{name}: got x of places {x.shape[1:-1]} and {x.shape[-1]} features, expected "
                f"{sites} and a multiple of {math.prod(window)}."
            )
        return convolution.fold(x, size, window=window, stride=stride, pads=pads, dilation=dilation)

    return spatial_layer(name, len(window), op)


def grid_sample(
    *,
    method: Literal["nearest", "linear", "cubic"] = "linear",
    padding: Outside = "zeros",
    align_corners: bool = False,
) -> Layer:
    """``layer(params, x, grid)``: x read at each point of grid, between its entries by ``method``.

    A point is (x, y) or (x, y, z), the last spatial axis first, from -1 to 1 over the image: from
    edge to edge, or with ``align_corners`` from centre to centre of the outer pixels. Outside are
    zeros, the border entries, or the image mirrored ("reflection").

    Shapes: x [..., H, W, C], grid [..., *points, 2] -> y [..., *points, C]; a volume has points of
        three coordinates.
    Dtypes: y has x.dtype; coordinates, weights and sums are float32 or wider.
    Raises: ValueError, for another method or padding, or if x and grid do not fit each other;
        TypeError, if one of them is not floating.
    Source: Jaderberg et al. 2015, https://arxiv.org/abs/1506.02025, section 3.3.
    """
    name = "grid_sample()"
    check_choice(name, "method", method, ("nearest", "linear", "cubic"))
    check_choice(name, "padding", padding, ("zeros", "border", "reflection"))

    def init(key):
        return {}, {}

    def apply(params, state, x, grid, *, key=None, train=False):
        check_floating(name, "x", x)
        check_floating(name, "grid", grid)
        axes = grid.shape[-1] if grid.ndim else 0
        batch = x.shape[: -1 - axes]
        if not 1 <= axes <= 3 or x.ndim <= axes or grid.shape[: len(batch)] != batch:
            raise LayerValueError(
                f"{name}: got x of shape {x.shape} and grid of {grid.shape}, expected the same "
                "batch axes, and as many coordinates in grid as x has spatial axes."
            )
        x = x.reshape(math.prod(batch), *x.shape[-1 - axes :])
        _check_not_empty(name, x)
        points = grid.shape[len(batch) :]
        flat = grid.reshape(math.prod(batch), *points)
        y = sampling.grid_sample(x, flat, method, padding, align_corners=align_corners)
        return y.reshape(*batch, *y.shape[1:]), state

    return Layer(init, apply, name)


def affine_grid(size: int | Sequence[int], *, align_corners: bool = False) -> Layer:
    """The grid at which ``grid_sample`` reads an image moved by ``theta``: ``theta @ (x, y, 1)``.

    Shapes: theta [..., 2, 3] -> grid [..., *size, 2]; [..., 3, 4] -> [..., *size, 3] for volumes.
    Dtypes: the grid has theta's dtype; coordinates are computed in float32 or wider.
    Raises: ValueError, for theta of another shape; TypeError, if it is not floating.
    Source: Jaderberg et al. 2015, https://arxiv.org/abs/1506.02025, section 3.2.
    """
    name = f"affine_grid({size})"
    size = per_axis(name, "size", size, 2)
    axes = len(size)

    def init(key):
        return {}, {}

    def apply(params, state, theta, *, key=None, train=False):
        check_floating(name, "theta", theta)
        check_shape(name, "theta", theta, (..., axes, axes + 1))
        batch = theta.shape[:-2]
        flat = theta.reshape(math.prod(batch), axes, axes + 1)
        grid = sampling.affine_grid(flat, size, align_corners=align_corners)
        return grid.reshape(*batch, *grid.shape[1:]), state

    return Layer(init, apply, name)


def _windows(name, window, stride, dilation, axes=2):
    window = per_axis(name, "window", window, axes)
    stride = per_axis(name, "stride", stride, len(window))
    dilation = per_axis(name, "dilation", dilation, len(window))
    reach = tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))
    return window, stride, dilation, reach


def _check_method(name, method, align_corners, antialias):
    check_choice(name, "method", method, resample.METHODS)
    if (align_corners or antialias) and method.startswith("nearest") or align_corners and antialias:
        got = f"got method={method!r}, align_corners={align_corners}, antialias={antialias}"
        raise LayerValueError(
            f"{name}: {got}, expected one of the two, with method 'linear' or 'cubic'."
        )


def _check_not_empty(name, x):
    if 0 in x.shape[1:-1]:
        raise LayerValueError(f"{name}: got x of spatial shape {x.shape[1:-1]}, expected entries.")
