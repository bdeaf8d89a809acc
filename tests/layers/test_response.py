"""Local and global response norm and unit norm: parity with float64 NumPy, edges, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers


def np_local_response_norm(x, size, alpha, beta, k):
    """One channel at a time."""
    y = np.zeros_like(x)
    for c in range(x.shape[-1]):
        near = x[..., max(c - size // 2, 0) : c + (size - 1) // 2 + 1]
        y[..., c] = x[..., c] / (k + alpha / size * (near**2).sum(-1)) ** beta
    return y


@pytest.mark.parametrize("size", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("shape", [(7,), (0, 7), (2, 3, 7)])
def test_local_response_norm_parity(size, shape):
    x = numbers(*shape, mean=1.0, scale=30.0)
    options = {"alpha": 0.3, "beta": 0.6, "k": 2.0}
    want = np_local_response_norm(f64(x), size, **options)
    close(nn.local_response_norm(size, **options)({}, x), want, atol=1e-5)


GRN = nn.global_response_norm(4, axes=1)
PARAMS = moved(GRN.init(jax.random.key(0))[0])


def np_global_response_norm(params, x, eps=1e-6):
    g = np.sqrt((x * x).sum(-2, keepdims=True))
    n = g / (g.mean(-1, keepdims=True) + eps)
    return x + params["scale"] * x * n + params["bias"]


@pytest.mark.parametrize("batch", [(), (0,), (3,)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_global_response_norm_parity(batch, scale):
    x = numbers(*batch, 5, 4, scale=scale)
    close(jax.jit(GRN)(PARAMS, x), np_global_response_norm(f64(PARAMS), f64(x)))
    images = x[..., None, :]
    close(nn.global_response_norm(4)(PARAMS, images)[..., 0, :], GRN(PARAMS, x))


def test_global_response_norm_starts_as_the_identity():
    x = numbers(5, 4)
    close(GRN(GRN.init(jax.random.key(0))[0], x), x)


@pytest.mark.parametrize("axis", [-1, 0, (0, 2)])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e10])
def test_unit_norm_parity(axis, scale):
    x = numbers(2, 3, 4, scale=scale)
    want = f64(x) / np.sqrt((f64(x) ** 2).sum(axis, keepdims=True))
    close(nn.unit_norm(axis)({}, x), want)


@pytest.mark.parametrize("layer", [GRN, nn.unit_norm(), nn.local_response_norm(3)])
def test_zeros_have_finite_values_and_slopes(layer):
    """The norm of a channel that is dead everywhere has no slope: it must not become NaN."""
    params = PARAMS if layer is GRN else {}
    x = jnp.stack([jnp.zeros((5, 4)), numbers(5, 4).at[:, 1].set(0)])
    y, pull = jax.vjp(lambda x: layer(params, x), x)
    assert np.isfinite(y).all() and np.isfinite(pull(jnp.ones_like(y))[0]).all()


def test_gradients():
    def every(p, x):
        return (
            jnp.sin(GRN(p, x)) + nn.unit_norm()({}, x) + nn.local_response_norm(3, alpha=1.0)({}, x)
        )

    check_gradients(every, PARAMS, numbers(2, 5, 4), order=1)  # the contract goes to order 2


@pytest.mark.parametrize("layer", [GRN, nn.unit_norm(), nn.local_response_norm(3, alpha=1.0)])
def test_bfloat16(layer):
    params, x = bf16((PARAMS if layer is GRN else {}, numbers(2, 300, 4, mean=1.0)))
    y = layer(params, x)
    assert y.dtype == jnp.bfloat16
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), (params, x))
    close(y, layer(*wide), rtol=2.0**-8)


def test_messages():
    with pytest.raises(
        ValueError, match=r"unit_norm\(3\): got x of shape \(2, 3\), expected one that"
    ):
        nn.unit_norm(3)({}, numbers(2, 3))
