"""Routing of tokens to experts: whom each goes to, where it is put, the losses on the router."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from nnjax.ops.precision import widen
from nnjax.ops.segment import ids_of_sizes, segment_count, take_rows

Dot = Callable[[jax.Array, jax.Array], jax.Array]


class Slots(NamedTuple):
    """Where each assignment of a token to an expert is computed.

    ``slot`` [n] is its row in a buffer of ``rows`` rows, or beyond if it is dropped; ``dot(h, w)``
    multiplies the rows h [rows, in] by the matrices w [experts, in, out], each by its expert's.
    """

    slot: jax.Array
    rows: int
    dot: Dot

    def run(self, x: jax.Array, body: Callable[[jax.Array, Dot], jax.Array]) -> jax.Array:
        """``body(h, dot)`` of x [n, D] in the slots; zeros for what is dropped."""
        buffer = jnp.zeros((self.rows, x.shape[-1]), x.dtype).at[self.slot].set(x, mode="drop")
        return body(buffer, self.dot).at[self.slot].get(mode="fill", fill_value=0)


def top_k_routing(
    logits: Float[Array, "T experts"], k: int
) -> tuple[Float[Array, "T k"], Integer[Array, "T k"]]:
    """The k likeliest experts of each token, and their weights.

    The weights are the softmax over those k; with k = 1 that would be 1, which teaches the router
    nothing, so there it is the softmax over all experts.
    """
    top, experts = jax.lax.top_k(widen(logits), k)
    if k == 1:
        return jnp.exp(top - jax.nn.logsumexp(widen(logits), -1, keepdims=True)), experts
    return jax.nn.softmax(top, -1), experts


def balance_loss(
    logits: Float[Array, "T experts"], assigned: Integer[Array, "T k"]
) -> Float[Array, ""]:
    """``experts * sum_e (share of assignments to e) * (mean probability of e)``; 1 if all is even.

    Zero, as is router_z_loss, for no tokens.

    Source: Fedus, Zoph, Shazeer 2021, https://arxiv.org/abs/2101.03961, equations 4 to 6.
    """
    experts = logits.shape[-1]
    mean = jax.nn.softmax(widen(logits), -1).sum(0) / max(len(logits), 1)
    count = segment_count(assigned.reshape(-1), experts).astype(mean.dtype)
    return experts * (count / max(assigned.size, 1) * mean).sum()


def router_z_loss(logits: Float[Array, "T experts"]) -> Float[Array, ""]:
    """``mean(logsumexp(logits)^2)``, which keeps the router's logits small.

    Source: Zoph et al. 2022, https://arxiv.org/abs/2202.08906, equation 5.
    """
    return jnp.square(jax.nn.logsumexp(widen(logits), -1)).sum() / max(len(logits), 1)


def ragged_slots(assigned: Integer[Array, " n"], experts: int) -> Slots:
    """Every assignment has a slot, sorted by expert; products by ``jax.lax.ragged_dot``."""
    order, sizes = _order(assigned), segment_count(assigned, experts)
    return Slots(order, assigned.size, lambda h, w: jax.lax.ragged_dot(h, w, sizes))


def block_slots(assigned: Integer[Array, " n"], experts: int) -> Slots:
    """Every assignment has a slot, in blocks of one expert each; products are batched ones.

    An expert's last block is filled up with zeros. Unlike ``ragged_dot`` (jax 0.10), this can be
    vmapped over h alone and differentiated in reverse mode twice.
    """
    n = assigned.size
    size = max(1, min(128, -(-n // experts)))
    blocks = n // size + experts  # enough, however the n are shared out
    sizes = segment_count(assigned, experts)
    per_expert = -(-sizes // size)
    start, block_start = jnp.cumsum(sizes) - sizes, jnp.cumsum(per_expert) - per_expert
    slot = _order(assigned) + take_rows(block_start * size - start, assigned)
    expert = ids_of_sizes(per_expert, blocks)

    def dot(h, w):
        y = h.reshape(blocks, size, h.shape[-1]) @ take_rows(w, expert)
        return y.reshape(blocks * size, w.shape[-1])

    return Slots(slot, blocks * size, dot)


def capacity_slots(assigned: Integer[Array, " n"], experts: int, capacity: int) -> Slots:
    """The first ``capacity`` assignments to each expert have a slot, the rest are dropped."""
    sizes = segment_count(assigned, experts)
    rank = _order(assigned) - take_rows(jnp.cumsum(sizes) - sizes, assigned)
    rows = experts * capacity
    slot = jnp.where(rank < capacity, assigned.astype(rank.dtype) * capacity + rank, rows)

    def dot(h, w):
        y = h.reshape(experts, capacity, h.shape[-1]) @ w
        return y.reshape(rows, w.shape[-1])

    return Slots(slot, rows, dot)


def _order(assigned: jax.Array) -> jax.Array:
    """The place of each assignment when they are sorted by expert, in order within each."""
    by_expert = jnp.argsort(assigned, stable=True)
    places = jnp.arange(assigned.size, dtype=jnp.int32)
    return jnp.zeros(assigned.size, jnp.int32).at[by_expert].set(places)
