"""Windows over spatial axes: sizes, strides and paddings, as convolution and pooling share them."""

from collections.abc import Sequence
from numbers import Integral
from operator import index
from typing import Any, Literal

from nnjax.core.errors import LayerValueError, check_positive

Padding = Literal["SAME", "VALID"] | int | Sequence[int | tuple[int, int]]


def per_axis(name: str, argument: str, value: Any, axes: int) -> tuple[int, ...]:
    """One positive integer an axis: a single number stands for ``axes`` axes.

    Raises: ValueError, if a sequence has none or more than three entries, or does not fit ``axes``
        where the kernel has fixed them.
    """
    several = isinstance(value, Sequence) and not isinstance(value, str)
    values: tuple[Any, ...] = tuple(value) if several else (value,) * axes
    windows = argument in ("kernel_size", "window")  # these say how many axes there are
    if not (1 <= len(values) <= 3 if windows else len(values) == axes):
        expected = "one to three" if windows else str(axes)
        raise LayerValueError(f"{name}: got {argument}={value}, expected {expected} entries.")
    for entry in values:
        check_positive(name, **{argument: entry})
    return values


def resolve_padding(
    name: str,
    padding: Any,
    spatial: Sequence[int],
    reach: Sequence[int],
    stride: Sequence[int],
) -> list[tuple[int, int]]:
    """``padding`` as (before, after) for each axis.

    "SAME" makes ceil(size / stride) outputs, an odd unit of padding going after; "VALID" pads
    nothing; an integer pads all sides alike; a sequence has an integer or a pair an axis.
    """
    if padding == "VALID":
        return [(0, 0)] * len(spatial)
    if padding == "SAME":
        totals = [
            max((-(-size // s) - 1) * s + r - size, 0)
            for size, r, s in zip(spatial, reach, stride, strict=True)
        ]
        return [(total // 2, total - total // 2) for total in totals]

    def pair(entry):
        before, after = (entry, entry) if isinstance(entry, Integral) else entry
        return index(before), index(after)

    try:
        sides = (padding,) * len(spatial) if isinstance(padding, Integral) else padding
        pads = [pair(entry) for entry in sides]
    except (TypeError, ValueError):
        pads = []
    if len(pads) != len(spatial):
        raise LayerValueError(
            f"{name}: got padding={padding!r}, expected 'SAME', 'VALID', an integer, "
            f"or {len(spatial)} integers or (before, after) pairs."
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
