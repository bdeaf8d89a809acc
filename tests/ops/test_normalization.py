"""Statistics: parity with float64 NumPy, masks, nothing at all, singular vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax.ops import normalization as ops
from tests.numerics import close, f64, numbers


@pytest.mark.parametrize("axes", [(0,), (-1,), (0, 2), (-2, -1)])
@pytest.mark.parametrize("hidden", [False, True])
def test_moments_and_standardize(axes, hidden):
    x = numbers(3, 4, 5, mean=100.0)
    shown = np.random.default_rng(0).random((3, 4, 5)) < 0.6 if hidden else np.ones((3, 4, 5), bool)
    shown[0] = shown[..., 0] = True  # something to every mean
    kept = np.where(shown, f64(x), np.nan)  # which nanmean and nanvar leave out
    mean, var = np.nanmean(kept, axes, keepdims=True), np.nanvar(kept, axes, keepdims=True)
    mask = jnp.asarray(shown) if hidden else None
    poison = jnp.where(jnp.asarray(shown), x, jnp.nan)
    run = jax.jit(lambda x: (ops.moments(x, axes, mask), ops.standardize(x, axes, 1e-3, mask)))
    (m, v, n), z = run(poison)
    close((m, v), (mean, var), atol=1e-4)
    count = np.broadcast_to(shown, x.shape).sum(axes, keepdims=True)
    np.testing.assert_array_equal(np.broadcast_to(n, count.shape), count)
    z = np.where(shown, z, np.nan)
    np.testing.assert_allclose(z, (kept - mean) / np.sqrt(var + 1e-3), atol=1e-3)


def test_moments_of_nothing():
    none = jnp.zeros(4, bool)
    mean, var, n = ops.moments(jnp.full((2, 4), jnp.nan), (1,), none)
    assert not mean.any() and not var.any() and not n.any()
    mean, var, n = ops.moments(jnp.ones((0, 4)), (0,))
    assert not mean.any() and not var.any() and n == 0
    assert np.isfinite(ops.standardize(jnp.ones((2, 4)), (1,), 1e-5, none)).all()


def test_norms():
    x = numbers(3, 4).at[1].set(0)
    length = np.sqrt((f64(x) ** 2).sum(-1, keepdims=True))
    close(ops.l2_norm(x, (-1,)), length)
    close(ops.l2_normalize(x, (-1,)), f64(x) / np.where(length == 0, 1, length))
    close(ops.rms_normalize(x, (-1,), 0.5), f64(x) / np.sqrt((f64(x) ** 2).mean(-1)[:, None] + 0.5))
    assert np.isfinite(jax.jit(jax.hessian(lambda x: ops.l2_norm(x, (-1,)).sum()))(x)).all()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_window_sum(size):
    x = numbers(2, 4)
    want = np.stack([np.convolve(row, np.ones(size))[(size - 1) // 2 :][:4] for row in f64(x)])
    close(ops.window_sum(x, size), want)


def test_power_iteration_of_numpy_and_of_jax():
    matrix, u, v = numbers(5, 3), numbers(3, seed=1), numbers(5, seed=2)
    got = jax.jit(lambda m, u, v: ops.power_iteration(m, u, v, 50))(matrix, u, v)
    want = ops.power_iteration(f64(matrix), f64(u), f64(v), 50)
    left, _, right = np.linalg.svd(f64(matrix))
    close(got, want, atol=1e-5)
    close((abs(want[0] @ right[0]), abs(want[1] @ left[:, 0])), (np.ones(()), np.ones(())))
