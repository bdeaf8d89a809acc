"""embedding and embedding_bag: rows of a table, tied use, padding, bags of several lengths."""

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


def test_attend_gives_the_logits_of_the_same_table():
    x, tied = numbers(5, 2), lambda p, x: LAYER(p, x, attend=True)
    close(tied(TABLE, x), f64(x) @ f64(TABLE)["embedding"].T)
    model = nn.compose(lambda net, ids: net.table(net.table(ids), attend=True), table=LAYER)
    params, rows = {"table": TABLE}, f64(TABLE)["embedding"]
    close(model(params, jnp.array([3, 7])), rows[[3, 7]] @ rows.T)
    with pytest.raises(TypeError, match=r"embedding\(300, 2\): got x of dtype int32, expected"):
        tied(TABLE, jnp.ones(2, int))


@pytest.mark.parametrize("padding", [2, -4])
def test_the_padding_row_begins_as_zeros_and_has_no_gradient(padding):
    layer = nn.embedding(6, 3, padding_id=padding)
    table = layer.init(jax.random.key(0))[0]["embedding"]
    assert table.any(-1).tolist() == [True, True, False, True, True, True]
    params, ids = {"embedding": numbers(6, 3)}, jnp.array([2, 1, -4, 1])
    close(layer(params, ids), f64(params)["embedding"][[2, 1, 2, 1]])
    slope = jax.grad(lambda p: layer(p, ids).sum())(params)["embedding"]
    close(slope, np.outer([0, 2, 0, 0, 0, 0], np.ones(3)))


def test_long_rows_are_shortened_and_the_table_stays():
    layer, params = nn.embedding(3, 2, max_norm=2.0), {"embedding": jnp.array([[3.0, 4], [1, 1]])}
    params = {"embedding": jnp.concatenate([params["embedding"], jnp.zeros((1, 2))])}
    want = np.array([[1.2, 1.6], [1, 1], [0, 0]])
    close(layer(params, jnp.arange(3)), want)
    close(layer(params, numbers(4, 2), attend=True), f64(numbers(4, 2)) @ want.T)
    check_gradients(lambda p: layer(p, jnp.array([0, 1])), params, order=1)
    slope = jax.grad(lambda p: layer(p, jnp.array([2])).sum())(params)["embedding"]
    close(slope, np.array([[0.0, 0], [0, 0], [1, 1]]))


IDS, OFFSETS = np.array([0, 5, 2, 2, 1, 4, 2]), np.array([0, 3, 3, 5, 6])  # the second is empty
PIECES = [[0, 5, 2], [], [2, 1], [4], [2]]


def np_bag(table, ids, reduce, padding=None):
    rows = table[[i for i in ids if i != padding]]
    if len(rows) == 0:
        return np.zeros(table.shape[-1])
    return getattr(rows, reduce)(0)


@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_bags(reduce, padding):
    layer = nn.embedding_bag(6, 3, reduce=reduce, padding_id=padding)
    params = {"embedding": numbers(6, 3, mean=-5.0)}  # below zero: a maximum must not see zeros
    table = f64(params)["embedding"]
    want = np.stack([np_bag(table, ids, reduce, padding) for ids in PIECES])
    close(layer(params, jnp.asarray(IDS), offsets=jnp.asarray(OFFSETS)), want)
    fixed = np.array([[0, 5, 2], [2, 2, 2], [1, 1, 4]])
    want = np.stack([np_bag(table, ids, reduce, padding) for ids in fixed])
    close(layer(params, jnp.asarray(fixed)), want)
    close(layer(params, jnp.asarray(fixed[0])), want[0])
    assert layer(params, jnp.zeros((0, 4), int)).shape == (0, 3)
    assert not layer(params, jnp.zeros((2, 0), int)).any()
    assert not layer(params, jnp.zeros(0, int), offsets=jnp.array([0, 0])).any()


@pytest.mark.parametrize("reduce", ["sum", "mean", "max"])
def test_both_layouts_have_one_gradient(reduce):
    layer = nn.embedding_bag(6, 3, reduce=reduce, padding_id=2)
    params, ids = {"embedding": numbers(6, 3)}, jnp.array([[0, 5, 2, 5], [2, 1, 4, 3]])
    weigh = numbers(2, 3, seed=1)
    fixed = lambda p: (layer(p, ids) * weigh).sum()
    pieces = lambda p: (layer(p, ids.ravel(), offsets=jnp.array([0, 4])) * weigh).sum()
    slope = jax.grad(fixed)(params)
    close(jax.grad(pieces)(params), slope)
    close(jax.jacfwd(pieces)(params), slope)
    assert not slope["embedding"][2].any() and slope["embedding"][1].any()
    check_gradients(lambda p: layer(p, ids), params, order=1)


def test_weights_multiply_rows_of_a_sum():
    layer = nn.embedding_bag(6, 3, reduce="sum", padding_id=2)
    params, weights = {"embedding": numbers(6, 3)}, numbers(7, seed=1)
    table, w = f64(params)["embedding"], f64(weights)
    want = np.zeros((5, 3))
    for bag, ids in enumerate(PIECES):
        for place, i in enumerate(ids, OFFSETS[bag]):
            want[bag] += w[place] * table[i] * (i != 2)
    ids = jnp.asarray(IDS)
    close(layer(params, ids, offsets=jnp.asarray(OFFSETS), weights=weights), want)
    close(layer(params, ids[None], weights=weights[None]), want.sum(0, keepdims=True))
    slope = jax.grad(lambda w: layer(params, ids, weights=w).sum())(weights)
    close(slope, table[IDS].sum(-1) * (IDS != 2))
    with pytest.raises(ValueError, match=r"got weights of shape \(6,\), expected \[7\]"):
        layer(params, ids, weights=weights[:6])


def test_an_id_outside_shows_in_a_bag():
    for reduce in ("sum", "mean", "max"):
        layer = nn.embedding_bag(6, 3, reduce=reduce)
        params, ids = {"embedding": numbers(6, 3)}, jnp.array([1, 6, 2])
        assert jnp.isnan(layer(params, ids)).all()
        y = layer(params, ids, offsets=jnp.array([0, 2]))
        assert jnp.isnan(y).all(-1).tolist() == [True, False]


def test_bags_in_bfloat16_are_summed_in_float32():
    table = {"embedding": jnp.ones((1, 2), jnp.bfloat16)}
    y = nn.embedding_bag(1, 2, reduce="sum")(table, jnp.zeros(1000, int))
    assert y.dtype == jnp.bfloat16 and y.tolist() == [1000, 1000]  # a sum in bfloat16 sticks at 256
