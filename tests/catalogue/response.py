"""Cases: normalization by responses."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import FEATURES, IMAGE, Case, call, image_mistakes

local, unit = nn.local_response_norm(3, alpha=0.5), nn.unit_norm()

CASES: dict[str, Case] = {
    "global_response_norm": Case(
        nn.global_response_norm(3),
        IMAGE,
        image_mistakes(nn.global_response_norm(3), "global_response_norm")
        | {"size": (call(nn.global_response_norm(3), jnp.ones((1, 1, 4))), "got x of .*, expec")},
    ),
    "local_response_norm": Case(
        local,
        IMAGE,
        {
            "rank": (call(local, jnp.ones(())), r"local_response_norm\(3\): got x of shape \(\),"),
            "dtype": (call(local, jnp.ones(3, int)), r"local_response_norm\(3\): got x of dtype"),
            "size": (lambda: nn.local_response_norm(0), r"local_response_norm\(0\): got size=0"),
        },
    ),
    "unit_norm": Case(
        unit,
        FEATURES,
        {
            "rank": (
                call(unit, jnp.ones(())),
                r"unit_norm\(-1\): got x of shape \(\), expected one",
            ),
            "dtype": (call(unit, jnp.ones(3, int)), r"unit_norm\(-1\): got x of dtype int32"),
        },
    ),
}
