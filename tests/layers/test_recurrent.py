"""Recurrent cells: parity with float64 NumPy written from the definitions, gradients, messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import nnjax as nn
from nnjax.ops.mask import bernoulli
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

sigmoid = scipy.special.expit


def np_elman(p, x, h, activation=np.tanh):
    h = activation(x @ p["kernel"] + h @ p["recurrent"] + p.get("bias", 0))
    return h, h


def np_lstm(p, x, carry):
    h, c = carry
    i, f, g, o = np.split(x @ p["kernel"] + h @ p["recurrent"] + p.get("bias", 0), 4, -1)
    see_i, see_f, see_o = p.get("peephole", np.zeros((3, 1)))
    new_c = sigmoid(f + see_f * c) * c + sigmoid(i + see_i * c) * np.tanh(g)
    h = sigmoid(o + see_o * new_c) * np.tanh(new_c)
    h = h @ p["projection"] if "projection" in p else h
    return h, (h, new_c)


def np_gru(p, x, h, reset_after=True):
    (w_r, w_z, w_n), (u_r, u_z, u_n) = (np.split(p[k], 3, -1) for k in ("kernel", "recurrent"))
    b_r, b_z, b_n = np.split(p.get("bias", np.zeros(3)), 3)
    r, z = sigmoid(x @ w_r + h @ u_r + b_r), sigmoid(x @ w_z + h @ u_z + b_z)
    if reset_after:
        n = np.tanh(x @ w_n + b_n + r * (h @ u_n + p.get("recurrent_bias", 0)))
    else:
        n = np.tanh(x @ w_n + b_n + (r * h) @ u_n)
    h = (1 - z) * n + z * h
    return h, h


def np_minimal_gru(p, x, h):
    (w_f, w_n), (u_f, u_n) = (np.split(p[k], 2, -1) for k in ("kernel", "recurrent"))
    b_f, b_n = np.split(p.get("bias", np.zeros(2)), 2)
    f = sigmoid(x @ w_f + h @ u_f + b_f)
    h = (1 - f) * h + f * np.tanh(x @ w_n + (f * h) @ u_n + b_n)
    return h, h


def np_same(kernel, x):
    """Each output sees the kernel's window around it; x [B, H, W, in], zeros outside."""
    rows, columns = kernel.shape[:2]
    pads = [((k - 1) // 2, k // 2) for k in (rows, columns)]
    padded, y = np.pad(x, [(0, 0), *pads, (0, 0)]), 0
    for i in range(rows):
        for j in range(columns):
            y = y + padded[:, i : i + x.shape[1], j : j + x.shape[2]] @ kernel[i, j]
    return y


def np_conv_lstm(p, x, carry):
    h, c = carry
    z = np_same(p["input"]["kernel"], x) + np_same(p["recurrent"]["kernel"], h)
    i, f, g, o = np.split(z + p["input"].get("bias", 0), 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return h, (h, c)


np_relu = functools.partial(np_elman, activation=lambda z: np.maximum(z, 0))
np_reset_before = functools.partial(np_gru, reset_after=False)
H, C, P = numbers(3, 2, seed=1), numbers(3, 2, seed=2), numbers(3, 4, seed=3)
X = numbers(3, 5)
IMAGE, PLANES = numbers(2, 3, 4, 2), (numbers(2, 3, 4, 3, seed=1), numbers(2, 3, 4, 3, seed=2))

CELLS = {
    "elman": (nn.elman_cell(5, 2), np_elman, X, H),
    "elman relu": (nn.elman_cell(5, 2, activation=jax.nn.relu, bias=False), np_relu, X, H),
    "lstm": (nn.lstm_cell(5, 2), np_lstm, X, (H, C)),
    "lstm, no bias": (nn.lstm_cell(5, 2, bias=False), np_lstm, X, (H, C)),
    "lstm, peephole": (nn.lstm_cell(5, 2, peephole=True), np_lstm, X, (H, C)),
    "lstm, projection": (nn.lstm_cell(5, 2, projection=4), np_lstm, X, (P, C)),
    "lstm, both": (nn.lstm_cell(5, 2, peephole=True, projection=4), np_lstm, X, (P, C)),
    "gru": (nn.gru_cell(5, 2), np_gru, X, H),
    "gru, no bias": (nn.gru_cell(5, 2, bias=False), np_gru, X, H),
    "gru, reset before": (nn.gru_cell(5, 2, reset_after=False), np_reset_before, X, H),
    "minimal gru": (nn.minimal_gru_cell(5, 2), np_minimal_gru, X, H),
    "minimal gru, no bias": (nn.minimal_gru_cell(5, 2, bias=False), np_minimal_gru, X, H),
    "conv lstm": (nn.conv_lstm_cell(2, 3, (2, 3)), np_conv_lstm, IMAGE, PLANES),
    "conv lstm, no bias": (nn.conv_lstm_cell(2, 3, 3, bias=False), np_conv_lstm, IMAGE, PLANES),
}


@pytest.fixture(params=CELLS)
def cell(request):
    layer, reference, x, carry = CELLS[request.param]
    return layer, reference, moved(layer.init(jax.random.key(0))[0]), x, carry


def test_parity(cell):
    layer, reference, params, x, carry = cell

    @jax.jit
    def run(params, x, carry):
        return layer(params, x, carry), layer(params, x)

    got, first = run(params, x, carry)
    params, x, carry = f64((params, x, carry))
    close(got, reference(params, x, carry))
    close(first, reference(params, x, jax.tree.map(np.zeros_like, carry)))


@pytest.mark.parametrize("name", ["elman", "lstm, both", "gru", "gru, reset before", "minimal gru"])
@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_any_number_of_batch_axes(name, batch):
    layer, reference, *_ = CELLS[name]
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(*batch, 5)
    spec = jax.eval_shape(layer, params, x)[1]
    carry = jax.tree.map(lambda a: numbers(*a.shape, seed=4), spec)
    close(jax.jit(layer)(params, x, carry), reference(*f64((params, x, carry))))


@pytest.mark.parametrize(
    "name",
    ["elman", "lstm, both", "gru", "gru, reset before", "minimal gru"]
    + [pytest.param("conv lstm", marks=pytest.mark.slow)],
)
def test_gradients(name):
    layer, _, x, carry = CELLS[name]
    params = moved(layer.init(jax.random.key(0))[0])
    one = jax.tree.map(lambda a: a[:1], (x, carry))
    check_gradients(lambda p, x, carry: layer(p, x, carry)[1], params, *one, order=1)


@pytest.mark.parametrize("name", ["elman", "lstm, both", "gru", "gru, reset before", "minimal gru"])
def test_gates_saturate_without_nan(name):
    layer, reference, x, carry = CELLS[name]
    params = moved(layer.init(jax.random.key(0))[0])
    loss = lambda p, x: sum(map(jnp.sum, jax.tree.leaves(layer(p, x, carry))))
    value, gradient = jax.jit(jax.value_and_grad(loss))(params, 1e4 * x)
    want = reference(f64(params), 1e4 * f64(x), f64(carry))
    close(value, sum(a.sum() for a in jax.tree.leaves(want)), rtol=1e-4)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_bfloat16_stays_near_float64(cell):
    layer, reference, params, x, carry = cell
    params, x, carry = bf16((params, x, carry))
    got = jax.jit(layer)(params, x, carry)
    assert {a.dtype for a in jax.tree.leaves(got)} == {jnp.dtype(jnp.bfloat16)}
    # products of some ten terms, then a few gates, each rounded to 2**-8 of numbers up to four
    close(got, reference(*f64((params, x, carry))), rtol=2.0**-5, atol=2.0**-4)


@pytest.mark.parametrize("make", [nn.elman_cell, nn.lstm_cell, nn.gru_cell, nn.minimal_gru_cell])
def test_recurrent_dropout_hides_h_from_the_products_alone(make):
    layer = make(5, 64, recurrent_dropout_rate=0.25)
    params = layer.init(jax.random.key(0))[0]
    twin, h = make(5, 64), numbers(64)
    carry = (h, numbers(64, seed=1)) if make is nn.lstm_cell else h
    run = jax.jit(lambda key: layer(params, numbers(5), carry, key=key, train=True)[0])
    key = jax.random.key(3)
    mask = np.asarray(bernoulli(key, 0.75, (64,)))[:, None]
    # the same, with the mask in the recurrent kernel's rows
    rows = {**params, "recurrent": jnp.where(mask, params["recurrent"] / 0.75, 0)}
    close(run(key), twin(rows, numbers(5), carry)[0], atol=1e-5)
    assert not np.allclose(run(key), run(jax.random.key(4)))
    close(layer(params, numbers(5), carry), twin(params, numbers(5), carry))  # not in training


def test_first_parameters():
    params, _ = nn.lstm_cell(64, 16, peephole=True, projection=8).init(jax.random.key(0))
    recurrent = f64(params)["recurrent"]
    close(recurrent @ recurrent.T, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(np.std(params["kernel"]), 1 / 8, rtol=0.1)
    assert not np.asarray(params["bias"]).any() and not np.asarray(params["peephole"]).any()
    shapes = lambda layer: jax.tree.map(jnp.shape, jax.eval_shape(layer.init, jax.random.key(0))[0])
    gru = {"kernel": (5, 6), "recurrent": (2, 6), "bias": (6,)}
    assert shapes(nn.gru_cell(5, 2)) == {**gru, "recurrent_bias": (2,)}
    assert shapes(nn.gru_cell(5, 2, reset_after=False)) == gru


def test_messages():
    lstm, gru = nn.lstm_cell(5, 2), nn.gru_cell(5, 2)
    p, q = lstm.init(jax.random.key(0))[0], gru.init(jax.random.key(0))[0]
    with pytest.raises(ValueError, match=r"lstm_cell\(5, 2\): got carry of 3 parts, expected two"):
        lstm(p, X, (H, H, H))
    with pytest.raises(ValueError, match=r"lstm_cell\(5, 2\): got carry of one parts, expected tw"):
        lstm(p, X, H)
    with pytest.raises(ValueError, match=r"got carry\[1\] of shape \(4, 2\), expected \[3, 2\]"):
        lstm(p, X, (H, numbers(4, 2)))
    with pytest.raises(
        ValueError, match=r"gru_cell\(5, 2\): got carry of 2 parts, expected one ar"
    ):
        gru(q, X, (H, H))
    with pytest.raises(ValueError, match=r"gru_cell\(5, 2\): got carry of shape \(2,\), expected"):
        gru(q, X, H[0])
    with pytest.raises(ValueError, match=r"lstm_cell\(5, 2\): got projection=0, expected at least"):
        nn.lstm_cell(5, 2, projection=0)
    with pytest.raises(ValueError, match=r"elman_cell\(5, 2\): got dropout_rate=1"):
        nn.elman_cell(5, 2, recurrent_dropout_rate=1.0)
    with pytest.raises(ValueError, match=r"gru_cell\(0, 2\): got in_features=0"):
        nn.gru_cell(0, 2)
