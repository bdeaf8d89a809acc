"""Recurrent layers against Flax, and where it has none against Keras on JAX: float32, 1e-5.

Outputs and the gradients of parameters and inputs. ``pip install flax keras``, then
``KERAS_BACKEND=jax pytest -m parity tests/parity/test_flax_recurrent.py``.
"""

import importlib
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn

pytestmark = pytest.mark.parity


def numbers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32))


def close(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(b).max(initial=1))


def check(ours, theirs, convert, theirs_params, *inputs):
    """``ours(convert(p), *inputs)`` and ``theirs(p, *inputs)``: same outputs, same gradients."""

    def both(f):
        def total(params, *inputs):
            outputs = f(params, *inputs)
            leaves = jax.tree.leaves(outputs)
            return sum((numbers(*a.shape, seed=9) * a).sum() for a in leaves), outputs

        every = tuple(range(len(inputs) + 1))
        slopes, outputs = jax.jit(jax.grad(total, every, has_aux=True))(theirs_params, *inputs)
        return outputs, slopes

    close(both(lambda p, *x: ours(convert(p), *x)), both(theirs))


def moved(tree):
    leaves, treedef = jax.tree.flatten(tree)
    leaves = [a + 0.3 * numbers(*a.shape, seed=i) for i, a in enumerate(leaves)]
    return jax.tree.unflatten(treedef, leaves)


def flax_cell(make, inputs, carry):
    linen = pytest.importorskip("flax.linen", reason="needs `pip install flax`")
    cell = make(linen)
    params = moved(cell.init(jax.random.key(0), carry, inputs)["params"])
    return params, lambda p, x, carry: cell.apply({"params": p}, carry, x)[::-1]


def test_gru_cell():
    x, h = numbers(3, 5), numbers(3, 4, seed=1)
    params, theirs = flax_cell(lambda linen: linen.GRUCell(4), x, h)
    beside = lambda p, kind, names: jnp.concatenate([p[n][kind] for n in names], -1)

    def convert(p):
        return {
            "kernel": beside(p, "kernel", ("ir", "iz", "in")),
            "recurrent": beside(p, "kernel", ("hr", "hz", "hn")),
            "bias": beside(p, "bias", ("ir", "iz", "in")),
            "recurrent_bias": p["hn"]["bias"],
        }

    check(nn.gru_cell(5, 4), theirs, convert, params, x, h)


@pytest.mark.parametrize(("size", "image"), [((3, 3), (4, 5)), ((3,), (6,))])
def test_conv_lstm_cell(size, image):
    x, h, c = numbers(2, *image, 2), numbers(2, *image, 3, seed=1), numbers(2, *image, 3, seed=2)
    params, theirs = flax_cell(lambda linen: linen.ConvLSTMCell(3, size), x, (c, h))

    def reorder(a, forget=0.0):  # theirs are i, g, f + 1, o, and both convolutions have a bias
        i, g, f, o = jnp.split(a, 4, -1)
        return jnp.concatenate([i, f + forget, g, o], -1)

    def convert(p):
        bias = reorder(p["ih"]["bias"] + p["hh"]["bias"], 1.0)
        return {
            "input": {"kernel": reorder(p["ih"]["kernel"]), "bias": bias},
            "recurrent": {"kernel": reorder(p["hh"]["kernel"])},
        }

    def call(p, x, h, c):
        y, (c, h) = theirs(p, x, (c, h))
        return y, (h, c)

    layer = nn.conv_lstm_cell(2, 3, size)
    check(lambda p, x, h, c: layer(p, x, (h, c)), call, convert, params, x, h, c)


def keras_layer(make, *inputs):
    """A stateless call of a Keras layer: its arrays as a list, and ``f(arrays, *inputs)``."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        keras = importlib.import_module("keras")
    except ImportError:
        pytest.skip("needs `pip install keras`")
    if keras.backend.backend() != "jax":
        pytest.skip("needs KERAS_BACKEND=jax")
    layer = make(keras.layers)
    layer.build(inputs[0].shape)
    params = moved([jnp.asarray(v.value) for v in layer.trainable_variables])
    rest = [v.value for v in layer.non_trainable_variables]
    return params, lambda p, *x: layer.stateless_call(p, rest, *x)[0]


def test_gru_that_resets_before_the_product():
    x = numbers(2, 6, 5)
    make = lambda layers: layers.GRU(4, reset_after=False, return_sequences=True)
    params, theirs = keras_layer(make, x)

    def convert(p):  # theirs are z, r, n
        swap = lambda a: jnp.concatenate([a[..., 4:8], a[..., :4], a[..., 8:]], -1)
        return dict(zip(("kernel", "recurrent", "bias"), map(swap, p), strict=True))

    layer = nn.gru(5, 4, reset_after=False)
    check(lambda p, x: layer(p, x)[0], theirs, convert, params, x)


def test_images_in_time():
    x = numbers(2, 3, 4, 5, 2)
    make = lambda layers: layers.ConvLSTM2D(
        3, 3, padding="same", recurrent_activation="sigmoid", return_sequences=True
    )
    params, theirs = keras_layer(make, x)
    layer = nn.scan_time(nn.conv_lstm_cell(2, 3, 3), time_axis=-4)

    def convert(p):
        kernel, recurrent, bias = p
        return {"input": {"kernel": kernel, "bias": bias}, "recurrent": {"kernel": recurrent}}

    check(lambda p, x: layer(p, x)[0], theirs, convert, params, x)
