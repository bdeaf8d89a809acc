"""linear_recurrence against a loop in float64 and complex128."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax.ops.linear_recurrence import linear_recurrence
from tests.numerics import check_gradients, close, numbers


def np_recurrence(decay, inputs, initial: Any = None, reverse: Any = False):
    """Steps along axis -2."""
    decay, inputs = np.broadcast_arrays(decay, inputs)
    wide = np.complex128 if np.iscomplexobj(inputs) else np.float64
    h = (
        np.zeros(inputs.shape[:-2] + inputs.shape[-1:], wide)
        if initial is None
        else initial.astype(wide)
    )
    y = np.zeros(inputs.shape, wide)
    steps = range(inputs.shape[-2])
    for t in reversed(steps) if reverse else steps:
        h = y[..., t, :] = decay[..., t, :] * h + inputs[..., t, :]
    return y


def complexes(*shape, seed=0):
    return jax.lax.complex(numbers(*shape, seed=seed), numbers(*shape, seed=seed + 10))


@pytest.mark.parametrize("make", [numbers, complexes])
@pytest.mark.parametrize("reverse", [False, True])
def test_equals_a_loop(make, reverse):
    run = jax.jit(functools.partial(linear_recurrence, reverse=reverse))
    decay, inputs, initial = make(2, 7, 3), make(2, 7, 3, seed=1), make(2, 3, seed=2)
    got = run(decay, inputs, initial)
    want = np_recurrence(*map(np.asarray, (decay, inputs, initial)), reverse=reverse)
    assert got.dtype == inputs.dtype
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_few_steps_and_none(steps):
    inputs = numbers(2, steps, 3)
    got = jax.jit(linear_recurrence)(jnp.float32(0.5), inputs)
    close(got, np_recurrence(np.float64(0.5), np.asarray(inputs)))


def test_the_first_axis_and_one_decay_for_all_steps():
    decay, inputs, initial = numbers(3), numbers(5, 2, 3, seed=1), numbers(2, 3, seed=2)
    got = jax.jit(functools.partial(linear_recurrence, axis=0))(decay, inputs, initial)
    want = np_recurrence(*(np.asarray(a) for a in (decay, inputs.swapaxes(0, 1), initial)))
    close(got, want.swapaxes(0, 1), atol=1e-5)


def test_a_long_memory_neither_grows_nor_fades():
    """The largest product of decays is 0.9999^4096: no step is lost and none counts twice."""
    decay, inputs = jnp.full((4096, 1), 0.9999), jnp.ones((4096, 1))
    got = jax.jit(linear_recurrence)(decay, inputs)
    want = (1 - np.float64(np.float32(0.9999)) ** np.arange(1, 4097)) / (1 - np.float32(0.9999))
    np.testing.assert_allclose(np.asarray(got)[:, 0], want, rtol=2e-4)


def test_decays_of_zero_forget_all_that_was():
    decay = jnp.ones((6, 1)).at[3].set(0)
    got = jax.jit(linear_recurrence)(decay, jnp.ones((6, 1)), jnp.array([10.0]))
    assert got[:, 0].tolist() == [11, 12, 13, 1, 2, 3]


def test_gradients():
    f = lambda a, b, h: jnp.sin(linear_recurrence(a, b, h))
    check_gradients(f, numbers(2, 2), numbers(2, 2, seed=1), numbers(2, seed=2))
