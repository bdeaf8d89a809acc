"""Scaled dot-product attention over ``jax.nn``'s."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def dot_product_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S N H"],
    value: Float[Array, "B S N H"],
    mask: Bool[Array, "#B #N #T S"] | None = None,
    *,
    causal: bool = False,
) -> Float[Array, "B T N H"]:
    """``softmax(query @ key^T / sqrt(H)) @ value`` for each head.

    A query that may see no key at all gets zeros, where a plain softmax would average over keys
    that are masked out (JAX) or give NaN (PyTorch). Scores and softmax are float32.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1.
    """
    with jax.numpy_dtype_promotion("standard"):  # JAX asks for float32 scores by promotion
        y = jax.nn.dot_product_attention(query, key, value, mask=mask, is_causal=causal)
    if mask is None:  # causal alone leaves every query at least the first key
        return y
    if causal:
        length, keys = query.shape[1], key.shape[1]
        mask = mask & jnp.tril(jnp.ones((length, keys), bool))
    sees_any = jnp.moveaxis(mask.any(-1, keepdims=True), 1, 2)  # [B, T, N, 1]
    return jnp.where(sees_any, y, jnp.zeros_like(y))
