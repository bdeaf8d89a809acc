"""Cases: core."""

import jax
import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import FEATURES, Case, call, feature_mistakes, normal

linear = nn.linear(4, 3)
square = nn.linear(4, 4)


def block(net, x):
    return net.dense(net.drop(net.norm(x)))


composed = nn.compose(
    block, "block", norm=nn.batch_norm(4), drop=nn.dropout(0.2), dense=nn.linear(4, 4)
)

CASES: dict[str, Case] = {
    "as_layer": Case(
        nn.as_layer(jnp.tanh),
        FEATURES,
        {"kind": (lambda: nn.as_layer(3), "got 3 in place of a layer, expected a Layer")},  # type: ignore
    ),
    "compose": Case(composed, FEATURES, feature_mistakes(composed, r"norm: batch_norm\(4\)")),
    "ensemble": Case(
        nn.ensemble(composed, 3),
        FEATURES,
        feature_mistakes(nn.ensemble(square, 3), r"linear\(4, 4\)"),
        batch_axis=1,
    ),
    "map_layers": Case(
        nn.map_layers(
            lambda path, layer: nn.linear(4, 2) if path == "linear_1" else layer,
            nn.serial(square, linear),
        ),
        FEATURES,
        feature_mistakes(nn.map_layers(lambda path, layer: layer, linear), r"linear\(4, 3\)"),
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
