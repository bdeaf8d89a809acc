"""Attention: multi-head, to itself and to a context, and additive."""

import math
from collections.abc import Callable
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.core import (
    Layer,
    check_choice,
    check_dtype,
    check_entries,
    check_floating,
    check_positive,
    check_rate,
    check_shape,
    compose,
)
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, normal
from nnjax.layers.cache import kv_cache
from nnjax.layers.linear import linear
from nnjax.ops.attention import Implementation, dot_product_attention
from nnjax.ops.precision import widen
from nnjax.ops.random import fold_in

Part = Layer | Callable[..., jax.Array]


def attention(
    dim: int,
    heads: int,
    *,
    key_heads: int | None = None,
    head_dim: int | None = None,
    context_dim: int | tuple[int, int] | None = None,
    causal: bool = False,
    window: int | None = None,
    softcap: float | None = None,
    bias: bool = True,
    qk_norm: Callable[[int], Layer] | None = None,
    rotary: Part | None = None,
    position_bias: Part | None = None,
    sink: Layer | None = None,
    dropout_rate: float = 0.0,
    implementation: Implementation = "auto",
) -> Layer:
    """Multi-head attention: ``out(concat_heads(softmax(q k^T / sqrt(head_dim)) v))``.

    ``layer(params, x)`` attends from x to itself, ``layer(params, x, context)`` from x to context,
    ``layer(params, x, context, values)`` takes the values from elsewhere. ``score_bias`` is added
    to the scores; with ``return_weights=True`` the outputs are y and the weights.

    key_heads: fewer heads of keys and values, each read by heads / key_heads queries; 1 is
        multi-query attention.
    head_dim: features of a head, if not dim / heads.
    context_dim: features of context, or of context and values, if not dim.
    causal, window: a query sees no later key, and none ``window`` or more steps away.
    softcap: scores become ``softcap * tanh(scores / softcap)``.
    bias: whether query, key, value and out have one.
    qk_norm: makes a norm for queries and one for keys, over a head's features: ``nn.layer_norm``.
    rotary: turns queries and keys by their ``positions``: ``nn.rope(head_dim)``.
    position_bias: what positions add to the scores: ``nn.alibi(heads)``, ``nn.t5_bias(heads)``.
    sink: keys that every query sees: ``nn.attention_sink(key_heads, head_dim)``.
    dropout_rate: of the weights, in training.
    implementation: "xla", "blocks" (of causal queries, each with the keys it may see), "chunked"
        (no memory that grows with T S, forward or backward), "cudnn", or "auto"; see
        ``nnjax.ops.attention``.

    Shapes: x [..., T, D] -> y [..., T, D], weights [..., N, T, S], those of a sink last; context,
        values [..., S, D]; mask and score_bias broadcast to [..., N, T, S]: [T, S] serves all
        examples and heads, [B, 1, 1, S] marks padding; positions [T] or [..., T].
    Dtypes: params float32; scores and softmax in float32 or wider; mask boolean, True = takes part;
        a query that sees nothing yields what ``out`` makes of zeros.
    State: none; in ``cached``, cache/key, cache/value and cache/length.
    Params: query, key, value and out, each a linear; those of the norms, position_bias and sink.
    Raises: ValueError, if heads does not divide dim, key_heads not heads, a setting is not above 0,
        or a shape does not fit; TypeError, if x is not floating or mask not boolean.
    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2; key_heads: Ainslie
        et al. 2023, https://arxiv.org/abs/2305.13245; window: Beltagy et al. 2020,
        https://arxiv.org/abs/2004.05150; softcap: Gemma 2, https://arxiv.org/abs/2408.00118;
        qk_norm: Dehghani et al. 2023, https://arxiv.org/abs/2302.05442.
    """
    name = f"attention({dim}, {heads})"
    key_heads = heads if key_heads is None else key_heads
    key_dim, value_dim = context_dim if isinstance(context_dim, tuple) else (context_dim,) * 2
    key_dim, value_dim = (dim if size is None else size for size in (key_dim, value_dim))
    check_positive(name, dim=dim, heads=heads, key_heads=key_heads)
    check_positive(name, context_dim=key_dim)
    check_positive(name, context_dim=value_dim)
    check_positive(name, head_dim=1 if head_dim is None else head_dim)
    check_positive(name, window=1 if window is None else window)
    check_rate(name, dropout_rate)
    if softcap is not None and not softcap > 0:
        fix = "Leave it out to have none."
        raise LayerValueError(f"{name}: got softcap={softcap}, expected above 0. {fix}")
    check_choice(name, "implementation", implementation, get_args(Implementation))
    if head_dim is None and dim % heads:
        raise LayerValueError(f"{name}: got heads={heads}, expected a divisor of dim={dim}.")
    if heads % key_heads:
        raise LayerValueError(f"{name}: got key_heads={key_heads}, expected a divisor of {heads}.")
    if implementation == "cudnn" and (softcap or sink or dropout_rate):
        raise LayerValueError(
            f"{name}: got implementation='cudnn' with softcap, sink or dropout_rate, which the "
            "fused kernel does not have. Use 'auto' or 'chunked'."
        )
    size = dim // heads if head_dim is None else head_dim

    def forward(
        net,
        x,
        context=None,
        values=None,
        *,
        mask=None,
        score_bias=None,
        positions=None,
        return_weights=False,
    ):
        to_itself = context is None
        context = x if context is None else context
        values = context if values is None else values
        check_shape(name, "x", x, (..., None, dim))
        *batch, length, _ = x.shape
        fix = "Only its length may differ from x."
        check_shape(name, "context", context, (*batch, None, key_dim), fix)
        check_shape(name, "values", values, (*batch, context.shape[-2], value_dim))

        def split(h):  # [..., T, N * H] -> [..., T, N, H]
            return h.reshape(*h.shape[:-1], h.shape[-1] // size, size)

        q, k, v = split(net.query(x)), split(net.key(context)), split(net.value(values))
        if qk_norm is not None:
            q, k = net.query_norm(q), net.key_norm(k)
        start = net.cache() if to_itself else None
        if rotary is not None:
            if positions is None:
                positions = _count(start, length)
            q = net.rotary(q, positions=positions)
            k = net.rotary(k, positions=positions if to_itself else _count(None, k.shape[-3]))
        if to_itself:
            k, v = net.cache(k, v)

        shape = (*batch, heads, length, k.shape[-3])
        if mask is not None:
            fix = "Make it boolean, with True where a key takes part."
            check_dtype(name, "mask", mask, jnp.bool_, fix)
            mask = _expand(name, "mask", mask, shape)
        if score_bias is not None:
            check_floating(name, "score_bias", score_bias)
            score_bias = _expand(name, "score_bias", score_bias, shape)
        if position_bias is not None:
            bias = net.position_bias
            if score_bias is not None:  # as large as the scores, so theirs may be too
                here = bias(_count(start, length), _count(None, shape[-1]))
                bias = score_bias + here.astype(score_bias.dtype)
            score_bias = bias
        flat = lambda h: h.reshape(math.prod(batch), *h.shape[-3:])
        y = dot_product_attention(
            flat(q),
            flat(k),
            flat(v),
            mask,
            bias=score_bias,
            causal=causal,
            window=window,
            offset=start,
            softcap=softcap,
            sinks=None if sink is None else net.sink(),
            dropout_rate=dropout_rate,
            dropout_key=net.drop(None),
            return_weights=return_weights,
            implementation=implementation,
        )
        y, weights = y if return_weights else (y, None)
        y = net.out(y.reshape(*batch, length, heads * size))
        if weights is None:
            return y
        return y, weights.reshape(*batch, *weights.shape[1:])

    parts: dict[str, Part] = {
        "query": linear(dim, heads * size, bias=bias),
        "key": linear(key_dim, key_heads * size, bias=bias),
        "value": linear(value_dim, key_heads * size, bias=bias),
        "out": linear(heads * size, dim, bias=bias),
        "cache": kv_cache(key_heads, size, causal=causal),
        "drop": _key_of_dropout(dropout_rate),
    }
    if qk_norm is not None:
        parts |= {"query_norm": qk_norm(size), "key_norm": qk_norm(size)}
    given = {"rotary": rotary, "position_bias": position_bias, "sink": sink}
    parts |= {part: layer for part, layer in given.items() if layer is not None}
    return compose(forward, name, **parts)


def attention_sink(
    key_heads: int,
    head_dim: int,
    *,
    learned: int = 0,
    zeros: int = 1,
    init: Initializer = normal(stddev=0.02),
) -> Layer:
    """Keys and values that every query sees beside the others: ``learned`` ones, then zeros.

    For ``attention(..., sink=attention_sink(key_heads, head_dim))``. One key and value of zeros
    adds 1 to the sum that the softmax divides by, so a head may attend to nothing much.

    Shapes: no inputs -> key, value [learned + zeros, K, D]; the params key, value [learned, K, D].
    Dtypes: params and outputs float32.
    Raises: ValueError, if there is neither a learned nor a zero one.
    Source: learned: Sukhbaatar et al. 2019, https://arxiv.org/abs/1907.01470, section 3; both are
        the add_bias_kv and add_zero_attn of PyTorch.
    """
    name = f"attention_sink({key_heads}, {head_dim})"
    check_positive(name, key_heads=key_heads, head_dim=head_dim, sinks=learned + zeros)
    shape = (learned, key_heads, head_dim)
    shapes = {"key": shape, "value": shape} if learned else {}
    blank = np.zeros((zeros, key_heads, head_dim), np.float32)

    def make(key):
        return {part: init(fold_in(key, i), shape) for i, part in enumerate(shapes)}, {}

    def apply(params, state, *, key=None, train=False):
        pair = check_entries(name, "params", params, **shapes) or [jnp.asarray(blank[:0])] * 2
        return tuple(jnp.concatenate([p, jnp.asarray(blank, p.dtype)]) for p in pair), state

    return Layer(make, apply, name)


def additive_attention(dim: int, context_dim: int, hidden: int) -> Layer:
    """Bahdanau's: ``y = softmax(score(tanh(query(x) + key(context)))) context``.

    With ``return_weights=True`` the outputs are y and the weights.

    Shapes: x [..., T, D], context [..., S, C] -> y [..., T, C], weights [..., T, S]; mask
        broadcasts to [..., T, S].
    Dtypes: params float32; softmax in float32 or wider; mask boolean, True = takes part; a query
        that sees nothing yields zeros.
    Params: query, a linear(dim, hidden) without bias, key, a linear(context_dim, hidden), and
        score, a linear(hidden, 1) without bias.
    Raises: ValueError, if a shape does not fit; TypeError, if x is not floating or mask not
        boolean.
    Source: Bahdanau, Cho, Bengio 2014, https://arxiv.org/abs/1409.0473, section A.1.2.
    """
    name = f"additive_attention({dim}, {context_dim}, {hidden})"
    check_positive(name, dim=dim, context_dim=context_dim, hidden=hidden)

    def forward(net, x, context, *, mask=None, return_weights=False):
        check_shape(name, "x", x, (..., None, dim))
        fix = "It has x's batch axes."
        check_shape(name, "context", context, (*x.shape[:-2], None, context_dim), fix)
        q, k = net.query(x)[..., :, None, :], net.key(context)[..., None, :, :]
        scores = widen(net.score(jnp.tanh(q + k))[..., 0])
        if mask is None:
            mask = jnp.ones((), bool)
        check_dtype(name, "mask", mask, jnp.bool_, "True where a key takes part.")
        mask = jnp.broadcast_to(_fit(name, "mask", mask, scores.shape), scores.shape)
        weights = jax.nn.softmax(scores, -1, where=mask)
        weights = jnp.where(mask, weights, 0).astype(x.dtype)
        y = weights @ context
        return (y, weights) if return_weights else y

    return compose(
        forward,
        name,
        query=linear(dim, hidden, bias=False),
        key=linear(context_dim, hidden),
        score=linear(hidden, 1, bias=False),
    )


def _count(start, steps: int) -> jax.Array:
    positions = jnp.arange(steps, dtype=jnp.int32)
    return positions if start is None else start + positions


def _key_of_dropout(rate: float) -> Layer:
    """Hands out its key in training: blocks of weights are dropped where they are computed."""

    def apply(params, state, x, *, key=None, train=False):
        return (key if train and rate else x), state

    return Layer(lambda key: ({}, {}), apply, f"dropout({rate})", random=rate > 0)


def _fit(name, argument, a, shape):
    """``a`` with as many axes as shape, to which it must broadcast."""
    try:
        fits = np.broadcast_shapes(a.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        axes = "[..., heads, T, S]" if argument != "mask" or len(shape) > 2 else "[T, S]"
        raise LayerValueError(
            f"{name}: got {argument} of shape {a.shape}, expected one that broadcasts to "
            f"{axes} = {shape}. A mask per example needs axes for heads and queries: "
            "mask[:, None, None, :]."
        )
    return a.reshape((1,) * (len(shape) - a.ndim) + a.shape)


def _expand(name, argument, a, shape):
    """What broadcasts to [..., N, T, S] as [B or 1, N or 1, T or 1, S]."""
    a = _fit(name, argument, a, shape)
    *batch, heads, length, _ = a.shape
    batch = shape[:-3] if any(size != 1 for size in batch) else (1,) * len(batch)
    a = jnp.broadcast_to(a, (*batch, heads, length, shape[-1]))
    return a.reshape(math.prod(batch), heads, length, shape[-1])
