"""Cases: dropout."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import FEATURES, Case, call

CASES: dict[str, Case] = {
    "dropout": Case(
        nn.dropout(0.5),
        FEATURES,
        {
            "dtype": (call(nn.dropout(0.5), jnp.ones(3, int)), r"dropout\(0.5\): got x of dtype"),
            "rate": (lambda: nn.dropout(1.5), r"dropout\(1.5\): got dropout_rate=1.5, expected"),
        },
    ),
}
