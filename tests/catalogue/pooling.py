"""Cases: pooling."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import IMAGE, Case, call, image_mistakes

CASES: dict[str, Case] = {
    "avg_pool": Case(nn.avg_pool(2), IMAGE, image_mistakes(nn.avg_pool(2), "avg_pool")),
    "global_avg_pool": Case(
        nn.global_avg_pool(),
        IMAGE,
        {
            "rank": (call(nn.global_avg_pool(), jnp.ones(3)), r"global_avg_pool\(2\): got x of"),
            "dtype": (call(nn.global_avg_pool(), jnp.ones((2, 2, 1), int)), "got x of dtype int32"),
        },
    ),
    "max_pool": Case(
        nn.max_pool(3, stride=2, padding=1), IMAGE, image_mistakes(nn.max_pool(2), "max_pool")
    ),
}
