"""squared_error: parity with NumPy, no factor of a half, dtypes, refusal to broadcast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax.losses import (
    absolute_percentage_error,
    huber_loss,
    quantile_loss,
    smooth_l1_loss,
    squared_error,
)
from tests.numerics import bf16, check_gradients, close, f64, numbers


@pytest.mark.parametrize("shape", [(), (0, 2), (5,), (5, 3)])
def test_parity(shape):
    predictions, targets = numbers(*shape), numbers(*shape, seed=1)
    close(squared_error(predictions, targets), (f64(predictions) - f64(targets)) ** 2)


def test_gradient_is_twice_the_difference():
    predictions, targets = numbers(5, 3), numbers(5, 3, seed=1)
    got = jax.grad(lambda p: squared_error(p, targets).sum())(predictions)
    close(got, 2 * (f64(predictions) - f64(targets)))
    check_gradients(squared_error, predictions, targets)


def test_bfloat16_is_computed_in_float32():
    predictions, targets = bf16(numbers(5, 3)), np.arange(15).reshape(5, 3)
    got = squared_error(predictions, jnp.asarray(targets))
    assert got.dtype == jnp.float32
    close(got, (f64(predictions) - targets) ** 2)


@pytest.mark.parametrize("shapes", [((5, 1), (5,)), ((5,), (5, 1)), ((5, 3), (1, 3)), ((5,), ())])
def test_shapes_that_merely_broadcast_are_refused(shapes):
    with pytest.raises(ValueError, match=r"squared_error: got targets of shape .*, expected \[5"):
        squared_error(numbers(*shapes[0]), numbers(*shapes[1]))


def test_integer_predictions_are_refused():
    with pytest.raises(TypeError, match="squared_error: got predictions of dtype int32"):
        squared_error(jnp.zeros(3, int), jnp.zeros(3))


def test_smooth_l1_without_beta_is_the_absolute_error():
    predictions, targets = numbers(5, 3), numbers(5, 3, seed=1)
    close(smooth_l1_loss(predictions, targets, beta=0.0), abs(f64(predictions) - f64(targets)))


def test_quantile_is_where_the_loss_is_least():
    targets = numbers(1000)
    candidates = np.linspace(-2, 2, 401, dtype=np.float32)
    at = jax.jit(jax.vmap(lambda c: quantile_loss(jnp.full(1000, c), targets, quantile=0.8).mean()))
    best = candidates[np.argmin(at(jnp.asarray(candidates)))]
    assert abs(best - np.quantile(targets, 0.8)) < 0.02


def test_percentages_of_zero_are_bounded_by_eps():
    close(absolute_percentage_error(jnp.ones(1), jnp.zeros(1), eps=0.5), np.array([2.0]))


@pytest.mark.parametrize(
    "loss, option, message",
    [
        (huber_loss, {"delta": 0.0}, "huber_loss: got delta=0.0, expected above 0"),
        (smooth_l1_loss, {"beta": -1.0}, "smooth_l1_loss: got beta=-1.0, expected 0 or above"),
        (quantile_loss, {"quantile": 90}, r"quantile_loss: got quantile=90, expected inside"),
    ],
)
def test_options_out_of_range_are_refused(loss, option, message):
    with pytest.raises(ValueError, match=message):
        loss(jnp.zeros(3), jnp.zeros(3), **option)


def test_weights_of_size_one_stretch():
    predictions, targets = numbers(2, 3), numbers(2, 3, seed=1)
    values, w = (f64(predictions) - f64(targets)) ** 2, np.array([[1.0], [3.0]], np.float32)
    got = squared_error(predictions, targets, weights=w, reduction="mean")
    close(got, (values * w).sum() / 12)
