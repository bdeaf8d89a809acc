"""Multi-head attention: self and cross."""

import math

import jax.numpy as jnp
import numpy as np

from nnjax.core import Layer, check_dtype, check_positive, check_shape, compose
from nnjax.core.errors import LayerValueError
from nnjax.layers.linear import linear
from nnjax.ops.attention import dot_product_attention


def attention(dim: int, heads: int, *, causal: bool = False, bias: bool = True) -> Layer:
    """Multi-head attention: ``out(concat_heads(softmax(q k^T / sqrt(dim / heads)) v))``.

    ``layer(params, x)`` attends from x to itself, ``layer(params, x, context)`` from x to context.

    Shapes: x [..., T, D] -> y [..., T, D]; context [..., S, D]; mask broadcasts to
        [..., N, T, S]: [T, S] serves all examples and heads, [B, 1, 1, S] marks padding.
    Dtypes: params float32; scores and softmax in float32; mask boolean, True = takes part; a
        query that sees nothing yields what ``out`` makes of zeros.
    Params: query, key, value and out, each a linear(dim, dim).
    Raises: ValueError, if heads does not divide dim, or a shape does not fit; TypeError, if x is
        not floating or mask not boolean.
    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.
    """
    name = f"attention({dim}, {heads})"
    check_positive(name, dim=dim, heads=heads)
    if dim % heads:
        raise LayerValueError(f"{name}: got heads={heads}, expected a divisor of dim={dim}.")

    def forward(net, x, context=None, *, mask=None):
        context = x if context is None else context
        check_shape(name, "x", x, (..., None, dim))
        fix = "Only its length may differ from x."
        check_shape(name, "context", context, (*x.shape[:-2], None, dim), fix)
        *batch, length, _ = x.shape

        def split(h):  # [..., T, D] -> [B, T, N, D / N]
            return h.reshape(math.prod(batch), h.shape[-2], heads, dim // heads)

        q, k, v = split(net.query(x)), split(net.key(context)), split(net.value(context))
        if mask is not None:
            mask = _expand_mask(name, mask, (*batch, heads, length, context.shape[-2]))
        y = dot_product_attention(q, k, v, mask, causal=causal)
        return net.out(y.reshape(*batch, length, dim))

    projections = {part: linear(dim, dim, bias=bias) for part in ("query", "key", "value", "out")}
    return compose(forward, name, **projections)


def _expand_mask(name, mask, shape):
    """A mask that broadcasts to [..., N, T, S] as [B or 1, N or 1, T or 1, S]."""
    check_dtype(name, "mask", mask, jnp.bool_, "Make it boolean, with True where a key takes part.")
    try:
        fits = np.broadcast_shapes(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise LayerValueError(
            f"{name}: got mask of shape {mask.shape}, expected one that broadcasts to "
            f"[..., heads, T, S] = {shape}. A mask per example needs axes for heads and queries: "
            "mask[:, None, None, :]."
        )
    mask = mask.reshape((1,) * (len(shape) - mask.ndim) + mask.shape)
    *batch, heads, length, _ = mask.shape
    batch = shape[:-3] if any(size != 1 for size in batch) else (1,) * len(batch)
    mask = jnp.broadcast_to(mask, (*batch, heads, length, shape[-1]))
    return mask.reshape(math.prod(batch), heads, length, shape[-1])
