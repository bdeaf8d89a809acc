"""torch.nn's attention and transformers."""

from typing import Any

import jax
import jax.numpy as jnp
import torch

import nnjax as nn
from benchmarks.conformance.adapters.linear import dense
from benchmarks.conformance.torch_samples import samples
from benchmarks.conformance.twin import Get, NotOurs, Twin, adapter


def seen(hidden: Any) -> Any:
    """PyTorch marks what is hidden, or gives minus infinity there; ours marks what takes part."""
    if hidden is None or hidden.dtype == jnp.bool_:
        return None if hidden is None else ~hidden
    raise NotOurs("a mask of numbers is added to the scores: score_bias of nn.attention")


def joined(hidden: Any, padding: Any, heads: int) -> Any:
    """attn_mask [T, S] or [B N, T, S] and key_padding_mask [..., S] as one mask [..., N, T, S]."""
    mask, keys = seen(hidden), seen(padding)
    if mask is not None and mask.ndim == 3:  # unbatched it is [N, T, S]
        batch = mask.shape[0] // heads
        mask = mask.reshape(batch, heads, *mask.shape[1:]) if batch > 1 else mask
    if keys is not None:
        keys = keys[..., None, None, :]
    if mask is None or keys is None:
        return keys if mask is None else mask
    return mask & keys


def turned(x: Any, batch_first: bool) -> Any:
    """Time first to batch first, and back; an example alone stays."""
    return x if batch_first or x.ndim == 2 else jnp.swapaxes(x, 0, 1)


def theirs(m: Any, layer: nn.Layer, params: Any, **call: Any) -> Twin:
    """A twin whose parameters are PyTorch's own, taken apart inside.

    The bias of the keys moves all scores of a query alike, so its gradient is zero but for
    roundings: compared alone there would be nothing to measure them by.
    """
    names = [name for name, _ in m.named_parameters()]

    def apply(whole, state, *inputs, key=None, train=False, **named):
        return layer.apply(params(whole.__getitem__), state, *inputs, train=train, **named)

    return Twin(
        nn.Layer(layer.init, apply, layer.name),
        lambda get: {name: get(name) for name in names},
        **call,
    )


def attention_params(m: Any, get: Get, prefix: str = "") -> dict[str, Any]:
    size, names = m.embed_dim, ("query", "key", "value")
    if m._qkv_same_embed_dim:
        weight = get(f"{prefix}in_proj_weight")
        weights = [weight[i * size : (i + 1) * size] for i in range(3)]
    else:
        weights = [get(f"{prefix}{p}_proj_weight") for p in "qkv"]
    tree = {name: {"kernel": weight.T} for name, weight in zip(names, weights, strict=True)}
    if m.in_proj_bias is not None:
        bias = get(f"{prefix}in_proj_bias")
        for i, name in enumerate(names):
            tree[name]["bias"] = bias[i * size : (i + 1) * size]
    tree["out"] = dense(get, f"{prefix}out_proj.", bias=m.out_proj.bias is not None)
    if m.bias_k is not None:
        cut = lambda a: a.reshape(1, m.num_heads, m.head_dim)
        sink = {"key": cut(get(f"{prefix}bias_k")), "value": cut(get(f"{prefix}bias_v"))}
        tree["sink"] = sink
    return tree


def of(m: Any) -> nn.Layer:
    learned, zeros = int(m.bias_k is not None), int(m.add_zero_attn)
    sink = None
    if learned + zeros:
        sink = nn.attention_sink(m.num_heads, m.head_dim, learned=learned, zeros=zeros)
    return nn.attention(
        m.embed_dim,
        m.num_heads,
        context_dim=(m.kdim, m.vdim),
        bias=m.in_proj_bias is not None,
        sink=sink,
        dropout_rate=m.dropout,
    )


@adapter("MultiheadAttention")
def multihead_attention(m):
    averaged = []

    def enter(
        query,
        key,
        value,
        key_padding_mask=None,
        need_weights=True,
        attn_mask=None,
        average_attn_weights=True,
        is_causal=False,
    ):
        averaged.append(average_attn_weights)
        inputs = tuple(turned(a, m.batch_first) for a in (query, key, value))
        named: dict[str, Any] = {"return_weights": bool(need_weights)}
        if attn_mask is not None and attn_mask.dtype != jnp.bool_:
            named["score_bias"], attn_mask = attn_mask, None
        mask = joined(attn_mask, key_padding_mask, m.num_heads)
        return inputs, named if mask is None else {**named, "mask": mask}

    def leave(outputs):
        if not isinstance(outputs, tuple):
            return turned(outputs, m.batch_first)
        y, weights = outputs
        weights = weights.mean(-3) if averaged[-1] else weights
        return turned(y, m.batch_first), weights

    return theirs(m, of(m), lambda get: attention_params(m, get), enter=enter, leave=leave)


def norm_params(m: Any, get: Get, prefix: str) -> dict[str, Any]:
    tree = {"scale": get(f"{prefix}weight")}
    return tree if m.bias is None else {**tree, "bias": get(f"{prefix}bias")}


def norm_of(m: Any) -> nn.Layer:
    size, whole = m.normalized_shape[0], nn.layer_norm(m.normalized_shape[0], eps=m.eps)
    if m.bias is not None:
        return whole

    def apply(params, state, x, *, key=None, train=False):
        shift = jnp.zeros(size, params["scale"].dtype)
        return whole.apply({**params, "bias": shift}, state, x)

    return nn.Layer(lambda key: ({"scale": jnp.ones(size)}, {}), apply, "scaled_norm")


def block_of(m: Any, cross: bool) -> nn.Layer:
    """TransformerEncoderLayer, or with cross TransformerDecoderLayer."""
    bias = m.linear1.bias is not None
    sizes = m.linear1.in_features, m.linear1.out_features
    mlp = nn.serial(
        nn.linear(*sizes, bias=bias),
        {torch.nn.functional.relu: jax.nn.relu}.get(m.activation, exact_gelu),
        nn.dropout(m.dropout.p),
        nn.linear(*sizes[::-1], bias=bias),
    )
    return nn.transformer_block(
        sizes[0],
        attn=of(m.self_attn),
        cross=of(m.multihead_attn) if cross else None,
        mlp=mlp,
        norm=lambda dim: norm_of(m.norm1),
        norm_first=m.norm_first,
        dropout_rate=m.dropout1.p,
    )


def exact_gelu(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


def block_params(m: Any, get: Get, cross: bool, prefix: str = "") -> dict[str, Any]:
    bias = m.linear1.bias is not None
    norms = ("attn", "cross", "mlp") if cross else ("attn", "mlp")
    tree: dict[str, Any] = {
        f"{part}_norm": norm_params(m.norm1, get, f"{prefix}norm{i + 1}.")
        for i, part in enumerate(norms)
    }
    tree["attn"] = attention_params(m.self_attn, get, f"{prefix}self_attn.")
    if cross:
        tree["cross"] = attention_params(m.multihead_attn, get, f"{prefix}multihead_attn.")
    linears = {f"linear_{i}": dense(get, f"{prefix}linear{i + 1}.", bias=bias) for i in range(2)}
    return {**tree, "mlp": linears}


def stack_of(m: Any, cross: bool) -> nn.Layer:
    """TransformerEncoder or TransformerDecoder: n blocks as one scan, and a norm if any."""

    def forward(net, *inputs, mask=None, context_mask=None):
        named = {"context_mask": context_mask} if cross else {}
        x = net.blocks(*inputs, mask=mask, **named)
        return net.norm(x)

    blocks = nn.repeat(block_of(m.layers[0], cross), len(m.layers))
    return nn.compose(
        forward, blocks=blocks, norm=nn.serial() if m.norm is None else norm_of(m.norm)
    )


def stack_params(m: Any, get: Get, cross: bool, prefix: str = "") -> dict[str, Any]:
    copies = [
        block_params(layer, get, cross, f"{prefix}layers.{i}.") for i, layer in enumerate(m.layers)
    ]
    tree = {"blocks": nn.stack(copies)}
    return tree if m.norm is None else {**tree, "norm": norm_params(m.norm, get, f"{prefix}norm.")}


def encoder_call(batch_first: bool, heads: int):
    def enter(src, mask=None, src_key_padding_mask=None, is_causal=None, src_mask=None):
        mask = joined(src_mask if mask is None else mask, src_key_padding_mask, heads)
        return (turned(src, batch_first),), {"mask": mask}

    return {"enter": enter, "leave": lambda y: turned(y, batch_first)}


def decoder_call(batch_first: bool, heads: int):
    def enter(
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal=None,
        memory_is_causal=False,
    ):
        masks = {
            "mask": joined(tgt_mask, tgt_key_padding_mask, heads),
            "context_mask": joined(memory_mask, memory_key_padding_mask, heads),
        }
        return (turned(tgt, batch_first), turned(memory, batch_first)), masks

    return {"enter": enter, "leave": lambda y: turned(y, batch_first)}


@adapter("TransformerEncoderLayer")
def encoder_layer(m):
    call = encoder_call(m.self_attn.batch_first, m.self_attn.num_heads)
    return theirs(m, block_of(m, False), lambda get: block_params(m, get, False), **call)


@adapter("TransformerDecoderLayer")
def decoder_layer(m):
    call = decoder_call(m.self_attn.batch_first, m.self_attn.num_heads)
    return theirs(m, block_of(m, True), lambda get: block_params(m, get, True), **call)


@adapter("TransformerEncoder")
def encoder(m):
    attn = m.layers[0].self_attn
    call = encoder_call(attn.batch_first, attn.num_heads)
    return theirs(m, stack_of(m, False), lambda get: stack_params(m, get, False), **call)


@adapter("TransformerDecoder")
def decoder(m):
    attn = m.layers[0].self_attn
    call = decoder_call(attn.batch_first, attn.num_heads)
    return theirs(m, stack_of(m, True), lambda get: stack_params(m, get, True), **call)


@adapter("Transformer")
def transformer(m):
    def forward(net, src, tgt, *, src_mask=None, mask=None, context_mask=None):
        context = net.encoder(src, mask=src_mask)
        return net.decoder(tgt, context, mask=mask, context_mask=context_mask)

    def enter(
        src,
        tgt,
        src_mask=None,
        tgt_mask=None,
        memory_mask=None,
        src_key_padding_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
    ):
        masks = {
            "src_mask": joined(src_mask, src_key_padding_mask, m.nhead),
            "mask": joined(tgt_mask, tgt_key_padding_mask, m.nhead),
            "context_mask": joined(memory_mask, memory_key_padding_mask, m.nhead),
        }
        return (turned(src, m.batch_first), turned(tgt, m.batch_first)), masks

    layer = nn.compose(
        forward, encoder=stack_of(m.encoder, False), decoder=stack_of(m.decoder, True)
    )

    def params(get):
        return {
            "encoder": stack_params(m.encoder, get, False, "encoder."),
            "decoder": stack_params(m.decoder, get, True, "decoder."),
        }

    call = {"enter": enter, "leave": lambda y: turned(y, m.batch_first)}
    return theirs(m, layer, params, **call)


@samples("TransformerDecoder")
def decoders():
    x, memory = torch.randn(2, 5, 8), torch.randn(2, 3, 8)
    hidden = torch.nn.Transformer.generate_square_subsequent_mask(5) < 0
    found = []
    for first in (True, False):
        made = torch.nn.TransformerDecoderLayer(
            8, 2, 12, dropout=0.0, activation="gelu", batch_first=True, norm_first=first
        )
        for norm in (None, torch.nn.LayerNorm(8)):
            found.append((torch.nn.TransformerDecoder(made, 3, norm), (x, memory, hidden)))
    return found
