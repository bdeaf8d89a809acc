"""Dropout and noise: what is kept, its mean and variance, what is independent, and of what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import close, f64, numbers

KEY = jax.random.key(3)
RBG = jax.random.key(3, impl="rbg")
LAYERS = {
    "dropout": nn.dropout(0.3),
    "alpha": nn.alpha_dropout(0.3),
    "gaussian": nn.gaussian_dropout(0.3),
    "noise": nn.gaussian_noise(0.7),
}


def train(layer, x, key=KEY):
    return np.asarray(jax.jit(lambda x, key: layer({}, x, key=key, train=True))(x, key))


def close_to_mean(sample, mean, deviation):
    """Within five standard errors: a chance of 6e-7 to fail, were the keys not fixed."""
    assert abs(sample.mean() - mean) < 5 * deviation / sample.size**0.5


@pytest.mark.parametrize("key", [KEY, RBG], ids=["threefry", "rbg"])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_share_kept_and_mean(rate, key):
    y = train(nn.dropout(rate), jnp.ones((200, 300)), key)
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)
    deviation = (rate * (1 - rate)) ** 0.5  # of a coin
    close_to_mean(y > 0, 1 - rate, deviation)
    close_to_mean(y, 1, deviation / (1 - rate))


@pytest.mark.parametrize("key", [KEY, RBG], ids=["threefry", "rbg"])
@pytest.mark.parametrize("name", LAYERS)
def test_draws_are_independent(name, key):
    """Between neighbouring features, between examples, and between keys."""
    x = jnp.ones((200, 300))
    y = train(LAYERS[name], x, key)
    other = train(LAYERS[name], x, jax.random.fold_in(key, 1))
    z, w = ((a - a.mean()) / a.std() for a in (y, other))
    for product in (z[:, 1:] * z[:, :-1], z[1:] * z[:-1], z * w, z[:, 150:] * z[:, :150]):
        close_to_mean(product, 0, 1)
    rows, columns = z.mean(1), z.mean(0)  # nor do whole rows or columns move together
    for means, count in ((rows, 300), (columns, 200)):
        square = means**2 * count  # chi-squared of one degree: mean 1, variance 2
        close_to_mean(square, 1, 2**0.5)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_and_variance(rate):
    x = numbers(300, 400)  # a fourth moment of 3, and more after: hence the wide bands
    y = train(nn.alpha_dropout(rate), x)
    limit = -1.0507009873554805 * 1.6732632423543772
    a = ((1 - rate) * (1 + rate * limit**2)) ** -0.5
    dropped = y[np.isclose(y, a * limit - a * rate * limit, rtol=1e-5)]
    close_to_mean(np.isclose(y, a * limit - a * rate * limit, rtol=1e-5), rate, 0.5)
    assert np.ptp(dropped) == 0
    close_to_mean(y, 0, 1)
    close_to_mean((y - y.mean()) ** 2, 1, 5)
    kept = np.isclose(y, a * (f64(x) - rate * limit), rtol=1e-5, atol=1e-6)
    assert (kept | np.isclose(y, dropped[0])).all()


def test_gaussian_dropout_has_the_moments_of_dropout():
    x = numbers(300, 400, mean=2.0)
    factor = train(nn.gaussian_dropout(0.2), x) / f64(x)
    factor = factor[np.abs(f64(x)) > 0.1]  # float32 knows a factor of a small x less well
    close_to_mean(factor, 1, 0.5)
    close_to_mean((factor - 1) ** 2, 0.25, 0.25 * 2**0.5)
    close_to_mean(((factor - 1) / 0.5) ** 4, 3, 96**0.5)  # it is normal


def test_gaussian_noise():
    x = numbers(300, 400, mean=2.0)
    noise = (train(nn.gaussian_noise(0.3), x) - f64(x)) / 0.3
    close_to_mean(noise, 0, 1)
    close_to_mean(noise**2, 1, 2**0.5)
    close_to_mean(noise**4, 3, 96**0.5)
    with pytest.raises(ValueError, match=r"gaussian_noise\(-1\): got stddev=-1, expected at least"):
        nn.gaussian_noise(-1)


@pytest.mark.parametrize("make", [nn.dropout, nn.alpha_dropout])
@pytest.mark.parametrize("axes", [(-3, -2), (1, 2), (-1,), (0,)])
def test_broadcast_axes_share_their_draws(make, axes):
    x = jnp.ones((40, 5, 6, 50))
    y = train(make(0.3, broadcast_axes=axes), x)
    whole = y == y.max()
    positive = tuple(axis % 4 for axis in axes)
    assert (whole.all(positive) | ~whole.any(positive)).all()
    drawn = whole.all(positive)
    close_to_mean(drawn, 0.7, 0.46)
    for axis in range(drawn.ndim):  # the other axes draw their own
        assert not (drawn.all(axis) | ~drawn.any(axis)).all()


@pytest.mark.parametrize("batch_axes", [0, 1, 2])
def test_stochastic_depth_keeps_or_drops_examples(batch_axes):
    x = jnp.ones((60, 50, 3, 2))
    y = train(nn.stochastic_depth(0.4, batch_axes=batch_axes), x)
    inner = tuple(range(batch_axes, 4))
    assert (y.max(inner) == y.min(inner)).all()
    kept = y.max(inner) > 0
    np.testing.assert_allclose(y[y > 0], 1 / 0.6, rtol=1e-6)
    close_to_mean(kept, 0.6, 0.49)
    assert batch_axes == 0 or 0 < kept.mean() < 1
    keys = map(jax.random.key, range(8))
    several = [train(nn.stochastic_depth(0.4, batch_axes=0), x[:2], key).max() > 0 for key in keys]
    assert {*map(bool, several)} == {True, False}


def np_blocks(dropped, window):
    """Every dropped entry lies in a whole dropped window: opening changes nothing."""
    opened = np.zeros_like(dropped)
    h, w = window
    for i in range(dropped.shape[1] - h + 1):
        for j in range(dropped.shape[2] - w + 1):
            part = dropped[:, i : i + h, j : j + w].all((1, 2), keepdims=True)
            opened[:, i : i + h, j : j + w] |= part
    return opened


@pytest.mark.parametrize("window", [(1, 1), (3, 3), (2, 4)])
def test_drop_block(window):
    x = jnp.ones((50, 12, 10, 20))
    y = train(nn.drop_block(0.1, window), x)
    dropped = y == 0
    np.testing.assert_array_equal(np_blocks(dropped, window), dropped)
    assert 0.08 < dropped.mean() < 0.105  # overlaps take a little from 0.1
    # what is left of each example has the sum that it had
    np.testing.assert_allclose(y.sum((1, 2, 3)), 12 * 10 * 20, rtol=1e-5)
    for example in y:
        assert np.unique(example[example > 0]).size == 1
    corners = dropped[:, [0, 0, -1, -1], [0, -1, 0, -1]].mean((0, 2))
    assert (corners > 0).all()  # blocks reach every corner
    assert not (dropped[0] == dropped[1]).all() and not (dropped[..., 0] == dropped[..., 1]).all()


def test_drop_block_that_drops_all_is_zero():
    y = train(nn.drop_block(0.999, (2,)), jnp.ones((3, 2, 1)))
    assert np.isfinite(y).all() and (y == 0).any()


@pytest.mark.parametrize(
    "make",
    [nn.dropout, nn.alpha_dropout, nn.gaussian_dropout, nn.gaussian_noise, nn.stochastic_depth],
)
def test_zero_rate_and_evaluation_hand_the_array_through(make):
    x = numbers(3, 4)
    assert make(0.5)({}, x) is x
    assert make(0.5)({}, x, key=KEY) is x
    assert make(0.0)({}, x, train=True) is x


def test_the_key_decides_the_mask():
    x, layer = jnp.ones((8, 8)), nn.dropout(0.5)
    masks = [layer({}, x, key=jax.random.key(seed), train=True) for seed in (0, 0, 1)]
    assert (masks[0] == masks[1]).all() and (masks[0] != masks[2]).any()


@pytest.mark.parametrize("key", [KEY, RBG], ids=["threefry", "rbg"])
def test_another_generator_works_throughout_a_network(key):
    """In serial, repeat and ensemble, which derive keys, no two dropouts share a mask."""
    drop = nn.dropout(0.5)
    nets = nn.serial(drop), nn.parallel(drop, drop), nn.ensemble(drop, 2), nn.repeat(drop, 1)
    x = jnp.ones((8, 16))
    run = jax.jit(lambda key: [net({}, x, key=key, train=True) for net in nets])
    alone, pair, group, once = run(key)
    for a in (alone, *pair, *group, once):
        assert set(np.unique(a)) == {0.0, 2.0}
    assert not np.array_equal(pair[0], pair[1]) and not np.array_equal(group[0], group[1])
    params, _ = nn.linear(3, 2).init(key)
    assert np.isfinite(params["kernel"]).all()


def test_gradient_is_the_scaled_mask():
    x, dy = numbers(8, 8, mean=3.0), numbers(8, 8, seed=1)
    y, pull = jax.vjp(lambda x: nn.dropout(0.4)({}, x, key=KEY, train=True), x)
    kept = np.asarray(y) != 0
    close(y, np.where(kept, f64(x) / 0.6, 0))
    close(pull(dy)[0], np.where(kept, f64(dy) / 0.6, 0))


def test_dropped_infinities_leave_no_nan():
    x = jnp.full((8, 8), jnp.inf)
    for layer in (nn.dropout(0.5), nn.alpha_dropout(0.5), nn.stochastic_depth(0.5)):
        y = train(layer, x)
        assert ((y == y.min()) | (y == jnp.inf)).all() and np.isfinite(y).any()


@pytest.mark.parametrize("name", LAYERS)
def test_bfloat16(name):
    x = numbers(40, 50, mean=3.0).astype(jnp.bfloat16)
    y = train(LAYERS[name], x)
    assert y.dtype == jnp.bfloat16
    close(y, train(LAYERS[name], x.astype(jnp.float32)), rtol=2.0**-8)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_nothing_to_drop(shape):
    for layer in LAYERS.values():
        assert train(layer, jnp.ones(shape)).shape == shape


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_other_rates_are_refused(rate):
    with pytest.raises(ValueError, match=r"dropout\(.*\): got dropout_rate=.*, expected 0 <= rate"):
        nn.dropout(rate)


def test_training_without_a_key_is_refused():
    with pytest.raises(
        ValueError, match=r"dropout\(0.5\): got train=True and no key, expected key="
    ):
        nn.dropout(0.5)({}, jnp.ones(3), train=True)
