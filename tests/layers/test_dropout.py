"""dropout: what is kept, how much of it, and when it does nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import close, f64, numbers

KEY = jax.random.key(3)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_kept_and_mean(rate):
    x = jnp.ones((200, 300))
    y = np.asarray(nn.dropout(rate)({}, x, key=KEY, train=True))
    values = np.unique(y)
    np.testing.assert_allclose(values, [0, 1 / (1 - rate)], rtol=1e-6)
    deviation = (rate * (1 - rate) / x.size) ** 0.5  # of the share kept, a binomial mean
    assert abs((y > 0).mean() - (1 - rate)) < 5 * deviation
    assert abs(y.mean() - 1) < 5 * deviation / (1 - rate)


def test_entries_are_dropped_one_by_one():
    kept = np.asarray(nn.dropout(0.5)({}, jnp.ones((64, 64)), key=KEY, train=True)) > 0
    assert 0 < kept.mean(0).min() and kept.mean(0).max() < 1  # neither whole columns
    assert 0 < kept.mean(1).min() and kept.mean(1).max() < 1  # nor whole rows


def test_zero_rate_and_evaluation_hand_the_array_through():
    x = numbers(3, 4)
    assert nn.dropout(0.5)({}, x) is x
    assert nn.dropout(0.5)({}, x, key=KEY) is x
    assert nn.dropout(0.0)({}, x, train=True) is x


def test_the_key_decides_the_mask():
    x, layer = jnp.ones((8, 8)), nn.dropout(0.5)
    masks = [layer({}, x, key=jax.random.key(seed), train=True) for seed in (0, 0, 1)]
    assert (masks[0] == masks[1]).all() and (masks[0] != masks[2]).any()


def test_gradient_is_the_scaled_mask():
    x, dy = numbers(8, 8, mean=3.0), numbers(8, 8, seed=1)
    y, pull = jax.vjp(lambda x: nn.dropout(0.4)({}, x, key=KEY, train=True), x)
    kept = np.asarray(y) != 0
    close(y, np.where(kept, f64(x) / 0.6, 0))
    close(pull(dy)[0], np.where(kept, f64(dy) / 0.6, 0))


def test_dropped_infinities_leave_no_nan():
    x = jnp.full((8, 8), jnp.inf)
    y = nn.dropout(0.5)({}, x, key=KEY, train=True)
    assert ((y == 0) | (y == jnp.inf)).all() and (y == 0).any()


def test_bfloat16():
    x = jnp.ones((8, 8), jnp.bfloat16)
    y = nn.dropout(0.25)({}, x, key=KEY, train=True)
    assert y.dtype == jnp.bfloat16
    close(y, np.where(f64(y) > 0, 4 / 3, 0), rtol=2.0**-8)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_other_rates_are_refused(rate):
    with pytest.raises(ValueError, match=r"dropout\(.*\): got dropout_rate=.*, expected 0 <= rate"):
        nn.dropout(rate)


def test_training_without_a_key_is_refused():
    with pytest.raises(
        ValueError, match=r"dropout\(0.5\): got train=True and no key, expected key="
    ):
        nn.dropout(0.5)({}, jnp.ones(3), train=True)
