"""Arrays [..., *spatial, C]: their batch axes joined on the way in, parted on the way out."""

import math
from collections.abc import Callable
from typing import Any

import jax

from nnjax.core import Layer, check_floating, check_positive, check_shape


def join_batch(name: str, x: Any, axes: int) -> tuple[jax.Array, Callable[[Any], Any]]:
    """x as [B, *spatial, C], and the function that parts B again, in each array of a tree.

    Raises: ValueError, if x has too few axes; TypeError, if it is not floating.
    """
    check_floating(name, "x", x)
    check_shape(name, "x", x, (..., *[None] * (axes + 1)), "Give it spatial axes and channels.")
    batch, image = x.shape[: -1 - axes], x.shape[-1 - axes :]
    part = lambda tree: jax.tree.map(lambda y: y.reshape(*batch, *y.shape[1:]), tree)
    return x.reshape(math.prod(batch), *image), part


def image_layer(name: str, axes: int, run: Callable[[jax.Array], Any]) -> Layer:
    """A layer without parameters from a function of x [B, *spatial, C]."""
    check_positive(name, axes=axes)

    def init(key):
        return {}, {}

    def apply(params, state, x, *, key=None, train=False):
        x, part = join_batch(name, x, axes)
        return part(run(x)), state

    return Layer(init, apply, name)
