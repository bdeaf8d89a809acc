"""Conditional normalization: parity with float64 NumPy, first values, positions, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers


def first(layer):
    return layer.init(jax.random.key(0))[0]


def np_modulation(params, c):
    return c @ params["kernel"] + params["bias"]


def np_standardize(x, axis, eps):
    mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
    return (x - mean) / np.sqrt(var + eps)


FILM = nn.film(4, 2)
ADALN = nn.adaln_zero(nn.linear(4, 4), 4, 2)


@pytest.mark.parametrize("positions", [(), (5,), (2, 3)])
@pytest.mark.parametrize("batch", [(), (0,), (3,)])
def test_film_parity(positions, batch):
    params, x, c = moved(first(FILM)), numbers(*batch, *positions, 4), numbers(*batch, 2, seed=1)
    s, t = np.split(np_modulation(f64(params)["modulation"], f64(c)), 2, axis=-1)
    spread = (*batch, *(1 for _ in positions), 4)
    close(FILM(params, x, c), f64(x) * (1 + s.reshape(spread)) + t.reshape(spread))


@pytest.mark.parametrize("layer", [FILM, ADALN])
def test_the_condition_says_nothing_at_first(layer):
    x = numbers(3, 5, 4)
    close(layer(first(layer), x, numbers(3, 2)), x)


def test_another_kernel_to_begin_with():
    layer = nn.film(4, 2, kernel_init=nn.initializers.ones)
    x, c = numbers(3, 4), numbers(3, 2)
    total = f64(c).sum(-1, keepdims=True)
    close(layer(first(layer), x, c), f64(x) * (1 + total) + total)


def test_adaln_zero_parity():
    params, x, c = moved(first(ADALN)), numbers(3, 5, 4, mean=100.0), numbers(3, 2, seed=1)
    p, h, silu = f64(params), f64(x), f64(c) / (1 + np.exp(-f64(c)))
    s, t, g = np.split(np_modulation(p["modulation"], silu)[:, None], 3, axis=-1)
    body = np_modulation(p["body"], np_standardize(h, -1, 1e-6) * (1 + s) + t)
    close(ADALN(params, x, c), h + g * body, atol=1e-4)


def test_adaln_zero_hands_keywords_and_noise_to_its_body():
    body = nn.compose(
        lambda net, x, mask=None: net.drop(net.attn(x, mask=mask)),
        attn=nn.attention(4, 2),
        drop=nn.dropout(0.5),
    )
    layer = nn.adaln_zero(body, 4, 2)
    params, x, c = moved(first(layer)), numbers(2, 3, 4), numbers(2, 2)
    mask = jnp.tril(jnp.ones((3, 3), bool))
    assert not np.allclose(layer(params, x, c, mask=mask), layer(params, x, c))
    noisy = layer(params, x, c, key=jax.random.key(0), train=True)
    assert layer.random and not np.allclose(noisy, layer(params, x, c))


def test_conditional_norm_is_film_of_the_norm():
    norm = nn.batch_norm(4, scale=False, bias=False)
    layer = nn.conditional_norm(norm, 4, 2)
    params, state = layer.init(jax.random.key(0))
    params, x, c = moved(params), numbers(3, 5, 4, mean=10.0), numbers(3, 2, seed=1)
    mask = jnp.arange(15).reshape(3, 5) % 4 != 0
    y, new = layer.apply(params, state, x, c, mask=mask, train=True)
    z, want = norm.apply({}, state["norm"], x, mask=mask, train=True)
    close(y, FILM(params["film"], z, c))
    close(new, {"norm": want})


@pytest.mark.parametrize("axes", [1, 2])
def test_adaptive_instance_norm(axes):
    x = numbers(2, *(5, 3)[:axes], 4, mean=100.0)
    style = numbers(2, *(7, 2)[:axes], 4, mean=-3.0, scale=5.0, seed=1)
    spatial = tuple(range(1, 1 + axes))
    s = f64(style)
    std = np.sqrt(s.var(spatial, keepdims=True) + 1e-5)
    want = np_standardize(f64(x), spatial, 1e-5) * std + s.mean(spatial, keepdims=True)
    y = nn.adaptive_instance_norm(axes)({}, x, style)
    close(y, want, atol=1e-3)  # 100 is known to 8e-6, times the deviations of style
    close(np.asarray(y).mean(spatial), s.mean(spatial), atol=1e-4)
    close(nn.adaptive_instance_norm(axes)({}, x, x), x, atol=1e-4)


def test_gradients():
    adain = nn.adaptive_instance_norm(1)

    def every(p, q, x, c):
        return jnp.sin(FILM(p, x, c) + adain({}, x, x[:, ::-1] ** 2)) + ADALN(q, x, c)

    p, q = moved(first(FILM)), moved(first(ADALN))
    check_gradients(
        every, p, q, numbers(2, 3, 4), numbers(2, 2), order=1
    )  # the contract goes to order 2


def test_bfloat16():
    params, x, c = bf16((moved(first(ADALN)), numbers(3, 5, 4), numbers(3, 2, seed=1)))
    y, z = ADALN(params, x, c), nn.adaptive_instance_norm(1)({}, x, x.astype(jnp.float32))
    assert y.dtype == z.dtype == jnp.bfloat16
    close(z, x, rtol=2.0**-7, atol=2.0**-7)
