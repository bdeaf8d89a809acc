"""widen: float32 or wider, under strict and standard promotion alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax.ops.precision import widen


@pytest.mark.parametrize("mode", ["strict", "standard"])
@pytest.mark.parametrize(
    "dtype, want",
    [
        (jnp.bfloat16, jnp.float32),
        (jnp.float16, jnp.float32),
        (jnp.float8_e4m3fn, jnp.float32),
        (jnp.float32, jnp.float32),
        (jnp.float64, jnp.float64),
        (jnp.complex64, jnp.complex64),
        (jnp.int32, jnp.float32),
        (jnp.bool_, jnp.float32),
    ],
)
def test_dtypes(mode, dtype, want):
    with jax.numpy_dtype_promotion(mode), jax.enable_x64(True):
        assert widen(np.ones(3, dtype)).dtype == want
        assert jax.jit(widen)(jnp.ones(3, dtype)).dtype == want


def test_a_wide_array_is_handed_through():
    x = jnp.ones(3)
    assert widen(x) is x
