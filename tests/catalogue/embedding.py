"""Cases: embedding."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import BATCH, Case, call

embedding = nn.embedding(7, 4)

CASES: dict[str, Case] = {
    "embedding": Case(
        embedding,
        (jnp.arange(BATCH * 5).reshape(BATCH, 5) % 7,),
        {"dtype": (call(embedding, jnp.ones(3)), r"embedding\(7, 4\): got ids of dtype float32")},
    ),
}
