"""attention: parity with float64 NumPy under every mask, large scores, gradients, bfloat16."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

DIM, HEADS = 6, 2
LAYER, CAUSAL = nn.attention(DIM, HEADS), nn.attention(DIM, HEADS, causal=True)
PARAMS = moved(LAYER.init(jax.random.key(0))[0])
X = numbers(2, 4, DIM)
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


def np_options(params, x, context, values, heads, key_heads, bias: Any = 0.0):
    """The same with fewer key heads, whose queries are neighbours, and other context features."""
    linear = lambda part, h: h @ params[part]["kernel"] + params[part]["bias"]
    q, k, v = linear("query", x), linear("key", context), linear("value", values)
    cut = lambda h, n: h.reshape(*h.shape[:2], n, -1)
    q, k, v = cut(q, heads), cut(k, key_heads), cut(v, key_heads)
    k, v = (np.repeat(h, heads // key_heads, axis=2) for h in (k, v))
    scores = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(q.shape[-1]) + bias
    weights = scipy.special.softmax(scores, -1)
    return linear(
        "out", np.einsum("bnts,bsnh->btnh", weights, v).reshape(*x.shape[:2], -1)
    ), weights


def test_grouped_heads_of_another_size_over_other_features_with_weights():
    layer = nn.attention(6, 4, key_heads=2, head_dim=3, context_dim=(5, 2))
    params = moved(layer.init(jax.random.key(0))[0])
    assert params["key"]["kernel"].shape == (5, 6) and params["out"]["kernel"].shape == (12, 6)
    inputs = numbers(2, 3, 6), numbers(2, 4, 5, seed=1), numbers(2, 4, 2, seed=2)
    bias = numbers(4, 3, 4, seed=3)
    got = jax.jit(lambda *i: layer(params, *i, score_bias=bias, return_weights=True))(*inputs)
    close(got, np_options(f64(params), *map(f64, inputs), heads=4, key_heads=2, bias=f64(bias)))


def test_key_heads_are_heads_repeated():
    grouped, whole = nn.attention(8, 4, key_heads=2, causal=True), nn.attention(8, 4, causal=True)
    params = moved(grouped.init(jax.random.key(0))[0])

    def repeated(a):
        heads = a.reshape(*a.shape[:-1], 2, 2)
        return jnp.repeat(heads, 2, axis=-2).reshape(*a.shape[:-1], 8)

    more = {part: jax.tree.map(repeated, params[part]) for part in ("key", "value")}
    x = numbers(2, 5, 8)
    close(*jax.jit(lambda p, q: (grouped(p, x), whole(q, x)))(params, {**params, **more}))


@pytest.mark.parametrize("way", ["xla", "chunked"])
def test_positions_shift_nothing_in_rotary_attention(way):
    layer = nn.attention(8, 2, rotary=nn.rope(4), qk_norm=nn.layer_norm, implementation=way)
    params, x = moved(layer.init(jax.random.key(0))[0]), numbers(1, 5, 8)
    run = jax.jit(lambda positions: layer(params, x, positions=positions))
    places = jnp.arange(5)
    close(run(places + 40), run(places), atol=1e-5)
    assert np.abs(run(2 * places) - run(places)).max() > 1e-3


def test_rope_products_depend_on_the_distance_alone():
    q, k = numbers(1, 1, 8), numbers(1, 1, 8, seed=1)
    turn = jax.jit(lambda x, p: nn.rope(8)({}, x, positions=p[None]))
    product = lambda p, s: float((turn(q, jnp.int32(p)) * turn(k, jnp.int32(s))).sum())
    assert product(3, 1) == pytest.approx(product(103, 101), abs=1e-4)
    assert abs(product(3, 1) - product(3, 2)) > 1e-2


def test_linear_biases_and_buckets_add_to_the_scores():
    x = numbers(2, 5, 8)
    away = np.abs(np.arange(5)[:, None] - np.arange(5))
    extra = jnp.asarray(np.tile(np.arange(5, dtype=np.float32), (5, 1)))
    for layer, bias in (
        (
            nn.attention(8, 2, position_bias=nn.alibi(2)),
            lambda p: -np.array([2**-4, 2**-8])[:, None, None] * away,
        ),
        (
            nn.attention(8, 2, position_bias=nn.t5_bias(2, buckets=8, max_distance=5)),
            lambda p: p["position_bias"]["embedding"][
                np.array([0, 1, 2, 2, 3])[away] + 4 * (np.arange(5) > np.arange(5)[:, None])
            ].transpose(2, 0, 1),
        ),
    ):
        params = moved(layer.init(jax.random.key(0))[0])
        want = np_options(f64(params), f64(x), f64(x), f64(x), 2, 2, bias(f64(params)))[0]
        more = np_options(
            f64(params), f64(x), f64(x), f64(x), 2, 2, bias(f64(params)) + f64(extra)
        )[0]
        got = jax.jit(
            lambda p, layer=layer, extra=extra: (layer(p, x), layer(p, x, score_bias=extra))
        )(params)
        close(got, (want, more))


def test_dropout_of_weights_in_training_alone():
    for way in ("xla", "chunked"):
        layer = nn.attention(DIM, HEADS, dropout_rate=0.5, implementation=way)
        run = jax.jit(lambda key, layer=layer: layer(PARAMS, X, key=key, train=True))
        first, second = run(jax.random.key(0)), run(jax.random.key(1))
        assert np.abs(first - second).max() > 1e-2
        close(run(jax.random.key(0)), first)
        close(jax.jit(layer)(PARAMS, X), attend(PARAMS, X))
        still = nn.map_layers(
            lambda path, one: nn.as_layer(lambda x: x) if one.random else one, layer
        )
        close(jax.jit(still)(PARAMS, X), attend(PARAMS, X))


def test_sinks_are_keys_that_all_see():
    layer = nn.attention(
        DIM, HEADS, sink=nn.attention_sink(HEADS, DIM // HEADS, learned=1, zeros=1)
    )
    params = {**PARAMS, "sink": moved(layer.init(jax.random.key(0))[0]["sink"])}
    y, weights = jax.jit(lambda p: layer(p, X, return_weights=True))(params)
    p, size = f64(params), DIM // HEADS
    cut = lambda part: (f64(X) @ p[part]["kernel"] + p[part]["bias"]).reshape(2, 4, HEADS, size)
    further = lambda part: np.concatenate(
        [cut(part), np.tile(p["sink"][part], (2, 1, 1, 1)), np.zeros((2, 1, HEADS, size))], 1
    )
    scores = np.einsum("btnh,bsnh->bnts", cut("query"), further("key")) / np.sqrt(size)
    want = scipy.special.softmax(scores, -1)
    close(weights, want)
    heads = np.einsum("bnts,bsnh->btnh", want, further("value")).reshape(2, 4, DIM)
    close(y, heads @ p["out"]["kernel"] + p["out"]["bias"])


ADDITIVE = nn.additive_attention(3, 5, 4)


def test_additive_attention():
    params = moved(ADDITIVE.init(jax.random.key(0))[0])
    x, context = numbers(2, 3, 3), numbers(2, 6, 5, seed=1)
    mask = some(2, 3, 6)
    mask[0, 1] = False
    got = jax.jit(lambda p, *i: ADDITIVE(p, *i, mask=jnp.asarray(mask), return_weights=True))(
        params, x, context
    )
    p, x, context = f64((params, x, context))
    want, all_weights = np.zeros((2, 3, 5)), np.zeros((2, 3, 6))
    for b, t in np.ndindex(2, 3):
        seen = context[b, mask[b, t]]
        if len(seen):
            hidden = np.tanh(
                x[b, t] @ p["query"]["kernel"] + seen @ p["key"]["kernel"] + p["key"]["bias"]
            )
            weights = scipy.special.softmax(hidden @ p["score"]["kernel"][:, 0])
            want[b, t], all_weights[b, t, mask[b, t]] = weights @ seen, weights
    close(got, (want, all_weights))


@pytest.mark.slow
def test_gradients_of_additive_attention():
    params = moved(ADDITIVE.init(jax.random.key(0))[0])
    mask = jnp.array([[True, False], [False, False]])
    check_gradients(
        lambda *args: ADDITIVE(*args, mask=mask), params, numbers(2, 3), numbers(2, 5, seed=1)
    )


def test_more_messages():
    for make, message in (
        (lambda: nn.attention(8, 4, key_heads=3), "got key_heads=3, expected a divisor of 4"),
        (lambda: nn.attention(8, 4, window=-1), "got window=-1, expected at least 1"),
        (lambda: nn.attention(8, 4, dropout_rate=1.0), "got dropout_rate=1.0, expected 0 <= rate"),
        (
            lambda: nn.attention(8, 4, softcap=1.0, implementation="cudnn"),
            "got implementation='cudn",
        ),
        (
            lambda: LAYER(PARAMS, X, score_bias=jnp.ones((4, 4), int)),
            "got score_bias of dtype int32",
        ),
        (
            lambda: LAYER(PARAMS, X, score_bias=jnp.ones((4, 3))),
            r"got score_bias of shape \(4, 3\)",
        ),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            make()


@pytest.mark.parametrize(
    "settings",
    [
        {"key_heads": 0},
        {"window": 0},
        {"head_dim": 0},
        {"context_dim": 0},
        {"context_dim": (3, 0)},
        {"softcap": 0.0},
        {"implementation": "fast"},
    ],
    ids=str,
)
def test_settings_out_of_range(settings: Any):
    (argument,) = settings
    with pytest.raises(ValueError, match=rf"attention\(4, 2\): got {argument}="):
        nn.attention(4, 2, **settings)
