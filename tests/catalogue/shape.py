"""Cases: shape."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import FEATURES, SEQUENCE, Case, call

flatten = nn.flatten(2)
unflatten = nn.unflatten(2, 1, 2)

CASES: dict[str, Case] = {
    "flatten": Case(
        flatten,
        SEQUENCE,
        {"rank": (call(flatten, jnp.ones(3)), r"flatten\(2\): got x of shape \(3,\), expected")},
    ),
    "unflatten": Case(
        unflatten,
        FEATURES,
        {
            "size": (
                call(unflatten, jnp.ones(3)),
                r"unflatten\(2, 1, 2\): got x of shape \(3,\), ex",
            )
        },
    ),
}
