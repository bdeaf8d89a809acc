"""Padding of spatial axes by a constant, or by x itself: arrays [B, *spatial, C]."""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

PaddingMode = Literal["constant", "reflect", "replicate", "circular"]
MODES = ("constant", "reflect", "replicate", "circular")


def pad(
    x: Shaped[Array, "B *spatial C"],
    pads: Sequence[tuple[int, int]],
    mode: PaddingMode = "constant",
    value: float = 0.0,
) -> Shaped[Array, "B *padded C"]:
    """Widen each spatial axis by its (before, after).

    Of an axis a b c d, two more on the left are: "constant" v v, "reflect" c b (a mirror on the
    edge entry), "replicate" a a, "circular" c d.
    """
    widths = ((0, 0), *pads, (0, 0))
    if mode == "constant":
        return jnp.pad(x, widths, constant_values=np.array(value, x.dtype))
    return jnp.pad(x, widths, {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode])


def room(mode: PaddingMode, size: int) -> float:
    """The most that one side of an axis of this size can be padded by."""
    if mode == "reflect":
        return max(size - 1.0, 0.0)
    return float(size) if mode == "circular" or (mode == "replicate" and not size) else np.inf
