"""max_pool's own derivative against that of JAX's reduce_window; integers; zeros of both signs."""

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.ops.pooling import avg_pool, max_pool
from tests.numerics import close, numbers

WINDOW, STRIDE, PADS = (3, 2), (2, 1), ((1, 1), (0, 1))


def plain(x):
    windows = (1, *WINDOW, 1), (1, *STRIDE, 1), ((0, 0), *PADS, (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, *windows)


def test_derivatives_are_those_of_reduce_window_where_nothing_ties():
    x, dx, ddx = (numbers(2, 5, 4, 3, seed=seed) for seed in range(3))

    @jax.jit
    def derivatives():
        for f in (plain, lambda x: max_pool(x, WINDOW, STRIDE, PADS)):
            first = lambda x, f=f: jax.grad(lambda x: jnp.sin(f(x)).sum())(x)
            results.append((f(x), jax.jvp(f, (x,), (dx,)), first(x), jax.jvp(first, (x,), (ddx,))))
        return results

    results: list = []
    want, got = derivatives()
    close(got, want)


def test_integers():
    x = np.random.default_rng(0).integers(-100, 0, (1, 4, 4, 2), np.int8)
    got = max_pool(jnp.asarray(x), (2, 2), (2, 2), ((0, 0), (0, 0)))
    assert got.dtype == jnp.int8
    close(got, x.reshape(1, 2, 2, 2, 2, 2).max((2, 4)))


def test_a_negative_zero_ties_with_zero():
    x = jnp.array([-0.0, 0.0]).reshape(1, 2, 1)
    gradient = jax.grad(lambda x: max_pool(x, (2,), (2,), ((0, 0),)).sum())(x)
    assert gradient.ravel().tolist() == [1.0, 0.0]


def test_mean_counts_no_padding():
    got = avg_pool(jnp.ones((1, 3, 3, 1)), (2, 2), (2, 2), ((1, 0), (0, 1)))
    assert got.ravel().tolist() == [1.0] * 4
