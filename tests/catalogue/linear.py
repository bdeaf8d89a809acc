"""Cases: linear."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import FEATURES, Case, feature_mistakes

linear = nn.linear(4, 3)

CASES: dict[str, Case] = {
    "linear": Case(linear, FEATURES, feature_mistakes(linear, r"linear\(4, 3\)")),
    "mlp": Case(
        nn.mlp(4, 5, 3, activation=jnp.tanh, dropout_rate=0.1),
        FEATURES,
        feature_mistakes(nn.mlp(4, 5, 3), r"linear_0: linear\(4, 5\)"),
    ),
}
