"""dot_product_attention: zeros where nothing is seen, masks that broadcast, float32 softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from nnjax.ops.attention import dot_product_attention
from tests.numerics import bf16, close, f64, numbers

QUERY, KEY, VALUE = numbers(2, 3, 4, 5), numbers(2, 6, 4, 5, seed=1), numbers(2, 6, 4, 5, seed=2)
attend = jax.jit(dot_product_attention, static_argnames="causal")


def np_attend(query, key, value, sees):
    scores = np.einsum("btnh,bsnh->bnts", query, key) / np.sqrt(query.shape[-1])
    sees = np.broadcast_to(sees, scores.shape)
    scores = np.where(sees, scores, -1e300)
    weights = np.where(sees, scipy.special.softmax(scores, -1), 0)
    return np.einsum("bnts,bsnh->btnh", weights, value)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 6), (2, 1, 1, 6), (1, 4, 3, 6), (2, 4, 3, 6)])
def test_parity(causal, shape):
    mask = np.random.default_rng(0).random(shape) < 0.4
    sees = mask & (np.tri(3, 6, dtype=bool) if causal else True)
    got = attend(QUERY, KEY, VALUE, jnp.asarray(mask), causal=causal)
    close(got, np_attend(f64(QUERY), f64(KEY), f64(VALUE), sees))
    blind = ~np.broadcast_to(sees, (2, 4, 3, 6)).any(-1)
    assert not np.asarray(got).swapaxes(1, 2)[blind].any()  # zeros, not merely small


@pytest.mark.parametrize("causal", [False, True])
def test_parity_without_mask(causal):
    sees = np.tri(3, 6, dtype=bool) if causal else True
    want = np_attend(f64(QUERY), f64(KEY), f64(VALUE), sees)
    close(attend(QUERY, KEY, VALUE, causal=causal), want)


def test_bfloat16_scores_are_float32():
    query, key, value = bf16((100 * QUERY, KEY, VALUE))
    got = attend(query, key, value)
    assert got.dtype == jnp.bfloat16
    # scores of some hundred: in bfloat16 they would be off by a half, weights by as much
    want = np_attend(f64(query), f64(key), f64(value), True)
    close(got, want, rtol=2.0**-6, atol=2.0**-6)  # weights and result are each rounded to 2**-8
