"""A case of the catalogue: a layer, its inputs, and the mistakes it must name."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import nnjax as nn

BATCH = 8  # one example for each of the eight devices


@dataclasses.dataclass(frozen=True)
class Case:
    layer: nn.Layer
    inputs: tuple[Any, ...]
    wrong: dict[str, tuple[Callable[[], Any], str]]  # what is wrong: (a call, its message)
    named: dict[str, Any] = dataclasses.field(default_factory=dict)
    batch_axis: int = 0  # of the outputs


def normal(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(len(shape)), (BATCH, *shape))


def call(layer: nn.Layer, *inputs: Any, **named: Any) -> Callable[[], Any]:
    def run():
        params, state = layer.init(jax.random.key(0))
        return layer(params, *inputs, state=state, **named)

    return run


def image_mistakes(layer: nn.Layer, name: str) -> dict[str, tuple[Callable[[], Any], str]]:
    return {
        "rank": (call(layer, jnp.ones(3)), rf"{name}.*: got x of shape \(3,\), expected"),
        "size": (call(layer, jnp.ones((1, 1, 3))), rf"{name}.*: got x of .*, expected"),
        "dtype": (call(layer, jnp.ones((6, 6, 3), int)), rf"{name}.*: got x of dtype int32"),
    }


def feature_mistakes(
    layer: nn.Layer, name: str, rank: int = 2
) -> dict[str, tuple[Callable[[], Any], str]]:
    return {
        "rank": (call(layer, jnp.ones(())), rf"{name}: got x of shape \(\), expected"),
        "size": (call(layer, jnp.ones((5,) * rank)), rf"{name}: got x of shape \(5, .*, expected"),
        "dtype": (call(layer, jnp.ones((2, 4), int)), rf"{name}: got x of dtype int32, expected"),
    }


FEATURES = (normal(4),)
SEQUENCE = (normal(5, 4),)
IMAGE = (normal(6, 6, 3),)
LENGTHS = jnp.array([5, 0, 1, 2, 3, 4, 5, 5])
