"""Cases: attention."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import SEQUENCE, Case, call, normal

attention = nn.attention(4, 2, causal=True)

CASES: dict[str, Case] = {
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
}
