"""Layers around a layer's kernel: parity with float64 NumPy, state, keys, nesting, errors."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from nnjax.ops.mask import bernoulli
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

KEY = jax.random.key(0)
LINEAR, CONV = nn.linear(5, 4), nn.conv(2, 3, (3,))
X = numbers(6, 5)


def with_kernel(layer, params, kernel):
    """The layer's own outputs, for another kernel."""
    own = {name: p for name, p in params.items() if not name.startswith("kernel_")}
    return layer({**own, "kernel": jnp.asarray(kernel, jnp.float32)}, X)


@pytest.mark.parametrize("axis", [-1, 0, None])
def test_weight_norm_parity(axis):
    layer = nn.weight_norm(LINEAR, axis=axis)
    first, state = layer.init(KEY)
    assert state == {}
    close(layer(first, X), LINEAR(LINEAR.init(KEY)[0], X))  # it starts as the layer does
    params = moved(first)
    p = f64(params)
    over = {-1: (0,), 0: (1,), None: (0, 1)}[axis]
    norm = np.sqrt((p["kernel"] ** 2).sum(over, keepdims=True))
    assert p["kernel_scale"].shape == norm.squeeze(over).shape
    kernel = p["kernel"] / norm * p["kernel_scale"].reshape(norm.shape)
    close(jax.jit(layer)(params, X), with_kernel(LINEAR, params, kernel))


def test_weight_norm_of_a_convolution_is_a_filter_at_a_time():
    layer = nn.weight_norm(CONV)
    params = layer.init(KEY)[0]
    assert params["kernel_scale"].shape == (3,)
    close(params["kernel_scale"], np.sqrt((f64(params)["kernel"] ** 2).sum((0, 1))))


def test_a_kernel_of_zeros_stays_one_under_weight_norm_and_spectral_norm():
    zero = nn.linear(5, 4, kernel_init=nn.initializers.zeros)
    for wrap in (nn.weight_norm, nn.spectral_norm):
        params, state = wrap(zero).init(KEY)
        f = lambda p, wrap=wrap, state=state: wrap(zero)(p, X, state=state, train=True)
        y, pull = jax.vjp(f, params)
        assert not np.asarray(y).any()
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(pull(jnp.ones_like(y))))


@pytest.mark.parametrize("inner", [LINEAR, CONV])
def test_spectral_norm_ends_at_one(inner):
    layer = nn.spectral_norm(inner, steps=3)
    params, state = layer.init(KEY)
    params = moved(params)
    step = jax.jit(functools.partial(layer.apply, train=True))
    x = numbers(6, 5) if inner is LINEAR else numbers(2, 6, 2)
    for _ in range(60):
        _, state = step(params, state, x)
    kernel = f64(params)["kernel"]
    u, s, vt = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]))
    close(np.abs(f64(state["kernel_v"]) @ u[:, 0]), np.ones(()), atol=1e-5)
    close(np.abs(f64(state["kernel_u"]) @ vt[0]), np.ones(()), atol=1e-5)
    own = {**params, "kernel": jnp.asarray(kernel / s[0], jnp.float32)}
    close(layer(params, x, state=state), inner(own, x), atol=1e-5)


def test_spectral_norm_one_step():
    layer = nn.spectral_norm(LINEAR)
    params, state = layer.init(KEY)
    assert state["kernel_u"].shape == (4,) and state["kernel_v"].shape == (5,)
    params = moved(params)
    p, v = f64(params), f64(state)["kernel_v"]
    u = v @ p["kernel"]
    u /= np.linalg.norm(u)
    v = p["kernel"] @ u
    v /= np.linalg.norm(v)
    y, after = layer.apply(params, state, X, train=True)
    close(after, {"kernel_u": u, "kernel_v": v})
    close(y, with_kernel(LINEAR, params, p["kernel"] / (v @ p["kernel"] @ u)))
    old = f64(state)["kernel_v"] @ p["kernel"] @ f64(state)["kernel_u"]
    close(layer(params, X, state=state), with_kernel(LINEAR, params, p["kernel"] / old))


def test_spectral_norm_begins_near_one():
    """Fifteen rounds at init: even an untrained network is evaluated with a sensible norm."""
    for seed in range(5):
        params, state = nn.spectral_norm(nn.linear(30, 20)).init(jax.random.key(seed))
        sigma = f64(state["kernel_v"]) @ f64(params["kernel"]) @ f64(state["kernel_u"])
        largest = np.linalg.svd(f64(params["kernel"]))[1][0]
        assert 0.9 * largest < sigma < 1.0001 * largest


def test_weight_standardization_parity():
    layer = nn.weight_standardization(CONV)
    params, x = moved(layer.init(KEY)[0]), numbers(2, 6, 2)
    k = f64(params)["kernel"] + 100  # a large mean, which cancels
    params["kernel"] = jnp.asarray(k, jnp.float32)
    k = f64(params["kernel"])
    z = (k - k.mean((0, 1))) / np.sqrt(k.var((0, 1)) + 1e-5)
    want = CONV({**params, "kernel": jnp.asarray(z, jnp.float32)}, x)
    close(jax.jit(layer)(params, x), want, atol=1e-3)  # 100 is known to 8e-6; deviations are 0.5


def test_reparametrize():
    layer = nn.reparametrize(nn.linear(4, 4), lambda w: w + w.T)
    params = layer.init(KEY)[0]
    close(layer(params, jnp.eye(4)), f64(params["kernel"]) + f64(params["kernel"]).T)
    bad = nn.reparametrize(nn.linear(5, 4), lambda w: w[1:])
    with pytest.raises(ValueError, match=r"linear\(5, 4\): got params\['kernel'\] of shape \(4, 4"):
        bad(bad.init(KEY)[0], X)


def test_drop_connect_drops_weights_for_the_whole_batch():
    layer = nn.drop_connect(nn.linear(200, 100), 0.3)
    params = layer.init(KEY)[0]
    seen = layer(params, jnp.eye(200), key=KEY, train=True)  # the kernel it computes with
    kernel, seen = f64(params["kernel"]), f64(seen)
    kept = seen != 0
    close(seen, np.where(kept, kernel / 0.7, 0))
    assert abs(kept.mean() - 0.7) < 5 * (0.21 / kept.size) ** 0.5
    assert (layer(params, jnp.eye(200), key=KEY, train=True) == seen).all()
    assert not np.array_equal(layer(params, jnp.eye(200), key=jax.random.key(1), train=True), seen)
    close(layer(params, jnp.eye(200)), kernel)


def test_the_layer_inside_keeps_its_own_draws_and_state():
    noisy = nn.compose(
        lambda net, x, kernel: net.drop(net.norm(x @ kernel)),
        drop=nn.dropout(0.5),
        norm=nn.batch_norm(4),
    )

    def init(key):
        params, state = noisy.init(key)
        return {"kernel": jnp.ones((5, 4)), **params}, state

    def apply(params, state, x, *, key=None, train=False):
        own = {name: p for name, p in params.items() if name != "kernel"}
        return noisy.apply(own, state, x, params["kernel"], key=key, train=train)

    inner = nn.Layer(init, apply, "noisy", random=True)
    params, state = inner.init(KEY)
    run = functools.partial(inner.apply, params, state, X, key=KEY, train=True)
    want, want_state = run()
    for wrap in (nn.weight_norm, nn.spectral_norm, lambda layer: nn.drop_connect(layer, 0.0)):
        layer = wrap(inner)
        own_params, own_state = layer.init(KEY)
        y, new_state = layer.apply(own_params, own_state, X, key=KEY, train=True)
        assert layer.random
        np.testing.assert_array_equal(y == 0, want == 0)
        if wrap is not nn.spectral_norm:
            close((y, new_state), (want, want_state))
    doubly = nn.drop_connect(inner, 0.5)  # its own mask is another draw than the one inside
    y = doubly(params, X, state=state, key=KEY, train=True)
    assert ((y == 0) | (want != 0)).all() and not np.allclose(y, want)


def test_own_draws_are_not_those_of_the_layer_inside():
    def apply(params, state, x, *, key: Any = None, train=False):
        mask = bernoulli(key, 0.5, params["kernel"].shape)
        return jnp.where(mask, params["kernel"], 0), state

    inner = nn.Layer(
        lambda key: ({"kernel": jnp.ones((40, 50))}, {}), apply, "own_draws", random=True
    )
    y = nn.drop_connect(inner, 0.5)(inner.init(KEY)[0], X, key=KEY, train=True)
    assert abs((y > 0).mean() - 0.25) < 5 * (0.25 * 0.75 / y.size) ** 0.5


def test_a_network_is_wrapped_with_map_layers():
    net = nn.serial(nn.linear(5, 4), jax.nn.relu, nn.linear(4, 4))
    wrap = lambda path, layer: nn.spectral_norm(layer) if "linear(" in layer.name else layer
    normed = nn.map_layers(wrap, net)
    params, state = normed.init(KEY)
    names = [f"linear_{i}/kernel_{vector}" for i in range(2) for vector in "uv"]
    assert list(nn.paths(state)) == names
    close(params, net.init(KEY)[0])


def test_two_parameters_of_one_layer():
    layer = nn.weight_norm(nn.weight_norm(nn.lstm(5, 3)), param="recurrent")
    params = layer.init(KEY)[0]
    assert {"kernel_scale", "recurrent_scale"} < set(params)
    close(layer(params, X), nn.lstm(5, 3)(nn.lstm(5, 3).init(KEY)[0], X))
    twice = nn.weight_norm(nn.weight_norm(LINEAR))
    with pytest.raises(
        ValueError, match=r"weight_norm: got a layer that has \['kernel_scale'\] al"
    ):
        twice.init(KEY)


def test_gradients():
    norm, standard = nn.weight_norm(LINEAR), nn.weight_standardization(LINEAR)
    params = moved(norm.init(KEY)[0])

    def every(p, x):
        own = {name: p[name] for name in ("kernel", "bias")}
        return jnp.sin(norm(p, x)) + standard(own, x)

    check_gradients(every, params, X, order=1)  # the contract goes to order 2


def test_spectral_norm_gradient_takes_the_vectors_as_constants():
    """d sigma / d kernel = v u', so the gradient of y = x @ kernel / sigma is in closed form."""
    layer = nn.spectral_norm(nn.linear(5, 4, bias=False))
    params, state = layer.init(KEY)
    params, dy = moved(params), numbers(6, 4, seed=1)
    f = lambda p: layer(p, X, state=state, train=True)
    (got,) = jax.vjp(f, params)[1](dy)
    _, after = layer.apply(params, state, X, train=True)
    k, x, u, v = (f64(a) for a in (params["kernel"], X, after["kernel_u"], after["kernel_v"]))
    sigma = v @ k @ u
    outer = x.T @ f64(dy)
    close(got["kernel"], outer / sigma - (outer * k).sum() / sigma**2 * np.outer(v, u))


def test_bfloat16():
    for wrap in (nn.weight_norm, nn.spectral_norm, nn.weight_standardization):
        layer = wrap(LINEAR)
        params, state = layer.init(KEY)
        y, new = layer.apply(bf16(params), state, X.astype(jnp.bfloat16), train=True)
        assert y.dtype == jnp.bfloat16
        assert {a.dtype for a in new.values()} <= {jnp.dtype("float32")}


def test_messages():
    layer = nn.spectral_norm(LINEAR)
    params, state = layer.init(KEY)
    with pytest.raises(
        ValueError, match=r"spectral_norm: got state \[\], expected kernel_u, kernel"
    ):
        layer(params, X)
    wrong = {**state, "kernel_u": jnp.ones(7)}
    with pytest.raises(
        ValueError, match=r"got state\['kernel_u'\] of shape \(7,\), expected \[4\]"
    ):
        layer(params, X, state=wrong)
    with pytest.raises(
        ValueError, match=r"weight_norm: got params \[\], expected kernel among them"
    ):
        nn.weight_norm(nn.dropout(0.1)).init(KEY)
    with pytest.raises(ValueError, match=r"spectral_norm: got steps=0, expected at least 1"):
        nn.spectral_norm(LINEAR, steps=0)
