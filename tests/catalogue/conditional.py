"""Cases: conditional normalization."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import Case, call, normal

CONDITION = normal(2) + 0.3


def mistakes(layer: nn.Layer, name: str):
    message = rf"{name}\(4, 2\): got"
    return {
        "size": (call(layer, normal(5, 3), CONDITION), rf"{message} x of shape \(8, 5, 3\), exp"),
        "dtype": (call(layer, jnp.ones((8, 4), int), CONDITION), rf"{message} x of dtype int32"),
        "condition": (
            call(layer, normal(5, 4), normal(3)),
            rf"{message} condition of shape \(8, 3",
        ),
        "batch": (
            call(layer, normal(5, 4), CONDITION[:5]),
            rf"{message} condition of shape \(5, 2\) for x of shape \(8, 5, 4\), expected x's lead",
        ),
        "rank": (
            call(layer, normal(4), CONDITION[:, None]),
            rf"{message} condition of shape \(8, 1",
        ),
    }


film = nn.film(4, 2)
conditioned = nn.conditional_norm(nn.batch_norm(4, scale=False, bias=False), 4, 2)
adaptive = nn.adaptive_instance_norm(1)
zero = nn.adaln_zero(nn.serial(nn.linear(4, 4), nn.dropout(0.5)), 4, 2)

CASES: dict[str, Case] = {
    "adaln_zero": Case(
        zero,
        (normal(5, 4), CONDITION),
        {
            **mistakes(zero, "adaln_zero"),
            "body": (
                call(nn.adaln_zero(nn.linear(4, 1), 4, 2), normal(4), CONDITION),
                r"adaln_zero\(4, 2\): got body output of shape \(8, 1\), expected \(8, 4\)",
            ),
        },
    ),
    "adaptive_instance_norm": Case(
        adaptive,
        (normal(5, 4), normal(3, 4)),
        {
            "rank": (
                call(adaptive, jnp.ones(4), jnp.ones(4)),
                r"adaptive_instance_norm\(1\): got x",
            ),
            "style": (
                call(adaptive, normal(5, 4), normal(5, 3)),
                r"adaptive_instance_norm\(1\): got style of shape \(8, 5, 3\), expected \[8, \*",
            ),
            "dtype": (
                call(adaptive, normal(5, 4), jnp.ones((8, 5, 4), int)),
                r"adaptive_instance_norm\(1\): got style of dtype int32",
            ),
        },
    ),
    "conditional_norm": Case(
        conditioned, (normal(5, 4), CONDITION), mistakes(nn.film(4, 2), "film")
    ),
    "film": Case(film, (normal(5, 4), CONDITION), mistakes(film, "film")),
}
