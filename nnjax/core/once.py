"""once: a layer that stands in many places of a network, traced in one of them."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from nnjax.core.layer import Layer, changed
from nnjax.ops.lowering import choices


def once(layer: Layer) -> Callable[..., Any]:
    """``layer.apply``, which calls of the same shapes, within a traced function, trace once.

    ``jax.jit`` keeps what it has traced, its derivatives and how they lower: a block in 48 places
    costs the time of one, until XLA, which writes it out 48 times as ever.
    """

    def traced(arrays, others, _):
        return called(layer, arrays, others)

    traced.__name__ = layer.name.split("(")[0]  # a scope of the program
    traced = jax.jit(traced, static_argnums=(1, 2))

    def apply(params, state, *inputs, **named):
        arrays, others = parted((params, state, inputs, named))
        if not any(isinstance(array, Tracer) for array in arrays):
            return layer.apply(params, state, *inputs, **named)
        outputs, new_state = traced(arrays, others, choices())
        return outputs, state if new_state is None else new_state

    return apply


def parted(tree: Any) -> tuple[list[Any], Any]:
    """The arrays of a tree, which can be traced, and all the rest, which can be hashed."""
    leaves, treedef = jax.tree.flatten(tree)
    others = tuple(
        None if isinstance(leaf, jax.Array | np.ndarray) else (type(leaf), leaf)  # as 1 == True
        for leaf in leaves
    )
    arrays = [leaf for leaf, other in zip(leaves, others, strict=True) if other is None]
    return arrays, (treedef, others)


def joined(arrays: list[Any], others: Any) -> Any:
    """The inverse of ``parted``."""
    treedef, rest = others
    given = iter(arrays)
    return treedef.unflatten(next(given) if other is None else other[1] for other in rest)


def called(layer: Layer, arrays: list[Any], others: Any) -> tuple[Any, Any]:
    """``layer.apply`` of ``parted`` arguments; of the state, None if it is the old one."""
    params, state, inputs, named = joined(arrays, others)
    outputs, new_state = layer.apply(params, state, *inputs, **named)
    return outputs, changed(state, new_state)
