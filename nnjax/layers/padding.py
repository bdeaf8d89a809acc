"""Layers that widen or narrow spatial axes: pad and crop."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import jax.numpy as jnp

from nnjax.core import Layer, check_choice
from nnjax.core.errors import LayerTypeError, LayerValueError
from nnjax.layers.windows import check_room, sides, spatial_layer
from nnjax.ops import padding
from nnjax.ops.padding import PaddingMode

Amount = int | Sequence[int | tuple[int, int]]


def pad(amount: Amount, *, mode: PaddingMode = "constant", value: float = 0.0) -> Layer:
    """More entries at both ends of each spatial axis.

    They are ``value`` ("constant"), x mirrored on its edge entry ("reflect"), its edge entry
    ("replicate") or its other end ("circular"). One integer pads two axes, all sides alike; a
    sequence has an integer or a (before, after) pair an axis: ``pad([(2, 0)])`` for sequences.

    Shapes: x [..., H, W, C] -> y [..., before + H + after, before' + W + after', C].
    Dtypes: y has x.dtype, which may be any.
    Raises: ValueError, for a negative amount, or one that x is too small to be mirrored or gone
        round by; TypeError, for a value with a fraction if x has integers.
    """
    name = f"pad({amount})"
    pads = _amounts(name, amount)
    check_choice(name, "mode", mode, padding.MODES)

    def op(x):
        check_room(name, mode, x.shape[1:-1], pads)
        if not jnp.issubdtype(x.dtype, jnp.inexact) and value != int(value):
            raise LayerTypeError(
                f"{name}: got x of dtype {x.dtype} and value={value}, which it "
                "cannot hold, expected a whole number."
            )
        return padding.pad(x, pads, mode, float(value))

    return spatial_layer(name, len(pads), op, floating=False)


def crop(amount: Amount) -> Layer:
    """Fewer entries at both ends of each spatial axis: what ``pad`` added, in the same form.

    Shapes: x [..., H, W, C] -> y [..., H - before - after, W - before' - after', C].
    Dtypes: y has x.dtype, which may be any.
    Raises: ValueError, for a negative amount, or if nothing would be left.
    """
    name = f"crop({amount})"
    cuts = _amounts(name, amount)

    def op(x):
        spatial = x.shape[1:-1]
        if any(sum(cut) >= n for cut, n in zip(cuts, spatial, strict=True)):
            raise LayerValueError(
                f"{name}: got x of spatial shape {spatial}, expected more than is cut off, {cuts}."
            )
        kept = (slice(a, n - b) for (a, b), n in zip(cuts, spatial, strict=True))
        return x[:, *kept]

    return spatial_layer(name, len(cuts), op, floating=False)


def _amounts(name: str, amount: Any) -> list[tuple[int, int]]:
    """Pairs an axis; the amount says how many axes there are, a single integer two."""
    count = 2 if isinstance(amount, Integral) else len(amount) if hasattr(amount, "__len__") else 0
    pairs = sides(amount, count) if 1 <= count <= 3 else None
    if pairs is None or min(map(min, pairs)) < 0:
        raise LayerValueError(
            f"{name}: got amount={amount!r}, expected an integer from 0 up, or one or a (before, "
            "after) pair for each of one to three axes."
        )
    return pairs
