"""Transformer blocks: attention and a small network, each with its norm, around a residual."""

from collections.abc import Callable

import jax

from nnjax.core import Layer, check_positive, compose, serial
from nnjax.core.errors import LayerValueError
from nnjax.layers.attention import attention
from nnjax.layers.dropout import dropout
from nnjax.layers.linear import linear
from nnjax.layers.normalization import layer_norm

Activation = Callable[[jax.Array], jax.Array]


def transformer_block(
    dim: int,
    *,
    attn: Layer,
    mlp: Layer,
    cross: Layer | None = None,
    norm: Callable[[int], Layer] = layer_norm,
    norm_first: bool = True,
    dropout_rate: float = 0.0,
) -> Layer:
    """A block of parts of your own: ``x + drop(part(norm(x)))`` for attn, cross and mlp in turn.

    With ``norm_first=False`` it is ``norm(x + drop(part(x)))``, as in the paper. ``cross`` attends
    to ``context``, the second input.

    Shapes: x [..., T, D] -> y [..., T, D]; context [..., S, C]; mask broadcasts to [..., N, T, T],
        context_mask to [..., N, T, S].
    Dtypes: those of the parts.
    Params: attn_norm, attn, cross_norm, cross, mlp_norm and mlp.
    Raises: ValueError, if there is a context and no cross, or the reverse.
    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.1; norms first: Xiong
        et al. 2020, https://arxiv.org/abs/2002.04745.
    """
    name = f"transformer_block({dim})"
    check_positive(name, dim=dim)

    def forward(net, x, context=None, *, mask=None, context_mask=None):
        if (context is None) != (cross is None):
            given, wanted = ("a", "none") if cross is None else ("no", "one")
            raise LayerValueError(
                f"{name}: got {given} context, expected {wanted}. Its second input is what cross "
                "attends to."
            )

        def add(part, x, *inputs, **named):
            norm, layer = net[f"{part}_norm"], net[part]
            if norm_first:
                return x + net.drop(layer(norm(x), *inputs, **named))
            return norm(x + net.drop(layer(x, *inputs, **named)))

        x = add("attn", x, mask=mask)
        if cross is not None:
            x = add("cross", x, context, mask=context_mask)
        return add("mlp", x)

    parts = {"attn": attn, "cross": cross, "mlp": mlp}
    children = {}
    for part, layer in parts.items():
        if layer is not None:
            children |= {f"{part}_norm": norm(dim), part: layer}
    return compose(forward, name, **children, drop=dropout(dropout_rate))


def encoder_block(
    dim: int,
    heads: int,
    *,
    hidden: int | None = None,
    causal: bool = False,
    activation: Activation = jax.nn.gelu,
    norm: Callable[[int], Layer] = layer_norm,
    norm_first: bool = True,
    bias: bool = True,
    dropout_rate: float = 0.0,
) -> Layer:
    """Self-attention, then ``linear(activation(linear(x)))`` with ``hidden`` units, 4 dim if None.

    With ``causal=True`` it is the block of GPT and other decoders without a context. For grouped
    heads, rotary positions or a gated MLP, give the parts to ``transformer_block``. Dropout is on
    the attention weights, the hidden units and what each part adds.

    Shapes: x [..., T, D] -> y [..., T, D]; mask broadcasts to [..., N, T, T].
    Dtypes: params float32; y has the dtype that x and params share.
    Params: attn_norm, attn, mlp_norm and mlp.
    Raises: ValueError, if heads does not divide dim, or a shape does not fit; TypeError, if x is
        not floating or mask not boolean.
    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.1.
    """
    attn = attention(dim, heads, causal=causal, bias=bias, dropout_rate=dropout_rate)
    block = transformer_block(
        dim,
        attn=attn,
        mlp=_mlp(dim, hidden, activation, bias, dropout_rate),
        norm=norm,
        norm_first=norm_first,
        dropout_rate=dropout_rate,
    )
    return block.named(f"encoder_block({dim}, {heads})")


def decoder_block(
    dim: int,
    heads: int,
    *,
    context_dim: int | None = None,
    hidden: int | None = None,
    causal: bool = True,
    activation: Activation = jax.nn.gelu,
    norm: Callable[[int], Layer] = layer_norm,
    norm_first: bool = True,
    bias: bool = True,
    dropout_rate: float = 0.0,
) -> Layer:
    """Causal self-attention, attention to a context, then ``linear(activation(linear(x)))``.

    The rest is as in ``encoder_block``.

    Shapes: x [..., T, D], context [..., S, context_dim] -> y [..., T, D]; mask broadcasts to
        [..., N, T, T], context_mask to [..., N, T, S].
    Dtypes: params float32; y has the dtype that x, context and params share.
    Params: attn_norm, attn, cross_norm, cross, mlp_norm and mlp.
    Raises: ValueError, if heads does not divide dim, there is no context, or a shape does not fit;
        TypeError, if x is not floating or mask not boolean.
    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.1.
    """
    named = {"bias": bias, "dropout_rate": dropout_rate}
    block = transformer_block(
        dim,
        attn=attention(dim, heads, causal=causal, **named),
        cross=attention(dim, heads, context_dim=context_dim, **named),
        mlp=_mlp(dim, hidden, activation, bias, dropout_rate),
        norm=norm,
        norm_first=norm_first,
        dropout_rate=dropout_rate,
    )
    return block.named(f"decoder_block({dim}, {heads})")


def _mlp(dim, hidden, activation, bias, dropout_rate) -> Layer:
    hidden = 4 * dim if hidden is None else hidden
    first, last = linear(dim, hidden, bias=bias), linear(hidden, dim, bias=bias)
    return serial(first, activation, dropout(dropout_rate), last).named("mlp")
