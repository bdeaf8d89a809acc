"""What the numerical tests share: inputs, float64 copies, and gradients checked in float64."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

# Rounding to bfloat16 moves a number by at most 2**-8 of it. A product is rounded, then its sum
# with the bias, which may be near zero: hence twice that, and an absolute part.
BFLOAT16 = {"rtol": 2.0**-7, "atol": 2.0**-7}


def numbers(*shape: int, seed: int = 0, mean: float = 0.0, scale: float = 1.0) -> jax.Array:
    """Normal numbers in float32; drawn by NumPy, which has no program to compile."""
    draw = np.random.default_rng(seed).normal(mean, scale, shape)
    return jnp.asarray(draw.astype(np.float32))


def moved(params: Any) -> Any:
    """Parameters off their first values: a bias of zeros or a scale of ones could go unused."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda p: p + rng.normal(0, 0.3, p.shape).astype(p.dtype), params)


def f64(tree: Any) -> Any:
    return jax.tree.map(lambda a: np.asarray(a, np.float64), tree)


def bf16(tree: Any) -> Any:
    return jax.tree.map(lambda a: a.astype(jnp.bfloat16), tree)


def close(got: Any, want: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    """Two trees agree; by default to some ten roundings of float32 at values near one."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def check_gradients(f: Callable[..., Any], *args: Any, order: int = 1, **tolerances: Any) -> None:
    """Forward and reverse mode agree with finite differences, and their derivatives up to order.

    In float64, as differences of float32 numbers are too noisy at order 2.
    """
    wide = lambda tree: jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tree)
    with jax.enable_x64(True):
        check_grads(jax.jit(f), wide(args), order, **tolerances)
