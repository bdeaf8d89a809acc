"""lstm: parity with a float64 NumPy loop, lengths, carries, gradients, bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

LAYER = nn.lstm(3, 2)
PARAMS = moved(LAYER.init(jax.random.key(0))[0])
run = jax.jit(LAYER)  # one program compiles sooner than many


def np_lstm(params, x, lengths=None, carry=None):
    """x [B, T, in], one example and one step at a time."""
    batch, steps, _ = x.shape
    hidden = len(params["recurrent"])
    sigmoid = scipy.special.expit
    y = np.zeros((batch, steps, hidden))
    h, c = np.zeros((2, batch, hidden)) if carry is None else np.copy(carry)
    for b in range(batch):
        for t in range(steps if lengths is None else lengths[b]):
            z = x[b, t] @ params["kernel"] + h[b] @ params["recurrent"] + params["bias"]
            i, f, g, o = z.reshape(4, hidden)
            c[b] = sigmoid(f) * c[b] + sigmoid(i) * np.tanh(g)
            h[b] = y[b, t] = sigmoid(o) * np.tanh(c[b])
    return y, (h, c)


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_parity(steps):
    x = numbers(4, steps, 3)
    close(run(PARAMS, x), np_lstm(f64(PARAMS), f64(x)))


@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.uint8, np.uint32])
def test_lengths(dtype):
    x, lengths = numbers(4, 5, 3), np.array([5, 0, 1, 3], dtype)
    got = run(PARAMS, x, lengths=jnp.asarray(lengths))
    close(got, np_lstm(f64(PARAMS), f64(x), lengths))


def test_lengths_may_be_longer_than_a_narrow_dtype_counts_with():
    x, lengths = numbers(2, 200, 3), np.array([100, 3], np.int8)
    _, carry = run(PARAMS, x, lengths=jnp.asarray(lengths))
    close(carry, np_lstm(f64(PARAMS), f64(x), lengths)[1])


def test_padding_has_no_influence():
    x, lengths = numbers(3, 5, 3), jnp.array([2, 0, 5])
    padding = np.arange(5) >= np.array([[2], [0], [5]])
    wild = jnp.asarray(np.where(padding[..., None], np.float32(1e30), x))
    close(run(PARAMS, wild, lengths=lengths), run(PARAMS, x, lengths=lengths), rtol=0, atol=0)
    total = lambda x: sum(map(jnp.sum, jax.tree.leaves(LAYER(PARAMS, x, lengths=lengths))))
    gradient = np.asarray(jax.jit(jax.grad(total))(x)).any(-1)
    assert (gradient == ~padding).all()


def test_a_carry_continues_an_earlier_call():
    x = numbers(3, 7, 3)
    first, carry = run(PARAMS, x[:, :4])
    rest, carry = run(PARAMS, x[:, 4:], carry=carry)
    close((np.concatenate([first, rest], 1), carry), np_lstm(f64(PARAMS), f64(x)))


def test_an_example_of_length_zero_hands_its_carry_on():
    x, carry = numbers(2, 3, 3), (numbers(2, 2, seed=1), numbers(2, 2, seed=2))
    y, after = run(PARAMS, x, carry=carry, lengths=jnp.array([0, 2]))
    close((y, after), np_lstm(f64(PARAMS), f64(x), [0, 2], f64(carry)))
    assert not np.asarray(y)[0].any()


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_any_number_of_batch_axes(batch):
    x = numbers(*batch, 4, 3)
    lengths = np.random.default_rng(0).integers(0, 5, batch)
    y, carry = np_lstm(f64(PARAMS), f64(x).reshape(-1, 4, 3), lengths.ravel())
    shaped = lambda a: a.reshape(*batch, *a.shape[1:])
    got = run(PARAMS, x, lengths=jnp.asarray(lengths))
    close(got, jax.tree.map(shaped, (y, carry)))


def test_gates_saturate_without_nan():
    x = numbers(2, 6, 3, scale=1e4)
    close(run(PARAMS, x), np_lstm(f64(PARAMS), f64(x)))
    gradient = jax.jit(jax.grad(lambda p: LAYER(p, x)[0].sum()))(PARAMS)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_gradients(order):
    carry, lengths = (numbers(2, 2, seed=1), numbers(2, 2, seed=2)), jnp.array([2, 1])
    f = lambda p, x, carry: LAYER(p, x, carry=carry, lengths=lengths)
    check_gradients(f, PARAMS, numbers(2, 2, 3), carry, order=order)


def test_bfloat16_stays_near_float64():
    params, x = bf16((PARAMS, numbers(3, 6, 3)))
    y, (h, c) = run(params, x, lengths=jnp.array([6, 0, 4]))
    assert {y.dtype, h.dtype, c.dtype} == {jnp.dtype(jnp.bfloat16)}
    # six steps, each with some five roundings of 2**-8 of numbers up to one
    close((y, (h, c)), np_lstm(f64(params), f64(x), [6, 0, 4]), atol=2.0**-5)


def test_starts_with_an_orthogonal_recurrent_kernel_and_no_bias():
    params, _ = nn.lstm(64, 16).init(jax.random.key(0))
    recurrent = f64(params)["recurrent"]
    close(recurrent @ recurrent.T, np.eye(16), atol=1e-5)
    np.testing.assert_allclose(np.std(params["kernel"]), 1 / 8, rtol=0.05)
    assert not np.asarray(params["bias"]).any()


def test_messages():
    x, h = numbers(2, 4, 3), numbers(2, 2)
    with pytest.raises(ValueError, match=r"lstm\(3, 2\): got carry of 3 parts, expected two. Pass"):
        LAYER(PARAMS, x, carry=(h, h, h))
    with pytest.raises(
        ValueError, match=r"got carry\[1\] of shape \(4, 2\), expected \[2, 2\]\. A carry"
    ):
        LAYER(PARAMS, x, carry=(h, numbers(4, 2)))
    with pytest.raises(
        TypeError, match="got lengths of dtype float32, expected integer. Count the"
    ):
        LAYER(PARAMS, x, lengths=jnp.ones(2))
    with pytest.raises(ValueError, match=r"got lengths of shape \(3,\), expected \[2\]\. Give one"):
        LAYER(PARAMS, x, lengths=jnp.array([1, 2, 3]))


def test_nan_in_the_padding_reaches_no_gradient():
    layer = nn.lstm(3, 2)
    params, _ = layer.init(jax.random.key(0))
    x = jnp.ones((2, 4, 3)).at[0, 2:].set(jnp.nan)
    loss = lambda params: layer(params, x, lengths=jnp.array([2, 4]))[0].sum()
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(jax.grad(loss)(params)))
