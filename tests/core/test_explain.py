"""explain: which implementation an operation takes, and where."""

import jax
import jax.numpy as jnp

import nnjax as nn


def test_choices_by_path():
    block = nn.encoder_block(8, 2, causal=True, dropout_rate=0.1)
    model = nn.serial(embed=nn.embedding(5, 8), blocks=nn.repeat(block, 3))
    text = nn.explain(model, jax.ShapeDtypeStruct((2, 256), jnp.int32), train=True)
    assert [line.split() for line in text.splitlines()[2:]] == [
        ["blocks/attn", "attention", "blocks"],
        ["blocks/attn", "mask", "hash"],
        ["blocks/drop", "mask", "hash"],
        ["blocks/mlp/dropout_0", "mask", "hash"],
    ]
    short = nn.explain(model, jax.ShapeDtypeStruct((2, 16), jnp.int32))
    assert [line.split() for line in short.splitlines()[2:]] == [
        ["blocks/attn", "attention", "xla"]
    ]


def test_a_choice_can_be_overridden():
    for way in ("whole", "halves"):
        text = nn.explain(nn.conv(3, 4, 3, implementation=way), (2, 6, 6, 3))
        assert text.splitlines()[2].split() == [".", "conv", way]
    assert "key" in nn.explain(nn.dropout(0.5, generator="key"), (2, 3), train=True)


def test_nothing_to_choose():
    assert nn.explain(nn.linear(3, 4), (2, 3)) == "No choices."
