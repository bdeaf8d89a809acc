"""min_gru, rg_lru, s5: parity with float64 loops, streaming, lengths, gradients, bfloat16."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.special

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

sigmoid = scipy.special.expit


def np_min_gru(p, x, h):
    z, n = np.split(x @ p["kernel"] + p["bias"], 2)
    h = (1 - sigmoid(z)) * h + sigmoid(z) * n
    return h, h


def np_rg_lru(p, x, h):
    r, i = np.split(sigmoid(x @ p["kernel"] + p["bias"]), 2)
    a = sigmoid(p["decay"]) ** (8 * r)
    h = a * h + np.sqrt(1 - a**2) * i * x
    return h, h


def np_s5(p, x, pairs):
    """Every state with its conjugate, and the matrix exponential of the held input's system."""
    pair = lambda a: a[..., 0] + 1j * a[..., 1]
    rate, step = -np.exp(p["decay"]) + 1j * p["frequency"], np.exp(p["log_step"])
    both: Any = lambda a, axis: np.concatenate([a, a.conj()], axis)
    rate, step = both(rate, 0), np.concatenate([step, step])
    kernel, readout = both(pair(p["kernel"]), 1), both(pair(p["readout"]), 0)
    h = both(pair(pairs), 0)
    for n in range(len(h)):
        system = np.array([[rate[n], x @ kernel[:, n]], [0, 0]])
        h[n] = (scipy.linalg.expm(system * step[n]) @ np.array([h[n], 1]))[0]
    y = h @ readout + p["skip"] * x
    assert abs(y.imag).max() < 1e-9
    h = h[: len(h) // 2]
    return y.real, np.stack([h.real, h.imag], -1)


def np_scan(cell, params, x, carry, mask: Any = None, reverse=False) -> Any:
    batch, steps, _ = x.shape
    ys, carries = [], []
    for b in range(batch):
        h, y = carry[b], [None] * steps
        for t in reversed(range(steps)) if reverse else range(steps):
            y[t], after = cell(params, x[b, t], h)
            if mask is None or mask[b, t]:
                h = after
            else:
                y[t] = np.zeros_like(y[t])
        ys.append(y)
        carries.append(h)
    return np.stack(ys), np.stack(carries)


LAYERS: dict[str, Any] = {
    "min_gru": (nn.min_gru(3, 4), np_min_gru, (4,)),
    "rg_lru": (nn.rg_lru(3), np_rg_lru, (3,)),
    "s5": (nn.s5(3, 4), np_s5, (4, 2)),
}


@pytest.fixture(params=LAYERS, scope="module")
def case(request):
    layer, cell, shape = LAYERS[request.param]
    params = moved(layer.init(jax.random.key(0))[0])
    return layer, jax.jit(layer, static_argnames="reverse"), cell, shape, params


@pytest.mark.parametrize("reverse", [False, True])
def test_parity(case, reverse):
    _, run, cell, shape, params = case
    x, carry = numbers(3, 6, 3), numbers(3, *shape, seed=1)
    got = run(params, x, carry=carry, reverse=reverse)
    close(got, np_scan(cell, f64(params), f64(x), f64(carry), reverse=reverse), atol=3e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_and_padding(case, reverse):
    _, run, cell, shape, params = case
    x, lengths = numbers(3, 6, 3), jnp.array([6, 0, 4])
    mask = np.arange(6) < np.asarray(lengths)[:, None]
    got = run(params, x, lengths=lengths, reverse=reverse)
    want = np_scan(cell, f64(params), f64(x), np.zeros((3, *shape)), mask, reverse)
    close(got, want, atol=3e-6)
    wild = jnp.asarray(np.where(mask[..., None], x, np.float32(np.nan)))
    close(run(params, wild, mask=jnp.asarray(mask), reverse=reverse), got, rtol=0, atol=0)


def test_nan_in_the_padding_reaches_no_gradient(case):
    layer, _, _, _, params = case
    x = numbers(2, 4, 3).at[0, 2:].set(jnp.nan)
    loss = lambda p, x: layer(p, x, lengths=jnp.array([2, 4]))[0].sum()
    slopes = jax.jit(jax.grad(loss, (0, 1)))(params, x)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(slopes))
    assert not np.asarray(slopes[1])[0, 2:].any()


def test_streaming_equals_the_full_pass(case):
    _, run, _, _, params = case
    x = numbers(2, 8, 3)
    y, carry = run(params, x)
    parts, h = [], None
    for piece in jnp.split(x, 4, axis=1):
        part, h = run(params, piece) if h is None else run(params, piece, carry=h)
        parts.append(part)
    close((np.concatenate(parts, 1), h), (y, carry), atol=3e-6)


@pytest.mark.parametrize("batch", [(), (0,), (2, 2)])
def test_any_number_of_batch_axes_and_no_steps(case, batch):
    _, run, cell, shape, params = case
    y, carry = run(params, numbers(*batch, 0, 3))
    assert y.shape[:-1] == (*batch, 0) and carry.shape == (*batch, *shape)
    assert not np.asarray(carry).any()
    x = numbers(*batch, 6, 3)
    got = run(params, x)
    assert got[0].shape[:-1] == (*batch, 6) and got[1].shape == (*batch, *shape)
    if batch == (2, 2):
        want = np_scan(cell, f64(params), f64(x.reshape(4, 6, 3)), np.zeros((4, *shape)))
        close(got, jax.tree.map(lambda a: a.reshape(2, 2, *a.shape[1:]), want), atol=3e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_gradients(name):
    layer, _, shape = LAYERS[name]
    params = moved(layer.init(jax.random.key(0))[0])
    f = lambda p, x, h: layer(p, x, carry=h, lengths=jnp.array(1))
    check_gradients(f, params, numbers(2, 3), numbers(*shape, seed=1), order=1)


def test_gates_that_close_leave_finite_slopes(case):
    layer, _, _, _, params = case
    loss = lambda p, x: layer(p, x)[0].sum()
    value, slopes = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, 1e3 * numbers(4, 3))
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in jax.tree.leaves(slopes))


def test_bfloat16_is_scanned_in_float32(case):
    _, run, cell, shape, params = case
    params, x = bf16((params, numbers(2, 64, 3)))
    y, carry = run(params, x)
    assert y.dtype == carry.dtype == jnp.bfloat16
    # a product or two rounded to 2**-8; a scan in bfloat16 would add 64 such errors
    close((y, carry), np_scan(cell, f64(params), f64(x), np.zeros((2, *shape))), 2.0**-5, 2.0**-4)


def test_they_stack_and_run_both_ways():
    layer = nn.stacked(nn.bidirectional(nn.min_gru(3, 2)), nn.rg_lru(4), nn.s5(4, 2), residual=True)
    params = moved(layer.init(jax.random.key(0))[0])
    x, lengths = numbers(2, 5, 3), jnp.array([5, 2])
    y, carry = jax.jit(layer)(params, x, lengths=lengths)
    short, _ = jax.jit(layer)(params, x[1, :2])
    close(y[1, :2], short)
    assert not np.asarray(y)[1, 2:].any()
    assert jax.tree.map(jnp.shape, carry) == (((2, 2), (2, 2)), (2, 4), (2, 2, 2))


def test_first_parameters():
    p = f64(nn.rg_lru(500).init(jax.random.key(0))[0])
    slow = sigmoid(p["decay"]) ** 8
    assert 0.9 < slow.min() < 0.905 and 0.994 < slow.max() < 0.9991
    p = f64(nn.s5(64, 32).init(jax.random.key(0))[0])
    n = np.arange(64)
    root = np.sqrt(2 * n + 1)
    legs = -np.tril(np.outer(root, root), -1) - np.diag(n + 1)  # HiPPO-LegS, plus its rank-1 part
    normal = legs + 0.5 * np.outer(root, root)
    eigenvalues = np.linalg.eigvals(normal)
    close(np.sort(p["frequency"]), np.sort(eigenvalues.imag[eigenvalues.imag > 0]), atol=1e-3)
    close(-np.exp(p["decay"]), np.full(32, eigenvalues.real.mean()), atol=1e-5)
    assert 0.001 <= np.exp(p["log_step"]).min() and np.exp(p["log_step"]).max() <= 0.1
    np.testing.assert_allclose(np.square(p["kernel"]).sum((0, -1)).mean(), 1, rtol=0.1)


def test_small_steps_are_exact():
    """exp(l s) - 1 cancels at s = 1e-6; an integral of one over 1000 steps must not drift."""
    layer = nn.s5(1, 1)
    params = layer.init(jax.random.key(0))[0]
    params = {**params, "log_step": jnp.log(jnp.array([1e-6])), "frequency": jnp.array([1.0])}
    params = {**params, "kernel": jnp.array([[[1.0, 0.0]]]), "skip": jnp.zeros(1)}
    _, carry = jax.jit(layer)(params, jnp.ones((1000, 1)))
    rate = complex(-0.5, 1.0)
    want = (np.exp(rate * 1e-3) - 1) / rate
    close(carry[0, 0], want.real, rtol=3e-5)


def test_messages():
    layer = nn.s5(3, 4)
    params, x = layer.init(jax.random.key(0))[0], numbers(2, 5, 3)
    with pytest.raises(
        ValueError, match=r"s5\(3, 4\): got carry of shape \(2, 4\), expected \[2, 4"
    ):
        layer(params, x, carry=numbers(2, 4))
    with pytest.raises(
        ValueError, match=r"s5\(3, 4\): got x of shape \(3,\), expected \[..., \*, 3"
    ):
        layer(params, x[0, 0])
    with pytest.raises(ValueError, match=r"s5\(3, 0\): got states=0, expected at least 1"):
        nn.s5(3, 0)
    with pytest.raises(TypeError, match=r"rg_lru\(3\): got x of dtype int32"):
        nn.rg_lru(3)(nn.rg_lru(3).init(jax.random.key(0))[0], jnp.ones((2, 3), int))
