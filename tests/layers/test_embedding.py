"""embedding: rows of a table, ids that it has not, narrow ids, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import check_gradients, close, f64, numbers

TABLE = {"embedding": numbers(300, 2)}
LAYER = nn.embedding(300, 2)


@pytest.mark.parametrize("ids", [7, [], [0, 299, 5, 5], [[1, 2, 3], [299, 0, 1]]])
def test_parity(ids):
    ids = np.asarray(ids, np.int32)
    close(LAYER(TABLE, jnp.asarray(ids)), f64(TABLE)["embedding"][ids], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.int16, jnp.uint32])
def test_ids_may_be_narrower_than_the_vocabulary(dtype):
    ids = jnp.array([0, 5, 127], dtype)
    close(LAYER(TABLE, ids), f64(TABLE)["embedding"][[0, 5, 127]], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int16, jnp.int32])
def test_negative_ids_count_from_the_end(dtype):
    close(LAYER(TABLE, jnp.array([-1, -100], dtype)), TABLE["embedding"][jnp.array([299, 200])])


def test_an_id_outside_gives_nan_and_no_gradient():
    ids = jnp.array([300, 1, -301])
    assert jnp.isnan(LAYER(TABLE, ids)).tolist() == [[True, True], [False, False], [True, True]]
    gradient = jax.grad(lambda p: LAYER(p, ids).sum())(TABLE)["embedding"]
    assert np.flatnonzero(gradient.any(-1)).tolist() == [1]


def test_gradient_adds_up_over_repeated_ids():
    ids, cotangent = jnp.array([[3, 0], [3, 3]]), numbers(2, 2, 2, seed=1)
    want = np.zeros((300, 2))
    np.add.at(want, np.asarray(ids), f64(cotangent))
    _, pull = jax.vjp(lambda p: LAYER(p, ids), TABLE)
    close(pull(cotangent)[0]["embedding"], want)


def test_gradients():
    check_gradients(
        lambda p: nn.embedding(3, 2)(p, jnp.array([2, 0, 2])), {"embedding": np.eye(3, 2)}
    )


def test_output_has_the_dtype_of_the_table():
    table = {"embedding": TABLE["embedding"].astype(jnp.bfloat16)}
    assert LAYER(table, jnp.array([1])).dtype == jnp.bfloat16
