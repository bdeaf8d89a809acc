"""layer_norm and batch_norm: parity with float64 NumPy at large means, statistics, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

MEANS = [0.0, 1e3, 1e4]


def rounding(mean):
    """float32 holds numbers near the mean to 6e-8 of it; so do x - mean and what follows."""
    return 1e-6 + 1e-7 * mean


def np_norm(params, x, mean, var, eps=1e-5):
    return (x - mean) / np.sqrt(var + eps) * params["scale"] + params["bias"]


def np_layer_norm(params, x, eps=1e-5):
    return np_norm(params, x, x.mean(-1, keepdims=True), x.var(-1, keepdims=True), eps)


def np_batch_norm(params, x, eps=1e-5):
    axes = tuple(range(x.ndim - 1))
    return np_norm(params, x, x.mean(axes), x.var(axes), eps)


LAYER_NORM, BATCH_NORM = nn.layer_norm(6), nn.batch_norm(6)
PARAMS = moved(LAYER_NORM.init(jax.random.key(0))[0])
START = BATCH_NORM.init(jax.random.key(0))[1]


@jax.jit  # one program compiles sooner than many
def train_batch(params, x):
    return BATCH_NORM.apply(params, START, x, train=True)


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("batch", [(), (0,), (2, 5)])
def test_layer_norm_parity(mean, batch):
    x = numbers(*batch, 6, mean=mean)
    close(
        jax.jit(LAYER_NORM)(PARAMS, x), np_layer_norm(f64(PARAMS), f64(x)), atol=10 * rounding(mean)
    )


@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_layer_norm_of_small_numbers_is_ruled_by_eps(eps):
    x = numbers(5, 6, scale=1e-3)
    want = np_layer_norm(f64(PARAMS), f64(x), eps)
    close(jax.jit(nn.layer_norm(6, eps=eps))(PARAMS, x), want)


def test_layer_norm_of_a_constant_is_the_bias():
    close(jax.jit(LAYER_NORM)(PARAMS, jnp.full((2, 6), 7.0)), np.tile(f64(PARAMS)["bias"], (2, 1)))


def test_layer_norm_gradients():
    check_gradients(LAYER_NORM, PARAMS, numbers(2, 6))


@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_layer_norm_in_bfloat16_takes_its_statistics_in_float32(mean):
    params, x = bf16((PARAMS, numbers(8, 6, mean=mean)))
    y = jax.jit(LAYER_NORM)(params, x)
    assert y.dtype == jnp.bfloat16
    close(y, np_layer_norm(f64(params), f64(x)), rtol=2.0**-8, atol=rounding(mean))


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("batch", [(9,), (2, 3, 4)])
def test_batch_norm_parity(mean, batch):
    x = numbers(*batch, 6, mean=mean)
    y, state = train_batch(PARAMS, x)
    close(y, np_batch_norm(f64(PARAMS), f64(x)), atol=10 * rounding(mean))
    rows = f64(x).reshape(-1, 6)
    want = {"mean": 0.1 * rows.mean(0), "var": 0.9 + 0.1 * rows.var(0, ddof=1)}
    close(state, want, atol=rounding(mean))


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_batch_norm_running_statistics(decay):
    layer = nn.batch_norm(6, decay=decay, eps=1e-3)
    step = jax.jit(functools.partial(layer.apply, train=True))
    state, want = START, f64(START)
    for seed in range(3):
        x = numbers(5, 6, seed=seed, mean=seed, scale=2.0)
        _, state = step(PARAMS, state, x)
        batch = {"mean": f64(x).mean(0), "var": f64(x).var(0, ddof=1)}
        want = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, want, batch)
    close(state, want)
    x = numbers(4, 6, seed=9)
    y, after = layer.apply(PARAMS, state, x)
    close(y, np_norm(f64(PARAMS), f64(x), want["mean"], want["var"], 1e-3))
    assert all(after[name] is state[name] for name in state)


@pytest.mark.parametrize("batch", [(), (0,), (1,), (3,)])
def test_batch_norm_before_training_lets_x_through(batch):
    x = numbers(*batch, 6, mean=1e4)
    y = BATCH_NORM(PARAMS, x, state=START)
    assert np.isfinite(y).all()
    close(y, np_norm(f64(PARAMS), f64(x), 0, 1))


def test_batch_norm_over_an_axis_is_that_of_the_joint_batch():
    x, dy = numbers(3, 4, 6, mean=10.0), numbers(3, 4, 6, seed=1)
    apart = nn.batch_norm(6, axis_name="copies")

    def split(params, x):
        apply = lambda x: apart.apply(params, START, x, train=True)
        return jax.vmap(apply, axis_name="copies", out_axes=(0, None))(x)

    def joint(params, x):
        return BATCH_NORM.apply(params, START, x, train=True)

    def forward_and_back(f):
        y, pull, state = jax.vjp(f, PARAMS, x, has_aux=True)
        return y, state, pull(dy)

    got, want = jax.jit(lambda: (forward_and_back(split), forward_and_back(joint)))()
    close(got, want, atol=rounding(10))


def test_batch_norm_over_an_axis_may_have_one_example_a_copy():
    apart = nn.batch_norm(6, axis_name="copies")
    x = numbers(4, 1, 6)
    f = jax.vmap(lambda x: apart(PARAMS, x, state=START, train=True), axis_name="copies")
    y = jax.jit(f)(x)
    close(y[:, 0], np_batch_norm(f64(PARAMS), f64(x)[:, 0]))


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_gradients(train):
    # a sine, as the sum of a standardised batch is constant and would hide mistakes
    f = lambda p, x: jnp.sin(BATCH_NORM(p, x, state=START, train=train))
    check_gradients(f, PARAMS, numbers(4, 6), order=2 if train else 1)


def test_no_gradient_flows_through_running_statistics():
    total = lambda x: sum(map(jnp.sum, train_batch(PARAMS, x)[1].values()))
    assert not np.asarray(jax.jit(jax.grad(total))(numbers(9, 6))).any()


def test_batch_norm_in_bfloat16_keeps_statistics_in_float32():
    params, x = bf16((PARAMS, numbers(300, 6, mean=10.0)))
    y, state = train_batch(params, x)
    assert y.dtype == jnp.bfloat16
    assert {a.dtype for a in state.values()} == {jnp.dtype("float32")}
    close(y, np_batch_norm(f64(params), f64(x)), rtol=2.0**-8, atol=rounding(10))
    close(state["mean"], 0.1 * f64(x).mean(0))
    evaluated = BATCH_NORM(params, x, state=state)
    want = np_norm(f64(params), f64(x), f64(state["mean"]), f64(state["var"]))
    close(evaluated, want, rtol=2.0**-8, atol=rounding(10))


def test_messages():
    message = r"batch_norm\(6\): got x of shape \(1, 6\) in training, expected two or more values a"
    with pytest.raises(ValueError, match=message):
        BATCH_NORM(PARAMS, numbers(1, 6), state=START, train=True)
    with pytest.raises(
        ValueError, match=r"batch_norm\(6\): got decay=1.5, expected 0 <= decay <= 1"
    ):
        nn.batch_norm(6, decay=1.5)
    with pytest.raises(
        ValueError, match=r"batch_norm\(6\): got state \[\], expected \['mean', 'var'"
    ):
        BATCH_NORM(PARAMS, numbers(3, 6))
