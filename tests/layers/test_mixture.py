"""Gated MLP and mixture of experts: parity with a loop over tokens and experts, drops, losses."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

D, H, EXPERTS = 4, 5, 3
X = numbers(2, 6, D, seed=1)


def np_silu(a):
    return a / (1 + np.exp(-a))


def np_route(p, x, top_k):
    """Probabilities [T, experts], experts and weights [T, k] of each token."""
    logits = x @ p["router"]
    part = np.exp(logits - logits.max(-1, keepdims=True))
    share = part / part.sum(-1, keepdims=True)
    chosen = np.argsort(-logits, -1)[:, :top_k]
    weights = np.take_along_axis(share, chosen, 1)
    return logits, share, chosen, weights if top_k == 1 else weights / weights.sum(1, keepdims=True)


def np_mixture(p, x, top_k, factor=None):
    """Every token through every expert that it chose and that has room, one by one."""
    tokens = x.reshape(-1, D)
    _, _, chosen, weights = np_route(p, tokens, top_k)
    room = math.inf if factor is None else math.ceil(factor * top_k * len(tokens) / EXPERTS)
    y, taken = np.zeros_like(tokens), [0] * EXPERTS
    for choice in range(top_k):
        for t, token in enumerate(tokens):
            e = chosen[t, choice]
            taken[e] += 1
            if taken[e] <= room:
                hidden = np_silu(token @ p["gate"][e]) * (token @ p["up"][e])
                y[t] += weights[t, choice] * (hidden @ p["down"][e])
    return y.reshape(x.shape)


@functools.cache
def made(top_k, factor=None, implementation="blocks"):
    options = {"top_k": top_k, "capacity_factor": factor, "implementation": implementation}
    layer = nn.mixture_of_experts(D, H, EXPERTS, **options)
    params, state = layer.init(jax.random.key(0))
    return layer, moved(params), state


@pytest.mark.parametrize("activation", [jax.nn.silu, jax.nn.sigmoid])
def test_gated_mlp(activation):
    layer = nn.gated_mlp(D, H, 3, activation=activation, bias=True)
    params = moved(layer.init(jax.random.key(0))[0])
    p, x = f64(params), f64(X)
    affine = lambda part, x: x @ p[part]["kernel"] + p[part]["bias"]
    gate = affine("gate", x)
    gate = np_silu(gate) if activation is jax.nn.silu else 1 / (1 + np.exp(-gate))
    close(jax.jit(layer)(params, X), affine("down", gate * affine("up", x)))


@pytest.mark.parametrize("implementation", ["blocks", "ragged"])
@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_nothing_dropped(top_k, implementation):
    layer, params, state = made(top_k, None, implementation)
    lopsided = {**params, "router": params["router"].at[:, 1].add(5.0)}
    for tree in (params, lopsided):
        close(
            jax.jit(lambda p, x: layer(p, x, state=state))(tree, X),
            np_mixture(f64(tree), f64(X), top_k),
        )


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 1.3, 3.0])
@pytest.mark.parametrize("top_k", [1, 2])
def test_a_full_expert_drops_late_choices(top_k, factor):
    layer, params, state = made(top_k, factor)
    want = np_mixture(f64(params), f64(X), top_k, factor)
    close(jax.jit(lambda p, x: layer(p, x, state=state))(params, X), want)
    dropped = not np.allclose(want, np_mixture(f64(params), f64(X), top_k))
    assert dropped if factor < 1 else not dropped or factor < 3


def test_losses():
    layer, params, state = made(2)
    step = jax.jit(lambda p: layer.apply(p, state, X, train=True)[1])
    after = step(params)
    logits, share, chosen, _ = np_route(f64(params), f64(X).reshape(-1, D), 2)
    count = np.bincount(chosen.ravel(), minlength=EXPERTS) / chosen.size
    close(after["balance_loss"], np.array(EXPERTS * (count * share.mean(0)).sum()))
    close(after["z_loss"], (np.log(np.exp(logits).sum(-1)) ** 2).mean())
    even = {**params, "router": jnp.zeros((D, EXPERTS))}
    close(step(even)["balance_loss"], np.array(1.0))


@pytest.mark.slow
def test_gradients_reach_router_and_losses():
    def f(params, x):
        total = jnp.zeros((), x.dtype)
        for top_k, factor, implementation in [(1, 0.5, "blocks"), (2, None, "ragged")]:
            layer, _, state = made(top_k, factor, implementation)
            state = jax.tree.map(lambda a: a.astype(x.dtype), state)
            y, after = layer.apply(params, state, x, train=True)
            total += jnp.sin(y).sum() + after["balance_loss"] + after["z_loss"]
        return total

    check_gradients(f, made(2)[1], X[0], order=1)
    router = jax.jit(jax.grad(f))(made(2)[1], X[0])["router"]
    assert (jnp.abs(router) > 0).all()


def test_no_tokens_one_expert_and_bfloat16():
    layer, params, state = made(2)
    run = jax.jit(lambda p, x: layer(p, x, state=state))
    assert run(params, X[:, :0]).shape == (2, 0, D)
    alone = nn.mixture_of_experts(D, H, 1, top_k=1)
    params_1, state_1 = alone.init(jax.random.key(0))
    gated = {part: {"kernel": params_1[part][0]} for part in ("gate", "up", "down")}
    single = jax.jit(lambda p, x: alone(p, x, state=state_1))(params_1, X)
    close(single, jax.jit(nn.gated_mlp(D, H, D))(gated, X))
    assert run(bf16(params), bf16(X)).dtype == jnp.bfloat16


def test_a_batch_without_tokens_has_no_loss():
    layer = nn.mixture_of_experts(D, H, EXPERTS)
    params, state = layer.init(jax.random.key(0))
    y, state = layer.apply(params, state, jnp.zeros((0, D)), train=True)
    assert y.shape == (0, D) and state["balance_loss"] == state["z_loss"] == 0


def test_messages():
    with pytest.raises(
        ValueError, match="got capacity_factor=0, expected a positive number. None d"
    ):
        nn.mixture_of_experts(D, H, EXPERTS, capacity_factor=0)
    with pytest.raises(
        ValueError, match="got implementation='fast', expected one of blocks, ragged"
    ):
        nn.mixture_of_experts(D, H, EXPERTS, implementation="fast")
