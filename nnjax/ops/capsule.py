"""Capsules: squash, and routing by agreement."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nnjax.ops.precision import widen


def squash(x: Float[Array, "*batch D"]) -> Float[Array, "*batch D"]:
    """A vector's length n moved into [0, 1), ``y = n^2 / (1 + n^2) * x / n``; its direction stays.

    At zero, y and its derivative are zero. Computed in float32 or wider; y has x.dtype.
    Source: Sabour, Frosst, Hinton 2017, https://arxiv.org/abs/1710.09829, equation 1.
    """
    h = widen(x)
    square = jnp.square(h).sum(-1, keepdims=True)
    some = square > 0
    norm = jnp.sqrt(jnp.where(some, square, 1))  # the square root has no slope at zero
    return (h * jnp.where(some, norm / (1 + square), 0)).astype(x.dtype)


def dynamic_routing(
    votes: Float[Array, "*batch I J D"], iterations: int
) -> Float[Array, "*batch J D"]:
    """Each of I capsules shares its votes among J, more to those that come to agree with them.

    Repeats ``c = softmax over J of b``, ``v_j = squash(sum_i c_ij votes_ij)`` and
    ``b_ij += votes_ij . v_j``, from b = 0; the last v is the result.

    Source: Sabour, Frosst, Hinton 2017, https://arxiv.org/abs/1710.09829, procedure 1.
    """
    h = widen(votes)
    logits = jnp.zeros(h.shape[:-1], h.dtype)
    outputs = jnp.zeros_like(h[..., 0, :, :])
    for i in range(iterations):
        shares = jax.nn.softmax(logits, axis=-1)
        outputs = squash(jnp.einsum("...ij,...ijd->...jd", shares, h))
        if i < iterations - 1:
            logits = logits + jnp.einsum("...ijd,...jd->...ij", h, outputs)
    return outputs.astype(votes.dtype)
