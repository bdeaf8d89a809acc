"""Blocks: the equations of both papers from their parts, dropout, one scan for many blocks."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import close, moved, numbers

X, CONTEXT = numbers(2, 4, 6), numbers(2, 3, 5, seed=1)
CAUSAL = jnp.tril(jnp.ones((4, 4), bool))


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("cross", [False, True])
def test_blocks_are_their_equations(norm_first, cross):
    named = {"hidden": 7, "norm_first": norm_first, "activation": jnp.tanh}
    if cross:
        block = nn.decoder_block(6, 2, context_dim=5, **named)
    else:
        block = nn.encoder_block(6, 2, causal=True, **named)
    params = moved(block.init(jax.random.key(0))[0])
    parts = ("attn", "cross", "mlp") if cross else ("attn", "mlp")
    assert set(params) == {*parts, *(f"{part}_norm" for part in parts)}
    hides = jnp.array([[True, True, False], [True] * 3])[:, None, None]

    def by_hand(p):
        attn, norm = nn.attention(6, 2), nn.layer_norm(6)
        cross_attn = nn.attention(6, 2, context_dim=5)
        layers = {
            "attn": lambda h: attn(p["attn"], h, mask=CAUSAL),
            "cross": lambda h: cross_attn(p["cross"], h, CONTEXT, mask=hides),
            "mlp": lambda h: (
                jnp.tanh(h @ p["mlp"]["linear_0"]["kernel"] + p["mlp"]["linear_0"]["bias"])
                @ p["mlp"]["linear_1"]["kernel"]
                + p["mlp"]["linear_1"]["bias"]
            ),
        }
        x = X
        for part in parts:
            if norm_first:
                x = x + layers[part](norm(p[f"{part}_norm"], x))
            else:
                x = norm(p[f"{part}_norm"], x + layers[part](x))
        return x

    def ours(p):
        return block(p, X, CONTEXT, context_mask=hides) if cross else block(p, X)

    got, want = jax.jit(lambda p: (ours(p), by_hand(p)))(params)
    close(got, want)
    assert np.abs(got - X).max() > 0.1


def test_many_blocks_are_one_scan():
    stack = nn.repeat(nn.encoder_block(6, 2, hidden=7), 3)
    params = moved(stack.init(jax.random.key(0))[0])
    mask = jnp.array([[True, True, True, False], [True] * 4])[:, None, None]

    def loop(p):
        x = X
        for copy in nn.unstack(p):
            x = nn.encoder_block(6, 2, hidden=7)(copy, x, mask=mask)
        return x

    close(*jax.jit(lambda p: (stack(p, X, mask=mask), loop(p)))(params))


def test_dropout_is_on_weights_hidden_units_and_sums():
    block = nn.encoder_block(6, 2, hidden=7, dropout_rate=0.5)
    params = moved(block.init(jax.random.key(0))[0])
    run = jax.jit(lambda key: block(params, X, key=key, train=True))
    assert np.abs(run(jax.random.key(0)) - run(jax.random.key(1))).max() > 0.1
    rbg = jax.random.key(0, impl="rbg")  # draws by a primitive of its own, which shows the shape
    text = str(jax.make_jaxpr(lambda key: block(params, X, key=key, train=True))(rbg))
    drawn = set(re.findall(r"random_bits\[bit_width=32 shape=\(([\d, ]+)\)", text))
    assert drawn == {"2, 2, 1, 4, 4", "2, 4, 7", "2, 4, 6"}  # weights, hidden units, both sums
