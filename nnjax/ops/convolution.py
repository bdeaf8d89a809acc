"""Convolution, its transpose, and the patches that both go over: arrays [B, *spatial, C]."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from nnjax.ops.lowering import one_cpu, way
from nnjax.ops.precision import widen

Implementation = Literal["auto", "whole", "halves"]
Sizes = Sequence[int]
Pads = Sequence[tuple[int, int]]

_FEW = 64  # input channels up to which XLA:CPU leaves a convolution to one core
_WORK = 2**23  # multiplications below which cutting the batch costs more than it saves


def conv(
    x: Float[Array, "B *spatial C"],
    kernel: Float[Array, "*size I O"],
    *,
    stride: Sizes,
    pads: Pads,
    dilation: Sizes,
    groups: int = 1,
    implementation: Implementation = "auto",
) -> Float[Array, "B *sites O"]:
    """``y[i] = sum_k x[stride * i + dilation * k - before] @ kernel[k]``, zero outside of x.

    implementation: "whole" is one convolution; "halves" is one for each half of the batch. XLA runs
        a convolution of few input channels on one core of a CPU, but two of them side by side:
        "auto" takes halves there, for up to 64 channels and a batch and work that are worth it (and
        ``nn.conv`` only in training: the gain is in the gradients).
    """
    if implementation == "auto":
        few = kernel.shape[-2] <= _FEW and math.prod(kernel.shape) * math.prod(x.shape[:-1]) > _WORK
        cut = few and len(x) % 2 == 0 and groups == 1 and one_cpu()
        implementation = "halves" if cut else "whole"

    def of(x):
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            stride,
            pads,
            rhs_dilation=dilation,
            dimension_numbers=_letters(len(stride)),
            feature_group_count=groups,
        )

    with way("conv", implementation):
        if implementation == "whole":
            return of(x)
        half = len(x) // 2
        return jnp.concatenate([of(x[:half]), of(x[half:])])


def conv_transpose(
    x: Float[Array, "B *spatial C"],
    kernel: Float[Array, "*size I O"],
    *,
    stride: Sizes,
    crops: Pads,
    dilation: Sizes,
    groups: int = 1,
) -> Float[Array, "B *sites O"]:
    """``y[stride * i + dilation * k - before] += x[i] @ kernel[k]``: each x paints a kernel.

    The painting is ``stride * (H - 1) + reach`` long, where ``reach = dilation * (size - 1) + 1``;
    crops take (before, after) off it, or add zeros where negative. It is computed as a convolution
    of x, spread by stride, with the kernel turned round.
    """
    axes = tuple(range(len(stride)))
    reach = (d * (k - 1) + 1 for k, d in zip(kernel.shape, dilation, strict=False))
    pads = [(r - 1 - a, r - 1 - b) for r, (a, b) in zip(reach, crops, strict=True)]
    return jax.lax.conv_general_dilated(
        x,
        jnp.flip(kernel, axes),
        (1,) * len(stride),
        pads,
        lhs_dilation=stride,
        rhs_dilation=dilation,
        dimension_numbers=_letters(len(stride)),
        feature_group_count=groups,
    )


def unfold(
    x: Num[Array, "B *spatial C"], *, window: Sizes, stride: Sizes, pads: Pads, dilation: Sizes
) -> Num[Array, "B *sites F"]:
    """The entries under each window, window position by position, channels last: F = window * C.

    In the order of a kernel: ``unfold(x) @ kernel.reshape(-1, out)`` is the convolution.
    """
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    sites = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[1:-1], window, stride, dilation, strict=True)
    ]
    views = []
    for position in itertools.product(*map(range, window)):
        starts = [p * d for p, d in zip(position, dilation, strict=True)]
        limits = [a + (m - 1) * s + 1 for a, m, s in zip(starts, sites, stride, strict=True)]
        ends = (x.shape[0], *limits, x.shape[-1])
        views.append(jax.lax.slice(x, (0, *starts, 0), ends, (1, *stride, 1)))
    return jnp.concatenate(views, -1)


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


def _letters(axes: int) -> tuple[str, str, str]:
    spatial = "HWD"[:axes]
    return f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"
