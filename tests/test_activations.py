"""Activations: values by their definitions, derivatives at kinks, the simplex, discrete choices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import erf, expit, softmax

import nnjax as nn
from nnjax import activations
from tests.numerics import bf16, check_gradients, close, f64, numbers

POINTS = np.linspace(-8, 8, 41, dtype=np.float32)  # every kink of the functions below among them

SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772
np_elu = lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))

DEFINED = {
    "celu": lambda x: np_elu(x, 1.0),
    "elu": lambda x: np_elu(x, 1.0),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "hardshrink": lambda x: x * (np.abs(x) > 0.5),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "identity": lambda x: x,
    "leaky_relu": lambda x: np.maximum(x, 0.01 * x),
    "log_sigmoid": lambda x: np.log(expit(x)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "relu_squared": lambda x: np.maximum(x, 0) ** 2,
    "selu": lambda x: SCALE * np_elu(x, ALPHA),
    "sigmoid": expit,
    "silu": lambda x: x * expit(x),
    "sine": lambda x: np.sin(30 * x),
    "snake": lambda x: x + np.sin(x) ** 2,
    "softshrink": lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
    "soft_sign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x >= 1, x, (x + 1) ** 2 / 4)),
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1),
    "squareplus": lambda x: (x + np.sqrt(x**2 + 4)) / 2,
    "tanh": np.tanh,
    "tanhshrink": lambda x: x - np.tanh(x),
}
AXIS = {"log_softmax", "softmax", "softmin", "sparsemax", "entmax15"}
GATED = {"glu", "reglu", "geglu", "swiglu"}


def test_every_activation_is_here():
    others = {"threshold", "straight_through", "gumbel_softmax"}
    assert set(activations.__all__) == {*DEFINED, *AXIS, *GATED, *others}
    assert set(activations.__all__) <= set(nn.__all__)


@pytest.mark.parametrize("name", DEFINED)
def test_values(name):
    function = jax.jit(getattr(nn, name))
    # sin(30 x) at x = 8 has an argument that float32 rounds by 240 * 6e-8
    close(function(POINTS), DEFINED[name](f64(POINTS)), atol=2e-5 if name == "sine" else 2e-6)
    assert function(bf16(POINTS)).dtype == jnp.bfloat16
    nan, ends = function(jnp.full(1, jnp.nan)), function(jnp.array([-1e4, 1e4]))
    assert jnp.isnan(nan).all() and not jnp.isnan(ends).any()


KINKS = {  # function: {x: PyTorch's derivative there}
    nn.relu: {0: 0},
    nn.relu6: {0: 0, 6: 0, 3: 1},
    nn.hard_tanh: {-1: 0, 1: 0, 0: 1},
    nn.hard_sigmoid: {-3: 0, 3: 0, 0: 1 / 6},
    nn.hard_silu: {-3: 0, 3: 1, 0: 0.5},
    nn.leaky_relu: {0: 0.01},
    nn.relu_squared: {0: 0},
    nn.hardshrink: {-0.5: 0, 0.5: 0, 0: 0, 1: 1},
    nn.softshrink: {-0.5: 0, 0.5: 0, 0: 0, 1: 1, -1: 1},
    nn.elu: {0: 1, -100: 0},
    nn.celu: {0: 1},
    nn.selu: {0: SCALE * ALPHA},
    nn.soft_sign: {0: 1},
}


@pytest.mark.parametrize("function", KINKS, ids=lambda f: f.__name__)
def test_derivatives_at_kinks(function):
    points, want = zip(*KINKS[function].items(), strict=True)
    slope = jax.jit(jax.vmap(jax.grad(function)))(jnp.array(points, jnp.float32))
    close(slope, np.array(want), atol=1e-7)


def test_settings_and_their_kinks():
    x = jnp.array([-2.0, 2.0, 3.0])
    close(nn.threshold(x, 2.0, 10.0), np.array([10.0, 10.0, 3.0]))
    close(jax.grad(lambda x: nn.threshold(x, 2.0, 10.0).sum())(x), np.array([0.0, 0.0, 1.0]))
    close(nn.hard_tanh(x, 0.0, 2.5), np.array([0.0, 2.0, 2.5]))
    close(nn.elu(x, 2.0)[:1], 2 * np.expm1([-2.0]))
    close(nn.celu(x, 2.0)[:1], 2 * np.expm1([-1.0]))
    close(jax.grad(nn.elu)(0.0, 2.0), np.float64(2.0))
    close(jax.grad(nn.celu)(0.0, 2.0), np.float64(1.0))
    close(nn.snake(x, 4.0), f64(x) + np.sin(4 * f64(x)) ** 2 / 4)
    close(nn.gelu(x, approximate=False), f64(x) / 2 * (1 + erf(f64(x) / np.sqrt(2))))


@pytest.mark.parametrize("function", [nn.elu, nn.celu, nn.selu])
def test_the_slope_far_below_zero_keeps_its_precision(function):
    x = jnp.array([-12.0, -6.0])
    want = np.exp(f64(x)) * (SCALE * ALPHA if function is nn.selu else 1.0)
    slope = jax.grad(lambda x: function(x).sum())
    close(slope(x), want, rtol=1e-6, atol=0)  # JAX's own is off by 1e-2 at -12
    close(slope(bf16(x)), want, rtol=2.0**-6, atol=0)  # a few roundings


@pytest.mark.parametrize("name, gate", [
    ("glu", expit),
    ("reglu", DEFINED["relu"]),
    ("geglu", DEFINED["gelu"]),
    ("swiglu", DEFINED["silu"]),
])  # fmt: skip
def test_gated(name, gate):
    x = numbers(3, 4, 6)
    a, b = np.split(f64(x), 2, -1)
    close(getattr(nn, name)(x), a * gate(b))
    a, b = np.split(f64(x), 2, 1)
    close(getattr(nn, name)(x, 1), a * gate(b))
    with pytest.raises(ValueError, match=rf"{name}: got x of shape \(3, 5\), expected an even"):
        getattr(nn, name)(numbers(3, 5))


def np_simplex(row, alpha):
    """The entmax of one row: the threshold tau at which the entries sum to 1, by root finding."""
    power = 1 / (alpha - 1)
    z = (row - row.max()) * (alpha - 1)
    tau = brentq(lambda t: (np.maximum(z - t, 0) ** power).sum() - 1, -1.0, 0.0, xtol=1e-15)
    return np.maximum(z - tau, 0) ** power


ROWS = jnp.stack(list(map(jnp.float32, [
    np.random.default_rng(0).normal(0, 0.3, 7),
    np.random.default_rng(1).normal(0, 3.0, 7),
    np.array([5.0, 5, 5, -5, 4.5, -1e30, 5]),  # ties, and one far below
    np.zeros(7) + 1e4,
    np.array([3.0, 2.0, 1.0, 2.0, -40, 2.5, 1.0]),  # entries exactly at the threshold
])))  # fmt: skip


@pytest.mark.parametrize("function, alpha", [(nn.sparsemax, 2.0), (nn.entmax15, 1.5)])
def test_simplex(function, alpha):
    want = np.stack([np_simplex(row, alpha) for row in f64(ROWS)])
    close(jax.jit(function)(ROWS), want)
    close(function(ROWS.T, 0), want.T)
    masked = function(jnp.array([1.0, -jnp.inf, 0.9]))
    close(masked[jnp.array([0, 2])], np_simplex(np.array([1.0, 0.9]), alpha))
    assert masked[1] == 0
    lone = jnp.full(64, -jnp.inf).at[5].set(2.0)  # tau is where all the masked ones are held
    close(function(lone), np.eye(64)[5], rtol=0, atol=0)
    assert jnp.isnan(function(jnp.full(3, -jnp.inf))).all()  # as of softmax
    assert function(jnp.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("function", [nn.sparsemax, nn.entmax15])
def test_simplex_gradients(function):
    check_gradients(lambda x: jnp.sin(3 * function(x)), ROWS[:2], order=1)
    x = jnp.array([1.0, 0.2, -jnp.inf, -1e30])
    slope = jax.jacrev(function)(x)
    assert jnp.isfinite(slope).all() and not slope[2:].any() and not slope[:, 2:].any()
    close(slope.sum(-1), np.zeros(4))  # moving all entries alike changes nothing


def test_softmin():
    close(nn.softmin(ROWS[:2]), softmax(-f64(ROWS[:2]), -1))
    close(nn.softmin(ROWS[:2], 0), softmax(-f64(ROWS[:2]), 0))


def test_straight_through():
    x = numbers(5, scale=3.0)
    rounded = lambda x: nn.straight_through(jnp.round(x), x**2)
    y, slope = jax.vjp(rounded, x)
    close(y, np.round(f64(x)), rtol=0, atol=0)
    close(slope(jnp.ones(5))[0], 2 * f64(x))
    close(jax.jvp(rounded, (x,), (jnp.ones(5),))[1], 2 * f64(x))
    close(jax.jacfwd(jax.grad(lambda x: rounded(x).sum()))(x), 2 * np.eye(5))
    with pytest.raises(ValueError, match=r"straight_through: got value float32\[5\] and surrogate"):
        nn.straight_through(x, x[:1])


@pytest.mark.parametrize("hard", [False, True])
def test_gumbel_softmax_chooses_with_the_probabilities_of_softmax(hard):
    logits, n = jnp.array([1.0, 0.0, -2.0]), 20_000
    choose = jax.jit(lambda key: nn.gumbel_softmax(jnp.tile(logits, (n, 1)), key, hard=hard))
    y = np.asarray(choose(jax.random.key(0)))
    np.testing.assert_allclose(y.sum(-1), 1, rtol=1e-6)
    share = np.bincount(y.argmax(-1), minlength=3) / n
    # the deviation of a share is at most sqrt(0.25 / n) = 0.0035
    np.testing.assert_allclose(share, softmax(f64(logits)), atol=0.015)
    assert set(np.unique(y)) == {0.0, 1.0} if hard else len(np.unique(y)) > n


def test_gumbel_softmax_temperature_and_gradient():
    logits, key = numbers(4, 3), jax.random.key(1)
    cold = nn.gumbel_softmax(logits, key, temperature=0.01)
    hard = nn.gumbel_softmax(logits, key, hard=True)
    close(cold, hard, atol=1e-3)
    close(nn.gumbel_softmax(logits.T, key, axis=0).sum(0), np.ones(4))
    weigh = lambda hard: lambda z: (nn.gumbel_softmax(z, key, hard=hard) * logits).sum()
    close(jax.grad(weigh(True))(logits), jax.grad(weigh(False))(logits))
    assert nn.gumbel_softmax(bf16(logits), key).dtype == jnp.bfloat16
