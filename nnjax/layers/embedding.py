"""Embedding: a table looked up by integers."""

import jax.numpy as jnp

from nnjax.core import Layer, check_dtype, check_entries, check_positive
from nnjax.initializers import Initializer, normal


def embedding(
    vocabulary: int, dim: int, *, embedding_init: Initializer = normal(stddev=0.02)
) -> Layer:
    """Row ``ids`` of a table, ``y = embedding[ids]``.

    An id outside [0, vocabulary) gives a row of NaN, so that it shows; a negative one counts from
    the end, as in NumPy.

    Shapes: ids [...] -> y [..., D]; embedding [V, D].
    Dtypes: ids any integer; embedding is made in float32, y has its dtype.
    Raises: TypeError, if ids are not integers.
    Source: init of Radford et al. 2018 (GPT), section 4.1.
    """
    name = f"embedding({vocabulary}, {dim})"
    check_positive(name, vocabulary=vocabulary, dim=dim)

    def init(key):
        return {"embedding": embedding_init(key, (vocabulary, dim))}, {}

    def apply(params, state, ids, *, key=None, train=False):
        check_dtype(name, "ids", ids, jnp.integer, "Convert them: ids.astype(jnp.int32).")
        (table,) = check_entries(name, "params", params, embedding=(vocabulary, dim))
        if jnp.result_type(ids).itemsize < 4:  # too narrow to add the vocabulary to negative ids
            ids = jnp.asarray(ids, jnp.int32)
        return jnp.take(table, ids, axis=0, mode="fill", fill_value=jnp.nan), state

    return Layer(init, apply, name)
