"""Initializers: the values of jax.nn.initializers, dtypes, spread, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax import initializers

KEY = jax.random.key(5)
NAMES = {
    "constant": (0.3,),
    "glorot_normal": (),
    "glorot_uniform": (),
    "he_normal": (),
    "he_uniform": (),
    "lecun_normal": (),
    "lecun_uniform": (),
    "normal": (0.02,),
    "orthogonal": (),
    "truncated_normal": (0.02,),
    "uniform": (0.05,),
}


def test_every_initializer_is_here():
    assert set(initializers.__all__) == {*NAMES, "draw", "ones", "variance_scaling", "zeros"}


CONV = ("he_normal", "lecun_uniform", "orthogonal")  # one of each kind: JAX takes 2 s to compile


@pytest.mark.parametrize(
    "name, shape",
    [(name, shape) for name in NAMES for shape in [(1, 1), (9, 4)]]
    + [(name, (3, 2, 4, 6)) for name in CONV],
)
def test_values_are_those_of_jax(name, shape):
    got = getattr(initializers, name)(*NAMES[name])(KEY, shape)
    want = getattr(jax.nn.initializers, name)(*NAMES[name])(KEY, shape)
    assert got.dtype == want.dtype and got.shape == want.shape
    # the uniform ones scale before they shift, not after: an ulp at the limit, more near zero
    atol = 2e-7 * np.abs(want).max() if "uniform" in name else 0
    np.testing.assert_allclose(got, want, rtol=5e-7, atol=atol)  # some four roundings


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", ["truncated_normal", "normal", "uniform"])
def test_variance_scaling_has_the_variance_it_names(mode, distribution):
    shape, fans = (3, 40, 100), {"fan_in": 120, "fan_out": 300, "fan_avg": 210}
    values = initializers.variance_scaling(2.0, mode, distribution)(KEY, shape)
    want = jax.nn.initializers.variance_scaling(2.0, mode, distribution)(KEY, shape)
    np.testing.assert_allclose(values, want, rtol=5e-7, atol=2e-7 * np.abs(want).max())
    # 12000 draws: their variance is off by sqrt(2 / 12000) = 1.3 %, their mean by a hundredth
    np.testing.assert_allclose(np.var(values), 2.0 / fans[mode], rtol=0.05)
    assert abs(np.mean(values)) < 0.04 * np.std(values)


@pytest.mark.parametrize("name", ["zeros", "ones"])
def test_zeros_and_ones(name):
    got = getattr(initializers, name)(KEY, (2, 3), jnp.bfloat16)
    assert got.dtype == jnp.bfloat16
    assert (np.asarray(got) == (name == "ones")).all()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"orthogonal"}))
def test_other_dtypes_are_the_float32_values_rounded(name):
    init = getattr(initializers, name)(*NAMES[name])
    half = init(KEY, (4, 6), jnp.bfloat16)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(half, np.float32), np.asarray(init(KEY, (4, 6))), rtol=2.0**-8
    )


@pytest.mark.parametrize("name", ["lecun_normal", "glorot_uniform"])
def test_jit_makes_the_same(name):
    init = getattr(initializers, name)()
    got = jax.jit(lambda key: init(key, (4, 6)))(KEY)
    np.testing.assert_allclose(got, init(KEY, (4, 6)), rtol=5e-7)


def test_draw_gives_each_entry_a_key_of_its_own():
    shapes = {"kernel": (4, 3), "bias": (3,)}
    got = initializers.draw(
        KEY, shapes, kernel=initializers.he_normal(), bias=initializers.normal()
    )
    assert {name: array.shape for name, array in got.items()} == shapes
    keys = [jax.random.fold_in(KEY, index) for index in range(2)]
    assert (got["kernel"] == initializers.he_normal()(keys[0], (4, 3))).all()
    assert (got["bias"] == initializers.normal()(keys[1], (3,))).all()


def test_messages():
    with pytest.raises(ValueError, match=r"got shape \(3,\), expected \[..., in, out\]"):
        initializers.lecun_normal()(KEY, (3,))
    with pytest.raises(ValueError, match="got mode 'fan', expected 'fan_in', 'fan_out' or 'fan_av"):
        initializers.variance_scaling(1.0, "fan", "normal")  # type: ignore
    with pytest.raises(ValueError, match="got distribution 'cauchy', expected 'truncated_normal'"):
        initializers.variance_scaling(1.0, "fan_in", "cauchy")  # type: ignore
