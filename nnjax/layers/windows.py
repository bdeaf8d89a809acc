"""Windows over spatial axes: sizes, strides and paddings, as convolution and pooling share them."""

import math
from collections.abc import Callable, Sequence
from numbers import Integral
from operator import index
from typing import Any, Literal

import jax

from nnjax.core import Layer, check_floating, check_positive, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.ops.padding import PaddingMode, room

Padding = Literal["SAME", "VALID", "CAUSAL"] | int | Sequence[int | tuple[int, int]]


SETS_AXES = ("kernel_size", "window", "size", "factor")  # these say how many axes there are


def per_axis(
    name: str, argument: str, value: Any, axes: int, *, least: Literal[0, 1] = 1
) -> tuple[int, ...]:
    """One integer an axis, at least ``least``: a single number stands for ``axes`` axes.

    Raises: ValueError, if a sequence has none or more than three entries, or does not fit ``axes``
        where the kernel has fixed them.
    """
    several = isinstance(value, Sequence) and not isinstance(value, str)
    values: tuple[Any, ...] = tuple(value) if several else (value,) * axes
    free = argument in SETS_AXES
    if not (1 <= len(values) <= 3 if free else len(values) == axes):
        expected = "one to three" if free else str(axes)
        raise LayerValueError(f"{name}: got {argument}={value}, expected {expected} entries.")
    for entry in values:
        if least or entry != 0:
            check_positive(name, **{argument: entry})
    return values


def sides(value: Any, axes: int) -> list[tuple[int, int]] | None:
    """(before, after) for each axis, of an integer, or of an integer or a pair an axis."""

    def pair(entry):
        before, after = (entry, entry) if isinstance(entry, Integral) else entry
        return index(before), index(after)

    try:
        pairs = [pair(e) for e in ((value,) * axes if isinstance(value, Integral) else value)]
    except (TypeError, ValueError):
        return None
    return pairs if len(pairs) == axes else None


def resolve_padding(
    name: str,
    padding: Any,
    spatial: Sequence[int],
    reach: Sequence[int],
    stride: Sequence[int],
) -> list[tuple[int, int]]:
    """``padding`` as (before, after) for each axis.

    "SAME" makes ceil(size / stride) outputs, an odd unit of padding going after; "CAUSAL" makes as
    many, all padding going before, so that none looks ahead; "VALID" pads nothing; an integer pads
    all sides alike; a sequence has an integer or a pair an axis.
    """
    if padding == "VALID":
        return [(0, 0)] * len(spatial)
    if padding == "SAME":
        totals = [
            max((-(-size // s) - 1) * s + r - size, 0)
            for size, r, s in zip(spatial, reach, stride, strict=True)
        ]
        return [(total // 2, total - total // 2) for total in totals]
    if padding == "CAUSAL":
        return [(r - 1, 0) for r in reach]
    pads = sides(padding, len(spatial))
    if pads is None:
        raise LayerValueError(
            f"{name}: got padding={padding!r}, expected 'SAME', 'VALID', 'CAUSAL', an "
            f"integer, or {len(spatial)} integers or (before, after) pairs."
        )
    if min(map(min, pads)) < 0:
        raise LayerValueError(f"{name}: got padding={padding!r}, expected nothing negative.")
    return pads


def output_size(
    name: str,
    spatial: Sequence[int],
    reach: Sequence[int],
    stride: Sequence[int],
    pads: Sequence[tuple[int, int]],
) -> tuple[int, ...]:
    """How many windows fit along each axis.

    Raises: ValueError, if some axis holds none.
    """
    sizes = tuple(
        (size + before + after - r) // s + 1
        for size, r, s, (before, after) in zip(spatial, reach, stride, pads, strict=True)
    )
    if min(sizes) < 1:
        raise LayerValueError(
            f"{name}: got x of spatial shape {tuple(spatial)}, expected room for a window of "
            f"{tuple(reach)} after padding by {list(pads)}. Give a larger x, more padding or a "
            "smaller window."
        )
    return sizes


def check_room(
    name: str, mode: PaddingMode, spatial: Sequence[int], pads: Sequence[tuple[int, int]]
) -> None:
    """Refuse to mirror or to go round further than x reaches."""
    if any(max(pair) > room(mode, size) for pair, size in zip(pads, spatial, strict=True)):
        raise LayerValueError(
            f"{name}: got x of spatial shape {tuple(spatial)}, expected room for padding by "
            f"{list(pads)} in mode {mode!r}, which takes it from x. Give a larger x or pad less."
        )


def spatial_layer(
    name: str, axes: int, op: Callable[[jax.Array], jax.Array], *, floating: bool = True
) -> Layer:
    """The layer without parameters that applies ``op`` to x as [B, *spatial, C]."""

    def init(key):
        return {}, {}

    def apply(params, state, x, *, key=None, train=False):
        if floating:
            check_floating(name, "x", x)
        check_shape(name, "x", x, (..., *[None] * (axes + 1)), "Give it spatial axes and channels.")
        batch = x.shape[: -1 - axes]
        y = op(x.reshape(math.prod(batch), *x.shape[-1 - axes :]))
        return y.reshape(*batch, *y.shape[1:]), state

    return Layer(init, apply, name)
