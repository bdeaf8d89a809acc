"""Cases: attention, positions, transformer blocks and decoding."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import BATCH, SEQUENCE, Case, call, normal

attention = nn.attention(4, 2, causal=True)
grouped = nn.attention(
    8,
    2,  # heads of four features: the norm of two is all sign
    key_heads=1,
    window=3,
    softcap=5.0,
    qk_norm=nn.layer_norm,
    rotary=nn.rope(4),
    position_bias=nn.t5_bias(2, buckets=4, max_distance=4),
    dropout_rate=0.2,
    implementation="chunked",
)
encoder = nn.encoder_block(4, 2, hidden=6, dropout_rate=0.1)
decoder = nn.decoder_block(4, 2, context_dim=3, hidden=6)
block = nn.transformer_block(8, attn=grouped, mlp=nn.mlp(8, 4, 8))
cached = nn.cached(
    nn.serial(nn.learned_positions(6, 4), nn.encoder_block(4, 2, causal=True)), 6, batch=BATCH
)
additive = nn.additive_attention(4, 3, 5)
PLACES = jnp.tile(jnp.arange(5), (BATCH, 1))
heads = normal(5, 2, 4)


def mistakes(layer, name, *further, at="", size=4):
    wrong = lambda *shape, dtype=float: call(layer, jnp.ones(shape, dtype), *further)
    return {
        "rank": (wrong(size), rf"{name}: got x of shape \({size},\), expected"),
        "size": (wrong(5, size + 1), rf"{name}: got x of shape \(5, {size + 1}\), expected"),
        "dtype": (wrong(5, size, dtype=int), rf"{at or name}: .*got x of dtype int32"),
    }


CASES: dict[str, Case] = {
    "additive_attention": Case(
        additive,
        (*SEQUENCE, normal(7, 3)),
        {
            **mistakes(additive, r"additive_attention\(4, 3, 5\)", jnp.ones((7, 3)), at="query"),
            "context": (
                call(additive, normal(5, 4), jnp.ones((2, 3))),
                r"additive_attention\(4, 3, 5\): got context of shape \(2, 3\), expected \[8, \*",
            ),
        },
    ),
    "attention": Case(
        attention,
        SEQUENCE,
        {
            **mistakes(attention, r"attention\(4, 2\)", at=r"query: linear\(4, 4\)"),
            "mask": (
                call(attention, normal(5, 4), mask=jnp.ones((3, 5), bool)),
                r"attention\(4, 2\): got mask of shape \(3, 5\), expected",
            ),
        },
    ),
    "attention_sink": Case(
        nn.attention(4, 2, sink=nn.attention_sink(2, 2, learned=2)),
        SEQUENCE,
        {
            "none": (
                lambda: nn.attention_sink(2, 2, zeros=0),
                r"attention_sink\(2, 2\): got sinks=0, expected at least 1",
            )
        },
    ),
    "cached": Case(
        cached,
        SEQUENCE,
        {
            **mistakes(cached, r"learned_positions_0: learned_positions\(6, 4\)"),
            "nothing": (
                lambda: nn.cached(nn.linear(2, 2), 3),
                r"cached: got linear\(2, 2\), expected a network with attention in it",
            ),
            "batch": (
                call(cached, normal(5, 4)[:2], decode=True),
                r"cache: kv_cache\(2, 2\): got keys of shape \(2, 5, 2, 2\), expected \[8, \*, 2",
            ),
        },
    ),
    "decoder_block": Case(
        decoder,
        (*SEQUENCE, normal(7, 3)),
        {
            **mistakes(decoder, r"attn_norm: layer_norm\(4\)", jnp.ones((7, 3)))
            | {
                "rank": (
                    call(decoder, jnp.ones(4), jnp.ones((7, 3))),
                    r"attn: attention\(4, 2\): got x of shape \(4,\), expected",
                )
            },
            "context": (
                call(decoder, normal(5, 4)),
                r"transformer_block\(4\): got no context, expected one",
            ),
        },
    ),
    "encoder_block": Case(
        encoder,
        SEQUENCE,
        {
            "rank": (call(encoder, jnp.ones(4)), r"attn: attention\(4, 2\): got x of shape \(4,\)"),
            "size": (
                call(encoder, jnp.ones((5, 5))),
                r"attn_norm: layer_norm\(4\): got x of shape \(5, 5\), expected",
            ),
            "heads": (
                lambda: nn.encoder_block(4, 3),
                r"attention\(4, 3\): got heads=3, expected a divisor of dim=4",
            ),
        },
    ),
    "learned_positions": Case(
        nn.learned_positions(6, 4),
        SEQUENCE,
        {
            **mistakes(nn.learned_positions(6, 4), r"learned_positions\(6, 4\)"),
            "length": (
                call(nn.learned_positions(6, 4), jnp.ones((7, 4))),
                r"learned_positions\(6, 4\): got x of shape \(7, 4\), expected at most 6 positions",
            ),
        },
    ),
    "rope": Case(
        nn.rope(4, scaling=nn.yarn_scaling(4.0, 8)),
        (heads,),
        {
            "rank": (
                call(nn.rope(4), jnp.ones((5, 4))),
                r"rope\(4\): got x of shape \(5, 4\), exp",
            ),
            "size": (
                call(nn.rope(6), heads),
                r"rope\(6\): got x of shape \(8, 5, 2, 4\), expected at least 6 features",
            ),
            "dtype": (
                call(nn.rope(4), jnp.ones((5, 2, 4), int)),
                r"rope\(4\): got x of dtype int32, expected floating",
            ),
            "odd": (lambda: nn.rope(3), r"rope\(3\): got dim=3, expected an even number"),
        },
        named={"positions": PLACES},
    ),
    "sinusoidal_positions": Case(
        nn.sinusoidal_positions(4),
        SEQUENCE,
        mistakes(nn.sinusoidal_positions(4), r"sinusoidal_positions\(4\)"),
    ),
    "t5_bias": Case(
        nn.t5_bias(2, buckets=4, max_distance=6),
        (PLACES, jnp.concatenate([PLACES, PLACES], 1)),
        {
            "dtype": (
                call(nn.t5_bias(2), jnp.ones(3), jnp.arange(3)),
                r"t5_bias\(2\): got queries of dtype float32, expected integer",
            ),
            "buckets": (
                lambda: nn.t5_bias(2, buckets=3),
                r"t5_bias\(2\): got buckets=3 and max_distance=128, expected at least 4 buckets",
            ),
        },
    ),
    "transformer_block": Case(
        block,
        (normal(5, 8),),
        {
            "size": (
                call(block, jnp.ones((5, 5))),
                r"layer_norm\(8\): got x of shape \(5, 5\), expected",
            ),
            "context": (
                call(block, jnp.ones((5, 8)), jnp.ones((5, 8))),
                r"transformer_block\(8\): got a context, expected none",
            ),
        },
    ),
}
