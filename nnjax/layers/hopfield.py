"""The modern Hopfield layer: patterns retrieved from those stored."""

import math

import jax.numpy as jnp

from nnjax.core import Layer, check_dtype, check_floating, check_positive, check_shape, compose
from nnjax.core.errors import LayerValueError
from nnjax.layers.linear import linear
from nnjax.ops.hopfield import associate, retrieve


def hopfield(dim: int, heads: int = 1, *, beta: float | None = None, updates: int = 1) -> Layer:
    """States looked up among stored patterns, by association.

    Each head has queries q = query(x) and keys k = key(stored). All updates but the last set
    ``q = softmax(beta q k^T) k``; the last makes ``y = out(softmax(beta q k^T) value(k))``, heads
    side by side. ``layer(params, x)`` stores x itself, ``layer(params, x, stored)`` other patterns.
    With one update it is attention whose values are made of its keys; a larger beta or more updates
    settle on single patterns, a smaller beta on their means.

    Shapes: x [..., T, D] -> y [..., T, D]; stored [..., S, D]; mask [..., S].
    Dtypes: params float32; association in float32 or wider; y has the dtype of x and params; mask
        boolean, True = takes part; where nothing takes part, y is what ``out`` makes of zeros.
    Params: query, key, value and out, each a linear; value is [D / heads, D / heads], shared by the
        heads.
    Units:  beta is one over those of the scores; 1 / sqrt(dim / heads) by default.
    Raises: ValueError, if heads does not divide dim, or beta is not positive, or a shape does not
        fit; TypeError, if x is not floating or mask not boolean.
    Source: Ramsauer et al. 2020, https://arxiv.org/abs/2008.02217, equations 3 and 10; without the
        layer norms of its code, which ``nn.layer_norm`` adds where wanted.
    """
    name = f"hopfield({dim}, {heads})"
    check_positive(name, dim=dim, heads=heads, updates=updates)
    if dim % heads:
        raise LayerValueError(f"{name}: got heads={heads}, expected a divisor of dim={dim}.")
    size = dim // heads
    sharpness = 1 / math.sqrt(size) if beta is None else beta
    if not sharpness > 0:
        raise LayerValueError(f"{name}: got beta={beta}, expected a positive number.")

    def forward(net, x, stored=None, *, mask=None):
        stored = x if stored is None else stored
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., None, dim))
        fix = "Only its length may differ from x."
        check_shape(name, "stored", stored, (*x.shape[:-2], None, dim), fix)
        if mask is not None:
            check_dtype(name, "mask", mask, jnp.bool_, "Make it True where a pattern takes part.")
            check_shape(name, "mask", mask, stored.shape[:-1], "Give it one entry a pattern.")
            mask = mask[..., None, None, :]

        def split(h):  # [..., T, D] -> [..., N, T, D / N]
            return jnp.moveaxis(h.reshape(*h.shape[:-1], heads, size), -2, -3)

        q, k = split(net.query(x)), split(net.key(stored))
        q = retrieve(q, k, sharpness, updates=updates - 1, mask=mask)
        v = net.value(k)
        y = jnp.einsum("...ts,...sd->...td", associate(q, k, sharpness, mask).astype(v.dtype), v)
        return net.out(jnp.moveaxis(y, -3, -2).reshape(x.shape))

    full, own = linear(dim, dim, bias=False), linear(size, size, bias=False)
    return compose(forward, name, query=full, key=full, value=own, out=linear(dim, dim))
