"""Modern Hopfield networks: association of continuous patterns."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from nnjax.ops.precision import widen


def associate(
    state: Float[Array, "*batch T D"],
    stored: Float[Array, "*batch S D"],
    beta: float,
    mask: Bool[Array, "*#batch #T S"] | None = None,
) -> Float[Array, "*batch T S"]:
    """How much each stored pattern has of each state: ``softmax(beta state @ stored^T)``.

    Where the mask lets no pattern take part, zeros. In float32 or wider.
    """
    h, y = widen(state), widen(stored)
    scores = beta * jnp.einsum("...td,...sd->...ts", h, y)
    if mask is None:
        return jax.nn.softmax(scores, -1)
    shares = jax.nn.softmax(scores, -1, where=mask)
    return jnp.where(mask.any(-1, keepdims=True), shares, 0)


def retrieve(
    state: Float[Array, "*batch T D"],
    stored: Float[Array, "*batch S D"],
    beta: float,
    *,
    updates: int = 1,
    mask: Bool[Array, "*#batch #T S"] | None = None,
) -> Float[Array, "*batch T D"]:
    """The state after ``updates`` steps of ``state = softmax(beta state @ stored^T) @ stored``.

    Each step lowers ``energy``, or leaves it. With well separated patterns and a large beta one
    step finds the pattern nearest to the state. In float32 or wider; the result has state.dtype.

    Source: Ramsauer et al. 2020, https://arxiv.org/abs/2008.02217, equation 3.
    """
    h, y = widen(state), widen(stored)
    for _ in range(updates):
        h = jnp.einsum("...ts,...sd->...td", associate(h, y, beta, mask), y)
    return h.astype(state.dtype)


def energy(
    state: Float[Array, "*batch T D"], stored: Float[Array, "*batch S D"], beta: float
) -> Float[Array, "*batch T"]:
    """``-logsumexp(beta state @ stored^T) / beta + |state|^2 / 2 + log(S) / beta + M^2 / 2``.

    M is the length of the longest stored pattern, so that it is never negative. In float32 or
    wider.

    Source: Ramsauer et al. 2020, https://arxiv.org/abs/2008.02217, equation 2.
    """
    h, y = widen(state), widen(stored)
    scores = beta * jnp.einsum("...td,...sd->...ts", h, y)
    fit = (jax.nn.logsumexp(scores, -1) - jnp.log(jnp.float32(y.shape[-2])).astype(h.dtype)) / beta
    longest = jnp.square(y).sum(-1).max(-1, keepdims=True)
    return (jnp.square(h).sum(-1) + longest) / 2 - fit
