"""Layers that add positions, by definition; their own positions, ids beyond the table, messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers


def test_sinusoidal_positions():
    x = numbers(2, 5, 6)
    angles = np.arange(5)[:, None] / 1e4 ** (np.arange(0, 6, 2) / 6)
    waves = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(5, 6)
    run = jax.jit(lambda x, *p: nn.sinusoidal_positions(6)({}, x, positions=p[0] if p else None))
    close(run(x), f64(x) + waves)
    close(
        run(x, jnp.array([[4, 0, 1, 1, 2], [0, 1, 2, 3, 4]])),
        f64(x) + waves[[[4, 0, 1, 1, 2], range(5)]],
    )
    assert run(bf16(x)).dtype == jnp.bfloat16
    assert run(x[:, :0]).shape == (2, 0, 6) and run(x[0]).shape == (5, 6)


def test_learned_positions():
    layer = nn.learned_positions(6, 4)
    params, x = moved(layer.init(jax.random.key(0))[0]), numbers(2, 3, 4)
    table = f64(params["table"]["embedding"])
    run = jax.jit(lambda x, *p: layer(params, x, positions=p[0] if p else None))
    close(run(x), f64(x) + table[:3])
    got = run(x, jnp.array([5, 0, 6]))
    close(got[:, :2], f64(x)[:, :2] + table[[5, 0]])
    assert np.isnan(got[:, 2]).all()  # beyond the table, so that it shows


def test_rope_hands_on_what_is_beyond_its_features():
    x = numbers(2, 5, 3, 8)
    y = jax.jit(lambda x: nn.rope(4, interleaved=True)({}, x))(x)
    assert (np.asarray(y)[..., 4:] == np.asarray(x)[..., 4:]).all()
    assert (np.asarray(y)[:, 0] == np.asarray(x)[:, 0]).all()  # position 0 turns nothing
    close(jnp.linalg.norm(y, axis=-1), f64(jnp.linalg.norm(x, axis=-1)))


@pytest.mark.slow
def test_gradients():
    layer = nn.t5_bias(2, buckets=4, max_distance=4)
    places = jnp.arange(4)
    check_gradients(lambda p: jnp.sin(layer(p, places, places)), layer.init(jax.random.key(0))[0])
    check_gradients(lambda x: jnp.sin(nn.rope(2)({}, x)), numbers(3, 1, 2))


def test_messages():
    with pytest.raises(TypeError, match="got positions of dtype float32, expected integer"):
        nn.rope(2)({}, jnp.ones((3, 1, 2)), positions=jnp.ones(3))
    with pytest.raises(
        ValueError, match=r"got positions of shape \(2, 2\), expected \[3\]|\[4, 3\]"
    ):
        nn.sinusoidal_positions(2)({}, jnp.ones((4, 3, 2)), positions=jnp.ones((2, 2), int))
    with pytest.raises(ValueError, match=r"alibi\(0\): got heads=0, expected at least 1"):
        nn.alibi(0)
