"""adaptive_log_softmax: the product of cluster and class, huge inputs, gradients, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

LAYER = nn.adaptive_log_softmax(8, 9, [3, 5], div_value=2.0, bias=True)
PARAMS = moved(LAYER.init(jax.random.key(0))[0])
run = jax.jit(LAYER)


def reference(p, x):
    """Class by class."""
    softmax = lambda z: scipy.special.log_softmax(z, -1)
    head = softmax(x @ p["head"]["kernel"] + p["head"]["bias"])
    tail = [
        softmax(x @ p[t]["down"]["kernel"] @ p[t]["up"]["kernel"]) for t in ("tail_0", "tail_1")
    ]
    columns = [head[..., c] for c in range(3)]
    columns += [head[..., 3] + tail[0][..., c] for c in range(2)]
    columns += [head[..., 4] + tail[1][..., c] for c in range(4)]
    return np.stack(columns, -1)


@pytest.mark.parametrize("shape, scale", [((5, 8), 1.0), ((8,), 1.0), ((0, 8), 1.0), ((5, 8), 1e3)])
def test_parity(shape, scale):
    x = numbers(*shape, scale=scale)
    close(run(PARAMS, x), reference(f64(PARAMS), f64(x)), atol=1e-6 * (1 + scale))


def test_probabilities_sum_to_one_and_projections_narrow():
    close(jnp.exp(run(PARAMS, numbers(5, 8))).sum(-1), np.ones(5))
    shapes = jax.tree.map(jnp.shape, PARAMS)
    assert shapes["tail_0"]["down"]["kernel"] == (8, 4)
    assert shapes["tail_1"]["down"]["kernel"] == (8, 2)


def test_gradients():
    check_gradients(LAYER, PARAMS, numbers(2, 8), order=1)


def test_bfloat16_is_normalised_in_float32():
    got = run(bf16(PARAMS), bf16(numbers(5, 8)))
    assert got.dtype == jnp.bfloat16
    want = reference(f64(bf16(PARAMS)), f64(bf16(numbers(5, 8))))
    close(got, want, rtol=2**-6, atol=2**-5)  # logits of some units are rounded to eight bits


@pytest.mark.parametrize("cutoffs", [[], [0, 3], [5, 3], [3, 9]])
def test_cutoffs_must_rise(cutoffs):
    with pytest.raises(ValueError, match=r"got cutoffs=\[.*\], expected them to rise"):
        nn.adaptive_log_softmax(8, 9, cutoffs)
