"""linear, einsum_linear, bilinear, mlp: parity with float64 NumPy, gradients, initial values."""

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


@pytest.mark.parametrize("ins, outs, equation", [
    ((4,), (2, 3), "...a,axy->...xy"),
    ((2, 3), 5, "...ab,abx->...x"),
    ((2, 3), (3, 2), "...ab,abxy->...xy"),
])  # fmt: skip
def test_linear_over_several_axes(ins, outs, equation):
    layer = nn.linear(ins, outs)
    params = moved(layer.init(jax.random.key(0))[0])
    for batch in ((), (2, 5), (0,)):
        x = numbers(*batch, *ins)
        want = np.einsum(equation, f64(x), f64(params)["kernel"]) + f64(params)["bias"]
        close(layer(params, x), want)


def test_several_axes_begin_as_one():
    joined = nn.linear((4, 6), (2, 5)).init(jax.random.key(0))[0]["kernel"]
    flat = nn.linear(24, 10).init(jax.random.key(0))[0]["kernel"]
    assert (joined.reshape(24, 10) == flat).all()
    split = nn.einsum_linear("...ab,xaby->...xy", (2, 4, 6, 5)).init(jax.random.key(0))[0]["kernel"]
    assert (split == joined.transpose(2, 0, 1, 3)).all()


@pytest.mark.parametrize("equation, kernel_shape, shape, bias_shape", [
    ("...d,dhk->...hk", (4, 2, 3), (5, 4), (2, 3)),
    ("...hk,hkd->...d", (2, 3, 4), (5, 2, 3), (4,)),
    ("...gi,gio->...go", (3, 4, 2), (2, 3, 4), (3, 2)),  # a matrix a group
    ("btd,dh->bht", (4, 3), (2, 5, 4), (3, 1)),  # moves an axis
    ("...td,te->...ed", (5, 3), (2, 5, 4), (3, 1)),  # mixes positions
])  # fmt: skip
def test_einsum_linear(equation, kernel_shape, shape, bias_shape):
    layer = nn.einsum_linear(equation, kernel_shape)
    params = moved(layer.init(jax.random.key(0))[0])
    x, p = numbers(*shape), f64(params)
    want = np.einsum(equation, f64(x), p["kernel"]) + p["bias"].reshape(bias_shape)
    close(layer(params, x), want)
    bare = nn.einsum_linear(equation, kernel_shape, bias=False)
    close(bare({"kernel": params["kernel"]}, x), want - p["bias"].reshape(bias_shape), atol=2e-6)


def test_einsum_linear_counts_its_inputs():
    layer = nn.einsum_linear("...gi,gio->...go", (4, 200, 50))
    kernel = layer.init(jax.random.key(0))[0]["kernel"]
    np.testing.assert_allclose(np.std(kernel), 200**-0.5, rtol=0.02)


def np_bilinear(params, x1, x2):
    y = np.einsum("...i,ijo,...j->...o", x1, params["kernel"], x2)
    return y + params.get("bias", 0.0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_bilinear(bias, batch):
    layer = nn.bilinear(4, 5, 3, bias=bias)
    params = moved(layer.init(jax.random.key(0))[0])
    x1, x2 = numbers(*batch, 4, mean=10.0), numbers(*batch, 5, seed=1)
    close(layer(params, x1, x2), np_bilinear(f64(params), f64(x1), f64(x2)), atol=2e-5)


def test_bilinear_gradients_and_first_gain():
    layer = nn.bilinear(2, 3, 2)
    params = moved(layer.init(jax.random.key(0))[0])
    check_gradients(layer, params, numbers(2), numbers(3, seed=1), order=1)
    kernel = nn.bilinear(30, 20, 40).init(jax.random.key(0))[0]["kernel"]
    np.testing.assert_allclose(np.std(kernel), 600**-0.5, rtol=0.02)


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
    with pytest.raises(
        ValueError, match=r"linear\(\(\), 3\): got in_features=\(\), expected at le"
    ):
        nn.linear((), 3)
    with pytest.raises(
        ValueError, match=r"linear\(\(2, 3\), 4\): got x of shape \(2, 4\), expecte"
    ):
        nn.linear((2, 3), 4).apply({}, {}, jnp.ones((2, 4)))
    for equation in (
        "...d,dd->...d",
        "...d,dk",
        "...d->...k",
        "d...,dk->k",
        "...d,dk->...z",
        "a,b",
    ):
        with pytest.raises(ValueError, match=r"einsum_linear\(.*\): got .* expected 'x,kernel->y'"):
            nn.einsum_linear(equation, (2, 2))
    with pytest.raises(
        ValueError, match=r"got kernel_shape=\(2,\), expected 2 sizes, one for each"
    ):
        nn.einsum_linear("...d,dk->...k", (2,))
