"""prelu, rrelu, maxout: parity with float64 NumPy, gradients, the law of the random slopes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

KEY = jax.random.key(3)


@pytest.mark.parametrize("features", [None, 4])
@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_prelu(features, batch):
    layer, x = nn.prelu(features), numbers(*batch, 4)
    params = moved(layer.init(KEY)[0])
    close(layer(params, x), np.where(f64(x) > 0, f64(x), f64(params)["slope"] * f64(x)))


def test_prelu_begins_at_a_quarter_and_differentiates_to_its_slope_at_zero():
    layer = nn.prelu()
    params, _ = layer.init(KEY)
    assert params["slope"] == 0.25 and params["slope"].shape == ()
    assert jax.grad(layer, 1)(params, 0.0) == 0.25
    check_gradients(nn.prelu(3), {"slope": np.arange(3.0)}, numbers(2, 3))


def test_the_slopes_gradient_is_summed_in_float32():
    x = bf16(-jnp.ones(3000))
    slope = jax.grad(lambda p: nn.prelu()(p, x).sum())({"slope": jnp.bfloat16(0.25)})["slope"]
    close(slope, np.float64(-3000), rtol=2.0**-8)  # a sum in bfloat16 sticks at 256


def test_rrelu_has_the_mean_slope_when_not_training():
    x = numbers(3, 4)
    close(nn.rrelu(0.1, 0.5)({}, x), np.where(f64(x) > 0, f64(x), 0.3 * f64(x)))


def test_rrelu_draws_a_uniform_slope_for_each_entry():
    layer = nn.rrelu(0.1, 0.5)
    slopes = np.asarray(layer({}, jnp.full((100, 100), -1.0), key=KEY, train=True))
    assert -0.5 <= slopes.min() and slopes.max() <= -0.1 and len(np.unique(slopes)) > 9000
    quantiles = np.quantile(-slopes, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quantiles, [0.2, 0.3, 0.4], atol=0.01)  # 1e4 draws: off by 2e-3
    x = numbers(4)
    again = layer({}, x, key=jax.random.key(4), train=True)
    close(again[x > 0], x[x > 0])
    assert (again != layer({}, x, key=KEY, train=True))[x < 0].all()
    assert not nn.rrelu(0.2, 0.2).random


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_maxout(pieces, batch):
    layer, x = nn.maxout(4, 2, pieces=pieces), numbers(*batch, 4)
    params = moved(layer.init(KEY)[0])
    kernel, bias = f64(params)["kernel"], f64(params)["bias"]
    maps = [f64(x) @ kernel[:, k::pieces] + bias[k::pieces] for k in range(pieces)]
    close(layer(params, x), np.maximum.reduce(maps))


def test_maxout_gradients():
    layer = nn.maxout(3, 2)
    check_gradients(layer, moved(layer.init(KEY)[0]), numbers(2, 3))
