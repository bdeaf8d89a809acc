"""squared_error: parity with NumPy, no factor of a half, dtypes, refusal to broadcast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax.losses import squared_error
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
