"""Cases: embedding, embedding_bag."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import BATCH, Case, call

embedding = nn.embedding(7, 4)
bag = nn.embedding_bag(7, 4, padding_id=0)
IDS = jnp.arange(BATCH * 5).reshape(BATCH, 5) % 7

CASES: dict[str, Case] = {
    "embedding": Case(
        embedding,
        (IDS,),
        {
            "dtype": (call(embedding, jnp.ones(3)), r"embedding\(7, 4\): got ids of dtype float32"),
            "attend": (
                call(embedding, jnp.ones(3), attend=True),
                r"embedding\(7, 4\): got x of shape \(3,\), expected \[..., 4\]",
            ),
            "padding": (
                lambda: nn.embedding(7, 4, padding_id=7),
                r"embedding\(7, 4\): got padding_id=7, expected one of its rows",
            ),
            "length": (
                lambda: nn.embedding(7, 4, max_norm=0.0),
                r"embedding\(7, 4\): got max_norm=0.0, expected a positive length",
            ),
        },
    ),
    "embedding_bag": Case(
        bag,
        (IDS,),
        {
            "dtype": (call(bag, jnp.ones(3)), r"embedding_bag\(7, 4\): got ids of dtype float32"),
            "rank": (call(bag, jnp.array(3)), r"embedding_bag\(7, 4\): got ids of shape \(\), exp"),
            "pieces": (
                call(bag, IDS, offsets=jnp.array([0])),
                r"embedding_bag\(7, 4\): got ids of shape \(8, 5\), expected \[\*\]",
            ),
            "offsets": (
                call(bag, IDS[0], offsets=jnp.array([0.0])),
                r"embedding_bag\(7, 4\): got offsets of dtype float32, expected integer",
            ),
            "weights": (
                call(bag, IDS, weights=jnp.ones((8, 5))),
                r"embedding_bag\(7, 4\): got weights and reduce='mean'. Take reduce='sum'",
            ),
            "reduce": (
                lambda: nn.embedding_bag(7, 4, reduce="prod"),  # type: ignore
                r"embedding_bag\(7, 4\): got reduce='prod', expected 'sum', 'mean' or 'max'",
            ),
        },
    ),
}
