"""attention: parity with float64 NumPy under every mask, large scores, gradients, bfloat16."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

DIM, HEADS = 6, 2
LAYER, CAUSAL = nn.attention(DIM, HEADS), nn.attention(DIM, HEADS, causal=True)
PARAMS = moved(LAYER.init(jax.random.key(0))[0])
attend, attend_causally = jax.jit(LAYER), jax.jit(CAUSAL)  # one program compiles sooner than many


def np_attention(params, x, context=None, mask: Any = True, causal=False):
    """x [B, T, D], head by head, one query at a time; a query that sees no key gets zeros."""
    context = x if context is None else context
    linear = lambda part, h: h @ params[part]["kernel"] + params[part].get("bias", 0.0)
    q, k, v = linear("query", x), linear("key", context), linear("value", context)
    mask = np.broadcast_to(mask, (len(x), HEADS, x.shape[1], context.shape[1]))
    size, y = DIM // HEADS, np.zeros_like(x)
    for b, head, t in np.ndindex(*mask.shape[:3]):
        features = slice(head * size, (head + 1) * size)
        sees = mask[b, head, t] & (np.arange(mask.shape[3]) <= t if causal else True)
        if sees.any():
            scores = k[b, sees][:, features] @ q[b, t, features] / np.sqrt(size)
            weights = np.exp(scores - scores.max())
            y[b, t, features] = weights / weights.sum() @ v[b, sees][:, features]
    return linear("out", y)


def some(*shape):
    """A mask, about half of it True."""
    return np.random.default_rng(2).random(shape) < 0.5


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "mask",
    [True, some(4, 4), some(2, 1, 1, 4), some(HEADS, 1, 4), some(2, HEADS, 4, 4), some(4, 1)],
    ids=["none", "T S", "padding", "by head", "all axes", "by query"],
)
def test_self_attention(causal, mask):
    x = numbers(2, 4, DIM)
    named = {} if mask is True else {"mask": jnp.asarray(mask)}
    y = (attend_causally if causal else attend)(PARAMS, x, **named)
    close(y, np_attention(f64(PARAMS), f64(x), mask=mask, causal=causal))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("keys", [1, 3, 7])
def test_cross_attention(causal, keys):
    x, context, mask = numbers(2, 4, DIM), numbers(2, keys, DIM, seed=1), some(2, 1, 4, keys)
    layer = attend_causally if causal else attend
    close(
        layer(PARAMS, x, context, mask=jnp.asarray(mask)),
        np_attention(f64(PARAMS), f64(x), f64(context), mask, causal),
    )


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_any_number_of_batch_axes(batch):
    x, mask = numbers(*batch, 4, DIM), some(4, 4)
    want = np_attention(f64(PARAMS), f64(x).reshape(-1, 4, DIM), mask=mask)
    close(attend(PARAMS, x, mask=jnp.asarray(mask)), want.reshape(x.shape))


def test_without_biases():
    layer = nn.attention(DIM, HEADS, bias=False)
    params, x = layer.init(jax.random.key(0))[0], numbers(2, 4, DIM)
    assert {tuple(p) for p in params.values()} == {("kernel",)}
    close(jax.jit(layer)(params, x), np_attention(f64(params), f64(x)))


def test_the_future_does_not_reach_the_past():
    x = numbers(1, 5, DIM)
    other = np.concatenate([x[:, :3], x[:, 3:] + 1e3], 1)
    y, changed = (np.asarray(attend_causally(PARAMS, x)) for x in (x, other))
    assert (y[:, :3] == changed[:, :3]).all() and (y[:, 3:] != changed[:, 3:]).any()


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 0, 4), (2, 4, 0)], ids=["masked", "T=0", "S=0"])
def test_a_query_that_sees_nothing_gives_the_bias_and_finite_gradients(shape):
    batch, queries, keys = shape
    x, context = numbers(batch, queries, DIM), numbers(batch, keys, DIM, seed=1)
    blind = jnp.zeros((queries, keys), bool)

    @jax.jit
    def f(x, context):
        y, pull = jax.vjp(lambda x, context: LAYER(PARAMS, x, context, mask=blind), x, context)
        return y, *pull(jnp.ones_like(y))

    y, dx, dcontext = map(np.asarray, f(x, context))
    close(y, np.broadcast_to(f64(PARAMS)["out"]["bias"], x.shape))
    assert not dx.any() and not dcontext.any()


@pytest.mark.parametrize("part", ["query", "key"])
def test_scores_in_the_ten_thousands(part):
    params = PARAMS | {part: jax.tree.map(lambda p: 3e4 * p, PARAMS[part])}
    x, mask = numbers(2, 4, DIM), some(2, 1, 1, 4)
    y = attend(params, x, mask=jnp.asarray(mask))
    # float32 rounds scores of 1e4 by 1e-3, which near ties passes on to the weights
    close(y, np_attention(f64(params), f64(x), mask=mask), atol=5e-3)


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_gradients(order):
    mask = jnp.array([[True, False, True], [False] * 3, [True] * 3])
    f = lambda p, x: CAUSAL(p, x, mask=mask)
    # JAX takes the softmax in float32, whatever x is: wide steps, as they divide its rounding
    tolerances = {"eps": 1e-3, "atol": 1e-3, "rtol": 1e-3}
    check_gradients(f, PARAMS, numbers(1, 3, DIM), order=order, **tolerances)


def test_bfloat16_stays_near_float64():  # that its softmax is float32 shows in tests/ops
    params, x = bf16((PARAMS, numbers(2, 4, DIM)))
    y = attend(params, x)
    assert y.dtype == jnp.bfloat16
    # query, key, value, weights, their products and sums: some ten roundings of numbers up to two
    close(y, np_attention(f64(params), f64(x)), rtol=2.0**-6, atol=2.0**-5)


def test_messages():
    with pytest.raises(
        ValueError, match=r"attention\(6, 4\): got heads=4, expected a divisor of dim"
    ):
        nn.attention(6, 4)
    with pytest.raises(
        TypeError, match=r"attention\(6, 2\): got mask of dtype float32, expected bo"
    ):
        LAYER(PARAMS, numbers(4, 6), mask=jnp.ones((4, 4)))
    with pytest.raises(
        ValueError, match=r"got mask of shape \(2, 4\), .* mask\[:, None, None, :\]"
    ):
        LAYER(PARAMS, numbers(2, 4, 6), mask=jnp.ones((2, 4), bool))
    with pytest.raises(
        ValueError, match=r"got context of shape \(3, 4, 6\), expected \[2, \*, 6\]\. Only"
    ):
        LAYER(PARAMS, numbers(2, 4, 6), numbers(3, 4, 6))


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("axes", [2, 3, 4, 5])
def test_a_mask_may_leave_out_any_axis(batch, axes):
    layer = nn.attention(4, 2)
    params, _ = layer.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (*batch, 5, 4))
    full = (*batch, 2, 5, 5)
    shape = (*(n if i % 2 else 1 for i, n in enumerate(full[:-1])), 5)[-axes:]
    mask = jax.random.bernoulli(jax.random.key(2), 0.7, shape)
    expected = layer(params, x, mask=jnp.broadcast_to(mask, full))
    np.testing.assert_allclose(layer(params, x, mask=mask), expected, rtol=1e-6, atol=1e-6)
