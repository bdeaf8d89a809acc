"""cached: pieces give what the whole gives, in any network, and the cache keeps the contract."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import bf16, close, moved, numbers

DIM, LENGTH, BATCH = 4, 6, 2


def network(positions, **options):
    block = nn.transformer_block(
        DIM, attn=nn.attention(DIM, 2, causal=True, **options), mlp=nn.mlp(DIM, 8, DIM)
    )
    return nn.serial(positions, blocks=nn.repeat(block, 2), norm=nn.layer_norm(DIM))


NETWORKS = {
    "learned positions": network(nn.learned_positions(LENGTH, DIM)),
    "sinusoids, grouped": network(nn.sinusoidal_positions(DIM), key_heads=1, window=3),
    "rotary": network(jnp.asarray, rotary=nn.rope(2), qk_norm=nn.layer_norm, softcap=3.0),
    "linear biases": network(jnp.asarray, position_bias=nn.alibi(2)),
    "buckets, in blocks": network(
        jnp.asarray,
        position_bias=nn.t5_bias(2, buckets=4, max_distance=4, bidirectional=False),
        sink=nn.attention_sink(2, 2, learned=1),
        implementation="chunked",
    ),
}


def decode(layer, params, state, x, *sizes, **named):
    """x in pieces of these sizes."""
    outputs, at = [], 0
    for size in sizes:
        y, state = layer.apply(params, state, x[:, at : at + size], decode=True, **named)
        outputs.append(y)
        at += size
    return jnp.concatenate(outputs, 1), state


@pytest.mark.parametrize("case", NETWORKS)
def test_pieces_give_what_the_whole_gives(case):
    model = NETWORKS[case]
    params, _ = model.init(jax.random.key(0))
    params, x = moved(params), numbers(BATCH, LENGTH, DIM)
    decoder = nn.cached(model, LENGTH, batch=BATCH)
    same, state = decoder.init(jax.random.key(0))
    assert jax.tree.structure(same) == jax.tree.structure(params)

    @jax.jit
    def all_ways(params, state, x):
        by_one, last = decode(decoder, params, state, x, 3, 1, 1, 1)
        return model(params, x), by_one, decoder(params, x, state=state), last

    whole, by_one, plain, last = all_ways(params, state, x)
    close(by_one, whole, atol=5e-5)  # a norm of four features: in float64, whole is 2e-5 off itself
    close(plain, whole)
    spec = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype, a.weak_type), tree)
    assert spec(last) == spec(state)
    assert jnp.all(last["blocks"]["attn"]["cache"]["length"] == LENGTH)


ATTENTION = nn.attention(DIM, 2, causal=True)
CACHED = nn.cached(ATTENTION, LENGTH, batch=BATCH)
PARAMS, EMPTY = CACHED.init(jax.random.key(0))
step = jax.jit(lambda state, x, mask=None: CACHED.apply(PARAMS, state, x, mask=mask, decode=True))


def test_a_scan_decodes():
    x = numbers(BATCH, LENGTH, DIM)

    @jax.jit
    def scanned(state, x):
        body = lambda state, token: CACHED.apply(PARAMS, state, token, decode=True)[::-1]
        _, y = jax.lax.scan(body, state, jnp.moveaxis(x, 1, 0)[:, :, None])
        return jnp.moveaxis(y[:, :, 0], 0, 1), ATTENTION(PARAMS, x)

    close(*scanned(EMPTY, x), atol=5e-6)


def test_a_mask_hides_left_padding():
    x = numbers(BATCH, 4, DIM)
    mask = jnp.arange(LENGTH) >= jnp.array([[2], [0]])  # [B, S] over the whole cache
    mask = mask[:, None, None]
    state, outputs = EMPTY, []
    for t in range(4):
        y, state = step(state, x[:, t : t + 1], mask)
        outputs.append(y)
    alone = jax.jit(ATTENTION)(PARAMS, x[:1, 2:])
    close(jnp.concatenate(outputs, 1)[:1, 2:], alone, atol=5e-6)


def test_beyond_the_length_all_is_nan():
    x = numbers(BATCH, LENGTH, DIM)
    y, full = step(EMPTY, x)
    assert np.isfinite(y).all()
    assert np.isnan(step(full, x[:, :1])[0]).all()
    _, state = step(EMPTY, x[:, :4])
    assert np.isnan(step(state, x[:, :3])[0]).all()  # a piece that fits in part


def test_a_cache_of_bfloat16_under_float32():
    half = nn.cached(ATTENTION, LENGTH, batch=BATCH, dtype=jnp.bfloat16)
    _, state = half.init(jax.random.key(0))
    assert state["cache"]["key"].dtype == jnp.bfloat16
    x = numbers(BATCH, LENGTH, DIM)
    run = jax.jit(lambda params, x: half.apply(params, state, x, decode=True)[0])
    assert run(PARAMS, x).dtype == jnp.float32 and run(*bf16((PARAMS, x))).dtype == jnp.bfloat16
    close(run(PARAMS, x), jax.jit(ATTENTION)(PARAMS, x), atol=2e-2, rtol=2e-2)


def test_decoding_with_a_context():
    block = nn.decoder_block(DIM, 2, hidden=3)
    decoder = nn.cached(block, LENGTH, batch=BATCH)
    params, state = decoder.init(jax.random.key(0))
    assert set(state) == {"attn"}  # the context is no part of what went before

    @jax.jit
    def both(x, context):
        first, after = decoder.apply(params, state, x[:, :2], context, decode=True)
        then, _ = decoder.apply(params, after, x[:, 2:], context, decode=True)
        return jnp.concatenate([first, then], 1), block(params, x, context)

    close(*both(numbers(BATCH, 3, DIM), numbers(BATCH, 5, DIM, seed=1)), atol=5e-6)


def test_a_rebuilt_decoder_decodes():
    again = nn.map_layers(lambda path, layer: layer.named(layer.name), CACHED)
    x = numbers(BATCH, 2, DIM)
    run = lambda layer: layer.apply(PARAMS, EMPTY, x, decode=True)
    close(jax.jit(lambda: run(again))(), jax.jit(lambda: run(CACHED))())


def test_messages():
    with pytest.raises(
        ValueError, match="cache: kv_cache.*got decode=True in attention that is no"
    ):
        layer = nn.cached(nn.serial(nn.attention(4, 2)), LENGTH)
        layer.apply(layer.init(jax.random.key(0))[0], {}, jnp.ones((2, 4)), decode=True)
    with pytest.raises(ValueError, match=r"got 7 steps, expected at most the cache's length=6"):
        CACHED.apply(PARAMS, EMPTY, jnp.ones((BATCH, 7, DIM)), decode=True)
    with pytest.raises(ValueError, match=r"got length=0, expected at least 1"):
        nn.cached(ATTENTION, 0)
