"""linear and mlp: parity with float64 NumPy, gradients, bfloat16, initial values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import BFLOAT16, bf16, check_gradients, close, f64, moved, numbers


def np_linear(params, x):
    return np.einsum("...i,io->...o", x, params["kernel"]) + params.get("bias", 0.0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (5,), (0,), (2, 3)])
def test_linear_parity(bias, batch):
    layer = nn.linear(4, 3, bias=bias)
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(*batch, 4)
    close(layer(params, x), np_linear(f64(params), f64(x)))


def test_linear_gradients():
    layer = nn.linear(4, 3)
    check_gradients(layer, moved(layer.init(jax.random.key(0))[0]), numbers(2, 4))


def test_linear_in_bfloat16_is_that_of_the_rounded_numbers():
    layer = nn.linear(4, 3)
    params, x = bf16((moved(layer.init(jax.random.key(0))[0]), numbers(5, 4)))
    y = layer(params, x)
    assert y.dtype == jnp.bfloat16
    close(y, np_linear(f64(params), f64(x)), **BFLOAT16)


def test_linear_starts_with_unit_gain_and_no_bias():
    params, _ = nn.linear(300, 200).init(jax.random.key(0))
    assert not params["bias"].any()
    # a sample deviation of n normal numbers is off by 1 / sqrt(2 n) = 0.3 %
    np.testing.assert_allclose(np.std(params["kernel"]), 300**-0.5, rtol=0.02)


def np_mlp(params, x):
    for index in range(len(params)):
        x = np_linear(params[f"linear_{index}"], x)
        if index < len(params) - 1:
            x = np.maximum(x, 0)
    return x


@pytest.mark.parametrize("sizes", [(4, 3), (4, 6, 3), (4, 6, 5, 3)])
def test_mlp_parity(sizes):
    layer = nn.mlp(*sizes)
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(7, 4)
    close(jax.jit(layer)(params, x), np_mlp(f64(params), f64(x)))


def test_mlp_drops_after_each_activation_and_nowhere_else():
    layer = nn.mlp(4, 5, 6, 3, dropout_rate=0.5)
    hidden = [f"{kind}_{index}" for index in range(2) for kind in ("linear", "relu", "dropout")]
    assert list(layer.children) == [*hidden, "linear_2"]
    params, x = moved(layer.init(jax.random.key(0))[0]), numbers(7, 4)
    close(jax.jit(layer)(params, x), np_mlp(f64(params), f64(x)))


def test_messages():
    with pytest.raises(ValueError, match=r"mlp\(4\): got 1 sizes, expected an input and an output"):
        nn.mlp(4)
    with pytest.raises(ValueError, match=r"linear\(0, 3\): got in_features=0, expected at least 1"):
        nn.linear(0, 3)
    with pytest.raises(ValueError, match=r"got params\['bias'\] of shape \(4,\), expected \(3,\)"):
        nn.linear(4, 3)({"kernel": jnp.ones((4, 3)), "bias": jnp.ones(4)}, jnp.ones(4))
