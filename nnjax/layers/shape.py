"""Layers that only rearrange: flatten and its inverse."""

import math

from nnjax.core import Layer, check_positive, check_shape
from nnjax.core.errors import LayerValueError


def flatten(axes: int = 3) -> Layer:
    """Join the last ``axes`` axes into one: an image [..., H, W, C] becomes features [..., H*W*C].

    Shapes: x [..., A, B, C] -> y [..., A*B*C] for axes = 3.
    Raises: ValueError, if x has fewer axes.
    """
    name = f"flatten({axes})"
    check_positive(name, axes=axes)

    def init(key):
        return {}, {}

    def apply(params, state, x, *, key=None, train=False):
        if x.ndim < axes:
            raise LayerValueError(
                f"{name}: got x of shape {x.shape}, expected at least {axes} axes. "
                "Say how many axes an example has: flatten(axes)."
            )
        batch = x.shape[: x.ndim - axes]
        return x.reshape(*batch, math.prod(x.shape[x.ndim - axes :])), state

    return Layer(init, apply, name)


def unflatten(*sizes: int) -> Layer:
    """Split the last axis: ``unflatten(H, W, C)`` makes [..., H*W*C] an image [..., H, W, C].

    Shapes: x [..., A*B*C] -> y [..., A, B, C] for sizes (A, B, C).
    Raises: ValueError, if the last axis of x is not the product of the sizes.
    """
    name = f"unflatten({', '.join(map(str, sizes))})"
    for size in sizes:
        check_positive(name, sizes=size)

    def init(key):
        return {}, {}

    def apply(params, state, x, *, key=None, train=False):
        check_shape(name, "x", x, (..., math.prod(sizes)))
        return x.reshape(*x.shape[:-1], *sizes), state

    return Layer(init, apply, name)
