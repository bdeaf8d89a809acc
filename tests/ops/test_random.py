"""Host random numbers are jax.random's: same keys, same bits, with and without jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax.ops import random

SHAPES = [(), (0, 3), (3, 5, 4), (40_000,)]  # the last is drawn in pieces
KEYS = [jax.random.key(0), jax.random.key(2**40 + 7), jax.random.fold_in(jax.random.key(1), 5)]


def ulps(got, want):
    """The largest difference, in units in the last place."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.dtype == want.dtype == np.float32 and got.shape == want.shape
    return (np.abs(got - want) / np.spacing(np.abs(want))).max(initial=0)


@pytest.mark.parametrize("data", [0, 1, 5, 2**32 - 1, np.int32(7), np.uint32(2**31)])
def test_fold_in(data):
    for key in KEYS:
        got, want = random.fold_in(key, data), jax.random.fold_in(key, data)
        assert got.dtype == want.dtype and (got == want).all()


def test_fold_in_takes_traced_keys_and_data():
    f = jax.jit(random.fold_in)
    assert f(KEYS[0], 3) == random.fold_in(KEYS[0], 3) == random.fold_in(KEYS[0], jnp.array(3))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1 / 3, 1 / 3), (5.0, 9.1)])
def test_uniform_agrees_to_the_last_place(shape, bounds):
    for key in KEYS[:2]:
        want = jax.random.uniform(key, shape, minval=bounds[0], maxval=bounds[1])
        spacing = np.spacing(np.float32(max(map(abs, bounds)))) if bounds[0] else 0
        # low + u * (high - low) is rounded once or twice, as XLA's compiler fuses it or not
        np.testing.assert_allclose(random.uniform(key, shape, *bounds), want, rtol=0, atol=spacing)


@pytest.mark.parametrize("shape", SHAPES)
def test_normal_is_within_a_few_ulps(shape):
    for key in KEYS[:2]:
        assert ulps(random.normal(key, shape), jax.random.normal(key, shape)) <= 4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bounds", [(-2.0, 2.0), (-0.5, 3.0)])
def test_truncated_normal_is_within_a_few_ulps(shape, bounds):
    for key in KEYS[:2]:
        got = random.truncated_normal(key, shape, *bounds)
        assert ulps(got, jax.random.truncated_normal(key, bounds[0], bounds[1], shape)) <= 4
        assert ((got > bounds[0]) & (got < bounds[1])).all()


def test_deviations_scale_the_draws():
    want = jax.random.normal(KEYS[0], (3, 5, 4)) * 0.02
    assert ulps(random.normal(KEYS[0], (3, 5, 4), 0.02), want) <= 4
    want = jax.random.truncated_normal(KEYS[0], -2.0, 2.0, (3, 5, 4)) * 0.02
    assert ulps(random.truncated_normal(KEYS[0], (3, 5, 4), -2.0, 2.0, 0.02), want) <= 4


DRAWS = {
    "uniform": lambda key: random.uniform(key, (50,), -1.0, 2.0),
    "normal": lambda key: random.normal(key, (50,)),
    "truncated_normal": lambda key: random.truncated_normal(key, (50,), -2.0, 2.0),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_jit_draws_the_same(draw):
    assert ulps(jax.jit(draw)(KEYS[0]), draw(KEYS[0])) <= 4


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_vmap_draws_the_same(draw):
    keys = jax.random.split(KEYS[0], 2)
    got = jax.vmap(draw)(keys)
    assert max(ulps(g, draw(key)) for g, key in zip(got, keys, strict=True)) <= 4


def test_keys_of_other_kinds_draw_what_jax_draws():
    legacy, rbg = jax.random.PRNGKey(3), jax.random.key(3, impl="rbg")
    for key in (legacy, rbg):
        want = jax.random.normal(key, (5,))
        assert (random.normal(key, (5,)) == want).all()
        folded = random.fold_in(key, 2)
        assert folded.dtype == key.dtype
        assert (folded == jax.random.fold_in(key, 2)).all()


def test_above_the_limit_jax_draws(monkeypatch):
    monkeypatch.setattr(random, "HOST_LIMIT", 49)
    for draw in DRAWS.values():
        assert draw(KEYS[0]).shape == (50,)
    assert (random.normal(KEYS[0], (50,)) == jax.random.normal(KEYS[0], (50,))).all()


def test_follows_the_choice_of_generator():
    with jax.threefry_partitionable(False):
        want = jax.random.normal(KEYS[0], (5,))
        assert (random.normal(KEYS[0], (5,)) == want).all()
    assert (random.normal(KEYS[0], (5,)) != want).any()
