"""Random attention: heads, groups of heads, windows, masks, contexts."""

from typing import Any

import jax.numpy as jnp
from hypothesis import strategies as st

import nnjax as nn
from tests.properties.family import (
    Case,
    Family,
    Mistake,
    batches,
    booleans,
    called,
    flags,
    mistake,
    numbers,
    sizes,
    spec,
)


@st.composite
def masks(draw, shape: tuple[int, ...], least: int = 0) -> tuple[int, ...]:
    """A shape that broadcasts to ``shape``."""
    kept = shape[draw(st.integers(0, len(shape) - least)) :]
    return tuple(draw(st.sampled_from([1, n])) for n in kept)


@st.composite
def attention(draw, plain: bool = False) -> Case:
    """``plain`` leaves out what PyTorch has not: norms, turns, biases by position, sinks."""
    key_heads, group, head_dim = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
        2 * draw(st.integers(1, 2)),
    )
    heads = key_heads * group
    given_dim = draw(flags)
    dim = draw(sizes) if given_dim else heads * head_dim
    cross = draw(st.sampled_from(["self", "context", "values"]))
    settings: dict[str, Any] = {"dim": dim, "heads": heads}
    settings["key_heads"] = key_heads if group > 1 else draw(st.sampled_from([None, key_heads]))
    settings["head_dim"] = head_dim if given_dim else None
    settings["causal"], settings["bias"] = draw(flags), draw(flags)
    settings["window"] = draw(st.none() | st.integers(1, 4))
    settings["softcap"] = draw(st.sampled_from([None, 2.0]))
    settings["implementation"] = draw(st.sampled_from(["auto", "xla", "chunked"]))
    extras, more = {}, st.just(False) if plain else flags
    if draw(more):
        extras["qk_norm"] = nn.rms_norm
    if draw(more):
        extras["rotary"] = nn.rope(head_dim)
    if draw(more):
        extras["position_bias"] = nn.alibi(heads)
    if draw(more):
        extras["sink"] = nn.attention_sink(key_heads, head_dim, learned=1)
    batch, length = draw(batches), draw(sizes)
    inputs, keys = [numbers(*batch, length, dim)], length
    if cross != "self":
        keys = draw(sizes)
        wide, wider = draw(sizes), draw(sizes)
        inputs.append(numbers(*batch, keys, wide, seed=1))
        settings["context_dim"] = wide
        if cross == "values":
            inputs.append(numbers(*batch, keys, wider, seed=2))
            settings["context_dim"] = (wide, wider)
    named: dict[str, Any] = {}
    whole = (*batch, heads, length, keys)
    if draw(flags):
        named["mask"] = booleans(*draw(masks(whole)))
    if draw(flags):
        named["score_bias"] = numbers(*draw(masks(whole)), seed=3)
    layer = nn.attention(**settings, **extras)
    settings |= {"extras": sorted(extras), "cross": cross}
    return Case(layer, tuple(inputs), spec(*batch, length, dim), named, settings)


@st.composite
def additive(draw) -> Case:
    dim, context_dim, hidden, batch = draw(sizes), draw(sizes), draw(sizes), draw(batches)
    length, keys = draw(sizes), draw(sizes)
    named = {"mask": booleans(*draw(masks((*batch, length, keys))))} if draw(flags) else {}
    inputs = numbers(*batch, length, dim), numbers(*batch, keys, context_dim)
    layer = nn.additive_attention(dim, context_dim, hidden)
    return Case(layer, inputs, spec(*batch, length, context_dim), named)


@st.composite
def pooled(draw) -> Case:
    heads = draw(st.integers(1, 3))
    dim, batch, length = heads * draw(st.integers(1, 3)), draw(batches), draw(sizes)
    named = {"mask": booleans(*batch, length)} if draw(flags) else {}
    layer = nn.attention_pool(dim, heads)
    return Case(layer, (numbers(*batch, length, dim),), spec(*batch, dim), named)


@st.composite
def block(draw) -> Case:
    heads = draw(st.integers(1, 2))
    dim, batch, length = heads * draw(st.integers(1, 3)), draw(batches), draw(sizes)
    x = numbers(*batch, length, dim)
    if draw(flags):
        context = numbers(*batch, draw(sizes), draw(sizes))
        layer = nn.decoder_block(dim, heads, context_dim=context.shape[-1], hidden=draw(sizes))
        return Case(layer, (x, context), spec(*x.shape))
    layer = nn.encoder_block(dim, heads, hidden=draw(sizes), causal=draw(flags))
    return Case(layer, (x,), spec(*x.shape))


@st.composite
def mistakes(draw):
    heads, extra, wrong = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(-2, 0))
    dim = 2 * heads
    plain = {"dim": dim, "heads": heads}
    layer, x = nn.attention(**plain), numbers(2, 4, dim)
    named = lambda message, **inputs: Mistake(called(layer, x, **inputs), message, f"{inputs}")
    candidates = [
        mistake(nn.attention, "attention.*: got heads=", **plain | {"dim": dim + 1, "heads": dim}),
        mistake(nn.attention, "attention.*: got heads=", **plain | {"heads": wrong}),
        mistake(nn.attention, "attention.*: got key_heads=", **plain, key_heads=heads + extra),
        mistake(nn.attention, "attention.*: got key_heads=", **plain, key_heads=-extra),
        mistake(nn.attention, "attention.*: got key_heads=", **plain, key_heads=0),
        mistake(nn.attention, "attention.*: got window=", **plain, window=-extra),
        mistake(nn.attention, "attention.*: got window=", **plain, window=0),
        mistake(nn.attention, "attention.*: got head_dim=", **plain, head_dim=wrong),
        mistake(nn.attention, "attention.*: got context_dim=", **plain, context_dim=wrong),
        mistake(nn.attention, "attention.*: got softcap=", **plain, softcap=float(wrong)),
        mistake(nn.attention, "attention.*: got implementation=", **plain, implementation="fast"),
        mistake(nn.attention, "attention.*: got dropout_rate=", **plain, dropout_rate=1.0),
        mistake(nn.attention, "attention.*: got x of shape", numbers(2, 4, dim + extra), **plain),
        mistake(nn.attention, "attention.*: got x of shape", numbers(dim), **plain),
        mistake(nn.attention, "attention.*: got context of", x, numbers(3, 4, dim), **plain),
        named("attention.*: got mask of shape", mask=jnp.ones((4, 4 + extra), bool)),
        named("attention.*: got mask of dtype", mask=jnp.ones((4, 4))),
        named("attention.*: got score_bias of shape", score_bias=jnp.ones((4 + extra, 4))),
        mistake(
            nn.additive_attention, "additive.*: got hidden=", dim=dim, context_dim=1, hidden=wrong
        ),
        mistake(
            nn.attention_pool,
            "attention_pool.*: got mask|attention.*: got heads=",
            x,
            dim=dim + 1,
            heads=dim,
        ),
    ]
    return candidates


FAMILIES = {
    "attention": Family(attention(), mistakes()),
    "attention_parts": Family(additive() | pooled() | block(), mistakes()),
}
