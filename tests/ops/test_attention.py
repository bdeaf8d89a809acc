"""dot_product_attention: zeros where nothing is seen, blocks equal the whole, float32 softmax."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from nnjax.ops.attention import dot_product_attention
from tests.numerics import bf16, check_gradients, close, f64, numbers

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


def np_general(query, key, value, options):
    """One query of one head at a time, by the definition of each option."""
    mask, bias = options.get("mask"), options.get("bias")
    window, softcap, sinks = (options.get(name) for name in ("window", "softcap", "sinks"))
    (b, t, n, h), (s, kv) = query.shape, key.shape[1:3]
    cap = lambda z: z if softcap is None else softcap * np.tanh(z / softcap)
    y = np.zeros_like(query)
    for i, row, head in np.ndindex(b, t, n):
        position, group = row + int(options.get("offset", 0)), head // (n // kv)
        logits, values = [], []
        for column in range(s):
            ahead = column - position
            hidden = (
                mask is not None and not np.broadcast_to(mask, (b, n, t, s))[i, head, row, column]
            )
            if hidden or (options.get("causal") and ahead > 0) or abs(ahead) >= (window or 1e9):
                continue
            z = cap(query[i, row, head] @ key[i, column, group] / np.sqrt(h))
            if isinstance(bias, str):
                z -= (head + 1) * abs(ahead) / 4
            elif bias is not None:
                z += np.broadcast_to(bias, (b, n, t, s))[i, head, row, column]
            logits.append(z)
            values.append(value[i, column, group])
        for further, sunk in zip(*sinks, strict=True) if sinks else ():
            logits.append(cap(query[i, row, head] @ further[group] / np.sqrt(h)))
            values.append(sunk[group])
        if logits:
            y[i, row, head] = scipy.special.softmax(logits) @ np.array(values)
    return y


def slopes(queries, keys):
    away = jnp.abs(keys - queries[:, None]).astype(jnp.float32)
    return -jnp.arange(1.0, 5.0)[:, None, None] * away / 4


MASK = np.random.default_rng(3).random((2, 4, 7, 9)) < 0.4
MASK[1, :, 2] = False
GENERAL: dict[str, dict[str, Any]] = {
    "causal, a row blind": {"causal": True, "mask": MASK},
    "causal window of positions from 2 on": {"causal": True, "window": 3, "offset": np.int32(2)},
    "padding, bias by head, capped": {
        "mask": MASK[:, :1, :1],
        "bias": np.random.default_rng(4).normal(size=(1, 4, 7, 9)).astype(np.float32),
        "softcap": 0.7,
    },
    "linear biases": {"bias": "slopes", "window": 4},
    "sinks": {
        "sinks": (np.asarray(numbers(2, 2, 5, seed=5)), np.asarray(numbers(2, 2, 5, seed=6))),
        "mask": MASK,
    },
    "huge scores": {"scale": 1e4, "causal": True},
    "no queries": {"size": (0, 9)},
    "no keys": {"size": (7, 0)},
}


@pytest.mark.parametrize("case", GENERAL)
def test_blocks_and_the_whole_equal_the_definition(case):
    options = dict(GENERAL[case])
    (t, s), scale = options.pop("size", (7, 9)), options.pop("scale", 1.0)
    query, key, value = (
        numbers(2, t, 4, 5),
        numbers(2, s, 2, 5, seed=1),
        numbers(2, s, 2, 5, seed=2),
    )
    query = scale * query
    arrays = {n: o for n, o in options.items() if not isinstance(o, bool | int | float | str)}
    fixed = {n: o for n, o in options.items() if n not in arrays}
    if fixed.get("bias") == "slopes":
        fixed["bias"] = slopes

    @jax.jit
    def both(query, key, value, arrays):
        results = []
        for way in ("xla", "chunked"):
            named: dict[str, Any] = {**arrays, **fixed, "block": 3, "implementation": way}
            f = functools.partial(dot_product_attention, **named)
            y, pull = jax.vjp(f, query, key, value)
            results.append((y, pull(jnp.cos(y + 1))))
        return results

    whole, blocks = both(query, key, value, jax.tree.map(jnp.asarray, arrays))
    want = np_general(f64(query), f64(key), f64(value), options)
    # float32 rounds scores of 1e4 by 1e-3, which near ties passes on to the weights
    tolerance = {"atol": 2e-3, "rtol": 1e-3} if scale > 1 else {"atol": 2e-6}
    close(whole[0], want, **tolerance)
    close(blocks[0], want, **tolerance)
    if scale == 1:
        close(blocks[1], whole[1], rtol=1e-4, atol=1e-5)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves((whole, blocks)))


SMALL = numbers(1, 3, 2, 3), numbers(1, 5, 1, 3, seed=1), numbers(1, 5, 1, 3, seed=2)
capped = functools.partial(
    dot_product_attention,
    mask=jnp.asarray(MASK[:1, :2, :3, :5]),
    causal=True,
    softcap=2.0,
    block=2,
)


@pytest.mark.slow
def test_derivatives_of_blocks_are_differences():
    check_gradients(functools.partial(capped, implementation="chunked"), *SMALL)


def test_second_derivatives_of_blocks_equal_those_of_the_whole():
    @jax.jit
    def curved(*parts):
        def along(way):
            f = lambda *parts: jnp.sin(capped(*parts, implementation=way)).sum()
            return jax.jvp(jax.grad(f, (0, 1, 2)), parts, parts)

        return along("xla"), along("chunked")

    whole, blocks = curved(*SMALL)
    close(blocks, whole, rtol=1e-4, atol=1e-5)


def test_no_two_blocks_drop_the_same():
    one, ones = jnp.ones((1, 48, 1, 1)), jnp.ones((1, 72, 1, 1))
    f = lambda value, row: dot_product_attention(
        one,
        ones,
        value,
        dropout_rate=0.5,
        dropout_key=jax.random.key(0),
        implementation="chunked",
        block=24,
    )[0, row, 0, 0]
    kept = jax.jit(jax.vmap(jax.grad(f), (None, 0)))(ones, jnp.array([0, 24])).reshape(6, 24)
    assert len({row.tobytes() for row in np.asarray(kept) != 0}) == 6


@pytest.mark.parametrize("way", ["xla", "chunked"])
def test_dropout_leaves_its_share_and_is_unbiased(way):
    ones = jnp.ones((1, 64, 1, 1))
    f = jax.jit(
        lambda key: dot_product_attention(
            ones, ones, ones, dropout_rate=0.25, dropout_key=key, implementation=way, block=24
        )
    )
    y = np.asarray(f(jax.random.key(0))).ravel()
    kept = y * 64 * 0.75  # equal weights: each y counts what was kept of 64 keys
    close(kept, np.round(kept), atol=1e-4)
    assert abs(y.mean() - 1) < 4 * np.sqrt(0.25 / 0.75 / 64**2) and len(set(np.round(kept))) > 5


def test_weights_on_request_are_those_applied():
    f = jax.jit(lambda m: dot_product_attention(QUERY, KEY, VALUE, m, return_weights=True))
    y, weights = f(jnp.asarray(MASK[:, :, :3, :6]))
    assert weights.shape == (2, 4, 3, 6) and not weights[~MASK[:, :, :3, :6]].any()
    close(np.einsum("bnts,bsnh->btnh", weights, VALUE), f64(y))
    close(weights.sum(-1), MASK[:, :, :3, :6].any(-1).astype(float))


def temporary(length, way, block=512, gradient=True, **options):
    """Bytes that the compiled program holds beside its inputs and outputs."""
    spec = jax.ShapeDtypeStruct((1, length, 1, 16), jnp.float32)
    f = lambda *qkv: dot_product_attention(*qkv, implementation=way, block=block, **options)
    g = jax.grad(lambda *qkv: f(*qkv).sum(), (0, 1, 2)) if gradient else f
    analysis = jax.jit(g).lower(spec, spec, spec).compile().memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def test_memory_of_blocks_grows_with_length_alone():
    short, long = (temporary(length, "chunked", 64, causal=True) for length in (512, 1024))
    assert long < 2.2 * short and 4 * long < temporary(1024, "xla")


@pytest.mark.slow
@pytest.mark.parametrize("bias", [None, slopes])
def test_memory_at_8192(bias):
    scores = 4 * 8192**2
    one = lambda q, k: bias(q, k)[:1]
    named = {"causal": True, "bias": bias and one}
    assert temporary(8192, "chunked", gradient=False, **named) < scores / 16
    assert temporary(8192, "chunked", **named) < scores / 8
    assert temporary(8192, "xla", gradient=False, **named) >= scores


def test_auto_takes_blocks_where_scores_would_fill_a_gibibyte():
    spec = jax.ShapeDtypeStruct((1, 2**14, 1, 4), jnp.float32)
    big = jax.make_jaxpr(dot_product_attention)(spec, spec, spec)
    assert "scan" in str(big) and "scan" not in str(jax.make_jaxpr(attend)(QUERY, KEY, VALUE))


def test_what_an_implementation_lacks_is_refused():
    with pytest.raises(ValueError, match="got implementation='cudnn' with softcap, sinks, dropout"):
        dot_product_attention(QUERY, KEY, VALUE, softcap=1.0, implementation="cudnn")
    with pytest.raises(ValueError, match="got implementation='chunked', which never holds"):
        dot_product_attention(QUERY, KEY, VALUE, return_weights=True, implementation="chunked")
