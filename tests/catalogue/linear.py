"""Cases: linear, einsum_linear, bilinear, mlp, lora."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import FEATURES, Case, call, feature_mistakes, normal

linear = nn.linear(4, 3)
einsum = nn.einsum_linear("...d,dhk->...hk", (4, 2, 3))
bilinear = nn.bilinear(4, 5, 3)

CASES: dict[str, Case] = {
    "linear": Case(linear, FEATURES, feature_mistakes(linear, r"linear\(4, 3\)")),
    "einsum_linear": Case(einsum, FEATURES, feature_mistakes(einsum, r"einsum_linear\(.*\)")),
    "bilinear": Case(
        bilinear,
        (normal(2, 4), normal(2, 5)),
        {
            "rank": (call(bilinear, jnp.ones(()), jnp.ones(5)), r"\): got x1 of shape \(\), expec"),
            "size": (call(bilinear, jnp.ones(4), jnp.ones(4)), r"\): got x2 of shape \(4,\), expe"),
            "batch": (call(bilinear, jnp.ones(4), jnp.ones((2, 5))), r"\): got x2 of shape \(2, 5"),
            "dtype": (call(bilinear, jnp.ones(4), jnp.ones(5, int)), r"\): got x2 of dtype int32"),
        },
    ),
    "mlp": Case(
        nn.mlp(4, 5, 3, activation=jnp.tanh, dropout_rate=0.1),
        FEATURES,
        feature_mistakes(nn.mlp(4, 5, 3), r"linear_0: linear\(4, 5\)"),
    ),
    "lora": Case(
        nn.lora(nn.serial(linear, jnp.tanh, nn.linear(3, 5)), 2),
        FEATURES,
        {
            "match": (lambda: nn.lora(linear, 2, match="head"), "lora: got match='head', expected"),
            **feature_mistakes(nn.lora(linear, 2), r"linear\(4, 3\)"),
        },
    ),
}
