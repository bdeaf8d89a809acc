"""Convolution, its transpose, and the patches that both go over: arrays [B, *spatial, C]."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float, Num

from nnjax.native import convolution as native
from nnjax.ops.lowering import backend, one_cpu, way
from nnjax.ops.precision import widen
from nnjax.ops.product import tensordot
from nnjax.ops.resample import pixel_shuffle, pixel_unshuffle
from nnjax.ops.windows import Pads, Sizes, tile, views

Implementation = Literal["auto", "whole", "halves", "patches", "shifts", "native"]
Painting = Literal["auto", "whole", "patches", "native"]
Product = Callable[[Any, Any], Any]

_FEW = 64  # input channels up to which XLA:CPU leaves a convolution to one core
_WORK = 2**23  # multiplications below which cutting the batch costs more than it saves
_PLACES = 64  # in a window, each of which is a slice to compile
_LARGER = 2.5  # times an output's size that its patch may have


def conv(
    x: Float[Array, "B *spatial C"],
    kernel: Float[Array, "*size I O"],
    *,
    stride: Sizes,
    pads: Pads,
    dilation: Sizes,
    groups: int = 1,
    train: bool = True,
    implementation: Implementation = "auto",
) -> Float[Array, "B *sites O"]:
    """``y[i] = sum_k x[stride * i + dilation * k - before] @ kernel[k]``, zero outside of x.

    implementation, and when "auto" takes it on a CPU (elsewhere it takes the whole):
        "whole": one convolution.
        "patches": the kernel's derivative is one product with the patches under all windows; where
            windows are single entries, or tile x, all is. For those, and, if ``train``, for patches
            little larger than what comes out.
        "shifts": the sum over the window's places of x, shifted, times that place's weights; each
            output has one input channel. For such windows of up to 64 places.
        "halves": a convolution for each half of the batch, and so for the kernel's derivative. XLA
            runs a convolution of few input channels on one core, but two of them side by side. If
            ``train``, for up to 64 channels, an even batch and work that is worth it.
        "native": in C++, once ``nnjax.native.build`` has run. Then instead of the whole, of halves
            and of patches that overlap; of one group, over one or two axes.
    """
    window = kernel.shape[:-2]
    apart = math.prod(window) == 1 or tile(x.shape[1:-1], window, stride, pads, dilation)
    if implementation == "auto":
        implementation = _quickest(x, kernel, stride, groups, train, apart)

    def whole(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            stride,
            pads,
            rhs_dilation=dilation,
            dimension_numbers=_letters(len(stride)),
            feature_group_count=groups,
        )

    def halves(x, kernel):
        half = len(x) // 2
        return jnp.concatenate([whole(x[:half], kernel), whole(x[half:], kernel)])

    def patches(x, kernel):
        h = unfold(x, window=window, stride=stride, pads=pads, dilation=dilation)
        return tensordot(h, kernel.reshape(-1, kernel.shape[-1]))

    def shifts(x, kernel):
        features = kernel.shape[-1]
        x = jnp.repeat(x, features // x.shape[-1], axis=-1)
        seen = views(x, window, stride, pads, dilation)
        weights = widen(kernel).reshape(-1, features)
        parts = (widen(view) * weight for view, weight in zip(seen, weights, strict=True))
        return functools.reduce(jnp.add, parts).astype(x.dtype)

    ways = {
        "whole": whole,
        "shifts": shifts,
        "halves": bilinear(halves, whole, halves),
        "patches": patches if apart else bilinear(whole, whole, patches),
        "native": functools.partial(native.conv, stride=stride, pads=pads, dilation=dilation),
    }
    with way("conv", implementation):
        return ways[implementation](x, kernel)


def bilinear(forward: Product, by_x: Product, by_kernel: Product) -> Product:
    """A function that is linear in each argument, with a way of its own for each derivative.

    ``d f(x, k) = f(dx, k) + f(x, dk)``: the three may be computed differently.
    """

    @jax.custom_jvp
    def f(x, kernel):
        return forward(x, kernel)

    def derivative(primals, tangents):
        (x, kernel), (to_x, to_kernel) = primals, tangents
        parts = []
        if not isinstance(to_x, SymbolicZero):  # an image's is, and its convolution is not free
            parts.append(by_x(to_x, kernel))
        if not isinstance(to_kernel, SymbolicZero):
            parts.append(by_kernel(x, to_kernel))
        return forward(x, kernel), functools.reduce(jnp.add, parts)

    f.defjvp(derivative, symbolic_zeros=True)
    return f


def conv_transpose(
    x: Float[Array, "B *spatial C"],
    kernel: Float[Array, "*size I O"],
    *,
    stride: Sizes,
    crops: Pads,
    dilation: Sizes,
    groups: int = 1,
    implementation: Painting = "auto",
) -> Float[Array, "B *sites O"]:
    """``y[stride * i + dilation * k - before] += x[i] @ kernel[k]``: each x paints a kernel.

    The painting is ``stride * (H - 1) + reach`` long, where ``reach = dilation * (size - 1) + 1``;
    crops take (before, after) off it, or add zeros where negative.

    implementation: "whole" is a convolution of x, spread by stride, with the kernel turned round;
        "patches" takes the kernel's derivative as a product with the patches painted, and all where
        they tile the painting. "auto" does so on a CPU for strides above 1, where XLA's own
        gradients take nine times as long (4x4, stride 2, ``benchmarks/kernels.py``). "native" is
        in C++, as in ``conv``.
    """
    axes = tuple(range(len(stride)))
    size = kernel.shape[:-2]
    reach = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]

    def whole(x, kernel):
        return jax.lax.conv_general_dilated(
            x,
            jnp.flip(kernel, axes),
            (1,) * len(stride),
            [(r - 1 - a, r - 1 - b) for r, (a, b) in zip(reach, crops, strict=True)],
            lhs_dilation=stride,
            rhs_dilation=dilation,
            dimension_numbers=_letters(len(stride)),
            feature_group_count=groups,
        )

    sides = zip(x.shape[1:-1], stride, reach, crops, strict=True)
    painting = [s * (n - 1) + r - a - b for n, s, r, (a, b) in sides]
    windows = {"stride": stride, "pads": crops, "dilation": dilation}
    apart = tile(painting, size, **windows)
    if implementation == "auto":
        spread = backend() == "cpu" and groups == 1 and math.prod(stride) > 1
        implementation = "patches" if spread else "whole"
        if groups == 1 and not apart and one_cpu() and native.fits(x):
            implementation = "native"

    def patches(x, kernel):
        h = tensordot(x, jnp.moveaxis(kernel, -2, 0))
        h = h.reshape(*x.shape[:-1], math.prod(h.shape[x.ndim - 1 :]))
        return fold(h, painting, window=size, **windows)

    ways = {
        "whole": whole,
        "patches": patches if apart else bilinear(whole, whole, patches),
        "native": functools.partial(native.paint, size=painting, **windows),
    }
    with way("conv_transpose", implementation):
        return ways[implementation](x, kernel)


def unfold(
    x: Num[Array, "B *spatial C"], *, window: Sizes, stride: Sizes, pads: Pads, dilation: Sizes
) -> Num[Array, "B *sites F"]:
    """The entries under each window, window position by position, channels last: F = window * C.

    In the order of a kernel: ``unfold(x) @ kernel.reshape(-1, out)`` is the convolution.
    """
    if tile(x.shape[1:-1], window, stride, pads, dilation):
        h = pixel_unshuffle(x, window)  # of each channel, all places
        h = h.reshape(*h.shape[:-1], x.shape[-1], math.prod(window)).swapaxes(-1, -2)
        return h.reshape(*h.shape[:-2], math.prod(window) * x.shape[-1])
    return jnp.concatenate(list(views(x, window, stride, pads, dilation)), -1)


def fold(
    patches: Num[Array, "B *sites F"],
    size: Sizes,
    *,
    window: Sizes,
    stride: Sizes,
    pads: Pads,
    dilation: Sizes,
) -> Num[Array, "B *spatial C"]:
    """The transpose of ``unfold``: every patch added in where it came from, in float32 or wider."""
    channels = patches.shape[-1] // math.prod(window)
    if tile(size, window, stride, pads, dilation):
        h = patches.reshape(*patches.shape[:-1], math.prod(window), channels).swapaxes(-1, -2)
        return pixel_shuffle(h.reshape(patches.shape), window)
    h = widen(patches)
    x = jnp.zeros((len(h), *size, channels), h.dtype)
    for k, position in enumerate(itertools.product(*map(range, window))):
        spread = [(0, 0, 0)]
        axes = zip(position, size, h.shape[1:-1], stride, pads, dilation, strict=True)
        for p, n, sites, s, (before, _), d in axes:
            low = p * d - before
            spread.append((low, n - low - (sites - 1) * s - 1, s - 1))
        part = h[..., k * channels : (k + 1) * channels]
        x = x + jax.lax.pad(part, np.zeros((), h.dtype), [*spread, (0, 0, 0)])
    return x.astype(patches.dtype)


def raster_mask(size: Sizes, features: tuple[int, int], *, colors: int, centre: bool) -> np.ndarray:
    """Which entries of a kernel [*size, in, out] see what comes before the centre in reading order.

    At the centre itself a feature of color i may reach one of color j > i, and, if ``centre``, of
    its own color; features are shared out among the colors in equal, consecutive blocks.
    """
    position = np.arange(math.prod(size)).reshape(*size, 1, 1)
    middle = np.ravel_multi_index([n // 2 for n in size], size)  # sizes are odd
    inside, outside = (np.arange(n) * colors // n for n in features)
    own = outside >= inside[:, None] if centre else outside > inside[:, None]
    return np.where(position == middle, own, position < middle)


def _quickest(x, kernel, stride, groups, train, apart) -> Implementation:
    """By what was timed on a CPU, ``benchmarks/kernels.py``."""
    *window, channels, features = kernel.shape
    work = math.prod(kernel.shape) * math.prod(x.shape[:-1]) // math.prod(stride)
    if backend() != "cpu":
        return "whole"
    if groups > 1:
        return "shifts" if channels == 1 and math.prod(window) <= _PLACES else "whole"
    if apart:
        return "patches"
    if one_cpu() and native.fits(x):
        return "native"
    if not train or work < _WORK:
        return "whole"
    if math.prod(window) * channels <= _LARGER * features:
        return "patches"
    return "halves" if one_cpu() and channels <= _FEW and len(x) % 2 == 0 else "whole"


def _letters(axes: int) -> tuple[str, str, str]:
    spatial = "HWD"[:axes]
    return f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"
