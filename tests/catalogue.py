"""The catalogue: every public function that makes a layer, once, with inputs and mistakes.

``tests/core/test_contract.py`` puts each case through every law of the contract, and fails if a
public layer is missing here.
"""

import dataclasses
import inspect
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


def block(net, x):
    return net.dense(net.drop(net.norm(x)))


linear = nn.linear(4, 3)
square = nn.linear(4, 4)
attention = nn.attention(4, 2, causal=True)
batch_norm = nn.batch_norm(4)
composed = nn.compose(
    block, "block", norm=nn.batch_norm(4), drop=nn.dropout(0.2), dense=nn.linear(4, 4)
)
embedding = nn.embedding(7, 4)
flatten = nn.flatten(2)
lstm = nn.lstm(4, 3)

FEATURES = (normal(4),)
SEQUENCE = (normal(5, 4),)
IMAGE = (normal(6, 6, 3),)
LENGTHS = jnp.array([5, 0, 1, 2, 3, 4, 5, 5])

CASES: dict[str, Case] = {
    "as_layer": Case(
        nn.as_layer(jnp.tanh),
        FEATURES,
        {"kind": (lambda: nn.as_layer(3), "got 3 in place of a layer, expected a Layer")},  # type: ignore
    ),
    "attention": Case(
        attention,
        SEQUENCE,
        {
            "rank": (call(attention, jnp.ones(4)), r"attention\(4, 2\): got x of shape \(4,\)"),
            "size": (call(attention, jnp.ones((5, 5))), r"attention\(4, 2\): got x of shape"),
            "dtype": (call(attention, jnp.ones((5, 4), int)), r"query: linear.*dtype int32"),
            "mask": (
                call(attention, normal(5, 4), mask=jnp.ones((3, 5), bool)),
                r"attention\(4, 2\): got mask of shape \(3, 5\), expected",
            ),
        },
    ),
    "avg_pool": Case(nn.avg_pool(2), IMAGE, image_mistakes(nn.avg_pool(2), "avg_pool")),
    "batch_norm": Case(batch_norm, FEATURES, feature_mistakes(batch_norm, r"batch_norm\(4\)")),
    "compose": Case(composed, FEATURES, feature_mistakes(composed, r"norm: batch_norm\(4\)")),
    "conv": Case(nn.conv(3, 4, 3), IMAGE, image_mistakes(nn.conv(3, 4, 3, padding=0), "conv")),
    "dropout": Case(
        nn.dropout(0.5),
        FEATURES,
        {
            "dtype": (call(nn.dropout(0.5), jnp.ones(3, int)), r"dropout\(0.5\): got x of dtype"),
            "rate": (lambda: nn.dropout(1.5), r"dropout\(1.5\): got dropout_rate=1.5, expected"),
        },
    ),
    "embedding": Case(
        embedding,
        (jnp.arange(BATCH * 5).reshape(BATCH, 5) % 7,),
        {"dtype": (call(embedding, jnp.ones(3)), r"embedding\(7, 4\): got ids of dtype float32")},
    ),
    "ensemble": Case(
        nn.ensemble(composed, 3),
        FEATURES,
        feature_mistakes(nn.ensemble(square, 3), r"linear\(4, 4\)"),
        batch_axis=1,
    ),
    "flatten": Case(
        flatten,
        SEQUENCE,
        {"rank": (call(flatten, jnp.ones(3)), r"flatten\(2\): got x of shape \(3,\), expected")},
    ),
    "global_avg_pool": Case(
        nn.global_avg_pool(),
        IMAGE,
        {
            "rank": (call(nn.global_avg_pool(), jnp.ones(3)), r"global_avg_pool\(2\): got x of"),
            "dtype": (call(nn.global_avg_pool(), jnp.ones((2, 2, 1), int)), "got x of dtype int32"),
        },
    ),
    "layer_norm": Case(
        nn.layer_norm(4), FEATURES, feature_mistakes(nn.layer_norm(4), r"layer_norm\(4\)")
    ),
    "linear": Case(linear, FEATURES, feature_mistakes(linear, r"linear\(4, 3\)")),
    "lstm": Case(
        lstm,
        (*SEQUENCE,),
        {
            **feature_mistakes(lstm, r"lstm\(4, 3\)"),
            "lengths": (
                call(lstm, normal(5, 4), lengths=jnp.ones(3, int)),
                r"lstm\(4, 3\): got lengths of shape \(3,\), expected \[8\]",
            ),
        },
        named={"lengths": LENGTHS},
    ),
    "map_layers": Case(
        nn.map_layers(
            lambda path, layer: nn.linear(4, 2) if path == "linear_1" else layer,
            nn.serial(square, linear),
        ),
        FEATURES,
        feature_mistakes(nn.map_layers(lambda path, layer: layer, linear), r"linear\(4, 3\)"),
    ),
    "max_pool": Case(
        nn.max_pool(3, stride=2, padding=1), IMAGE, image_mistakes(nn.max_pool(2), "max_pool")
    ),
    "mlp": Case(
        nn.mlp(4, 5, 3, activation=jnp.tanh, dropout_rate=0.1),
        FEATURES,
        feature_mistakes(nn.mlp(4, 5, 3), r"linear_0: linear\(4, 5\)"),
    ),
    "parallel": Case(
        nn.parallel(square, composed),
        FEATURES,
        feature_mistakes(nn.parallel(square, linear), r"linear_0: linear\(4, 4\)"),
    ),
    "remat": Case(
        nn.remat(composed), FEATURES, feature_mistakes(nn.remat(linear), r"linear\(4, 3\)")
    ),
    "repeat": Case(
        nn.repeat(composed, 3),
        FEATURES,
        {
            **feature_mistakes(nn.repeat(square, 3), r"linear\(4, 4\)"),
            "carry": (call(nn.repeat(linear, 2), normal(4)), r"repeat: got linear\(4, 3\) mapping"),
        },
    ),
    "residual": Case(
        nn.residual(composed, shortcut=square),
        FEATURES,
        {
            **feature_mistakes(nn.residual(square), r"body: linear\(4, 4\)"),
            "sum": (call(nn.residual(linear), normal(4)), r"residual: got body output of shape"),
        },
    ),
    "serial": Case(
        nn.serial(square, nn.dropout(0.3), nn.batch_norm(4), jax.nn.gelu, linear),
        FEATURES,
        feature_mistakes(nn.serial(square, linear), r"linear_0: linear\(4, 4\)"),
    ),
}


def public_layers() -> set[str]:
    """Every public function of nnjax that says that it returns a Layer."""
    found = set()
    for name in nn.__all__:
        thing = getattr(nn, name)
        if inspect.isfunction(thing) and inspect.signature(thing).return_annotation is nn.Layer:
            found.add(name)
    return found
