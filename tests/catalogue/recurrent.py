"""Cases: recurrent."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import LENGTHS, SEQUENCE, Case, call, feature_mistakes, normal

lstm = nn.lstm(4, 3)

CASES: dict[str, Case] = {
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
}
