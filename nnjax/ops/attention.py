"""Scaled dot-product attention: all scores at once, by blocks of queries, in chunks, or fused."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from nnjax.ops.lowering import backend, way
from nnjax.ops.mask import bernoulli

Implementation = Literal["auto", "xla", "blocks", "chunked", "cudnn"]
PositionBias = Callable[[jax.Array, jax.Array], jax.Array]  # [T], [S] -> [N, T, S]

_PLENTY = 2**30  # bytes of scores from which "auto" takes them in chunks
_PIECES = 4  # of "blocks": five eighths of all scores; eight pieces were slower than four on a CPU
_LONG = 128  # queries from which "auto" cuts them


def dot_product_attention(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    mask: Bool[Array, "#B #N #T S"] | None = None,
    *,
    bias: Float[Array, "#B #N #T S"] | PositionBias | None = None,
    causal: bool = False,
    window: int | None = None,
    offset: Int[Array, ""] | None = None,
    softcap: float | None = None,
    sinks: tuple[Float[Array, "M K H"], Float[Array, "M K H"]] | None = None,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
    return_weights: bool = False,
    implementation: Implementation = "auto",
    block: int = 512,
) -> Any:  # Float[Array, "B T N H"], or a pair of it and Float[Array, "B N T S+M"]
    """``softmax(query @ key^T / sqrt(H) + bias) @ value`` for each of N heads.

    Head n reads key head ``n // (N / K)``. Query t stands at position ``offset + t``, key s at s. A
    query that may see no key at all gets zeros, where a plain softmax would average over keys that
    are masked out (JAX) or give NaN (PyTorch). Scores and softmax are float32 or wider.

    bias: added to the scores; as a function of the positions it is evaluated a block at a time.
    causal, window: a query sees no later key, and none ``window`` or more steps away.
    softcap: scores become ``softcap * tanh(scores / softcap)``, before the bias.
    sinks: M further keys and values, the last ones, that every query sees.
    dropout_rate: weights are dropped and scaled by ``1 / (1 - rate)``, if there is a dropout_key.
    implementation: "xla" holds all scores at once; "blocks" those of a quarter of the queries, each
        quarter beside the keys that it may see, for causal attention to itself; "chunked" those of
        ``block`` queries and keys, in the backward pass too, where it computes them again; "cudnn"
        is the fused kernel of NVIDIA GPUs, which has neither forward mode nor a second derivative.
        "auto" is "chunked" where the scores would take a gibibyte, "blocks" for 128 causal queries
        or more on a CPU (timed in ``benchmarks/kernels.py``; not measured elsewhere), else "xla".

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1; grouped heads of
        Ainslie et al. 2023, https://arxiv.org/abs/2305.13245; blocks of Rabe and Staats 2021,
        https://arxiv.org/abs/2112.05682.
    """
    batch, length, heads, _ = query.shape
    to_itself = causal and offset is None and length == key.shape[1]
    if implementation == "auto":
        large = 4 * batch * heads * length * key.shape[1] >= _PLENTY and not return_weights
        cut = to_itself and length >= _LONG and backend() == "cpu"
        cut = cut and not return_weights
        implementation = "chunked" if large else "blocks" if cut else "xla"
    special = [softcap is not None, sinks is not None, dropout_key is not None, return_weights]
    if implementation == "cudnn" and any(special):
        raise ValueError(
            "got implementation='cudnn' with softcap, sinks, dropout or return_weights, which the "
            "fused kernel does not have. Use 'auto'."
        )
    if implementation in ("chunked", "blocks") and return_weights:
        raise ValueError(
            f"got implementation={implementation!r}, which never holds all weights. Use 'xla'."
        )
    if implementation == "blocks" and not to_itself:
        raise ValueError(
            "got implementation='blocks', expected causal attention of queries to as many keys and "
            "no cache. Use 'auto'."
        )

    rule = _Rule(mask, bias, causal, window, offset, softcap, length, *key.shape[1:3])
    noise = _Noise(dropout_rate, dropout_key)
    with way("attention", implementation):
        y, weights = _attend(query, key, value, rule, sinks, noise, implementation, block)
    return (y, weights) if return_weights else y


def _attend(query, key, value, rule, sinks, noise, implementation, block):
    """Outputs and weights; the weights only where all are held at once."""
    if implementation == "cudnn":
        return _by_cudnn(query, key, value, rule), None
    if implementation == "chunked":
        return _chunked(query, key, value, rule, sinks, noise, block), None
    if implementation == "blocks":
        length = query.shape[1]
        ends = [length * piece // _PIECES for piece in range(_PIECES + 1)]
        pieces = (
            _plain(query[:, i:end], key[:, :end], value[:, :end], rule, sinks, noise, i)
            for i, end in itertools.pairwise(ends)
        )
        return jnp.concatenate([y for y, _ in pieces], 1), None
    return _plain(query, key, value, rule, sinks, noise)


@dataclasses.dataclass(frozen=True)
class _Rule:
    """What a query may see, and what is added to its scores, for any block of them."""

    mask: jax.Array | None
    bias: jax.Array | PositionBias | None
    causal: bool
    window: int | None
    offset: jax.Array | None
    softcap: float | None
    queries: int
    keys: int
    key_heads: int

    @property
    def all_see(self) -> bool:
        """Whether every query is sure to see a key, as one without a cache sees itself."""
        alone = self.window is None and not self.causal
        return self.mask is None and self.offset is None and (alone or self.queries <= self.keys)

    def positions(self, i, j, rows: int, columns: int):
        """Of ``rows`` queries from the i-th on, and of ``columns`` keys from the j-th."""
        start = i if self.offset is None else i + self.offset.astype(jnp.int32)
        return start + jnp.arange(rows, dtype=jnp.int32), j + jnp.arange(columns, dtype=jnp.int32)

    def visible(self, i, j, rows: int, columns: int):
        """Which of these keys takes part, broadcasting to [B, N, rows, columns]; None for all."""
        queries, keys = self.positions(i, j, rows, columns)
        ahead = keys - queries[:, None]
        seen = []
        if self.mask is not None:
            seen.append(_part(self.mask, i, j, rows, columns))
        if self.causal:
            seen.append((ahead <= 0)[None, None])
        if self.window is not None:
            seen.append((jnp.abs(ahead) < self.window)[None, None])
        if not isinstance(j, int):  # the last block is filled up with keys that are none
            seen.append((keys < self.keys)[None, None, None])
        return _all(seen) if seen else None

    def added(self, i, j, rows: int, columns: int):
        """The bias of this block, broadcasting to [B, N, rows, columns]."""
        if callable(self.bias):
            bias = self.bias(*self.positions(i, j, rows, columns))
            return bias.reshape(1, *bias.shape)
        return None if self.bias is None else _part(self.bias, i, j, rows, columns)

    def touches(self, i, j, rows: int, columns: int):
        """Whether any key of the block is near enough; a mask may hide it all the same."""
        queries, keys = self.positions(i, j, rows, columns)
        near = []
        if self.causal:
            near.append(keys[0] <= queries[-1])
        if self.window is not None:
            near += [keys[-1] > queries[0] - self.window, keys[0] < queries[-1] + self.window]
        return _all(near) if near else None

    def scores(self, q, k, i, j):
        """q [B, t, K, G, H], k [B, s, K, H] -> scores and visible [B, K, G, t, s]."""
        size = q.shape[1], k.shape[1]
        s = _cap(_product(q, k), self.softcap)
        bias, visible = self.added(i, j, *size), self.visible(i, j, *size)
        if bias is not None:
            s = s + self._grouped(bias).astype(s.dtype)
        if visible is None:
            return s, None
        visible = self._grouped(visible)
        return jnp.where(visible, s, jnp.finfo(s.dtype).min), visible

    def _grouped(self, a):
        """[#B, #N, ...] as [#B, #K, #G, ...]."""
        heads = a.shape[1]
        groups = (1, 1) if heads == 1 else (self.key_heads, heads // self.key_heads)
        return a.reshape(a.shape[0], *groups, *a.shape[2:])


@dataclasses.dataclass(frozen=True)
class _Noise:
    """Dropout of weights, another mask for each block."""

    rate: float
    key: jax.Array | None

    def __call__(self, weights, i=0, j=0):
        if self.key is None or self.rate == 0:
            return weights
        key = jax.random.fold_in(jax.random.fold_in(self.key, i), j)
        keep = bernoulli(key, 1 - self.rate, weights.shape)
        return jnp.where(keep, weights / (1 - self.rate), 0)


def _by_cudnn(query, key, value, rule):
    length, keys = query.shape[1], key.shape[1]
    mask, named = None, {"is_causal": rule.causal}
    blind = rule.mask is not None or rule.window is not None or rule.offset is not None
    if rule.mask is None and rule.offset is None and rule.window:
        reach = rule.window - 1
        named["local_window_size"] = (reach, 0 if rule.causal else reach)
    elif blind:
        mask, named = rule.visible(0, 0, length, keys), {}
    bias = rule.added(0, 0, length, keys)
    with jax.numpy_dtype_promotion("standard"):  # JAX asks for float32 scores by promotion
        y = jax.nn.dot_product_attention(
            query, key, value, bias, mask, implementation="cudnn", **named
        )
    if not blind:  # causal alone leaves every query at least the first key
        return y
    mask = rule.visible(0, 0, length, keys)
    sees_any = jnp.moveaxis(mask.any(-1, keepdims=True), 1, 2)  # [B, T, N, 1]
    return jnp.where(sees_any, y, jnp.zeros_like(y))


def _plain(query, key, value, rule, sinks, noise, i=0):
    """Outputs, and the weights [B, N, T, S], of queries from the i-th on.

    What the values are multiplied by is divided by its sum afterwards, where there is less of it.
    """
    q = _split(query, rule)
    scores, visible = rule.scores(q, key, i, 0)
    if rule.all_see:
        visible = None  # scores say it already: what is hidden is the least number, its exp zero
    if sinks is not None:
        further, sunk = _sinks(q, sinks, rule)
        scores = jnp.concatenate([scores, further], -1)
        if visible is not None:
            shape = scores.shape[:-1]
            visible = jnp.broadcast_to(visible, (*shape, key.shape[1]))
            visible = jnp.concatenate([visible, jnp.ones(further.shape, bool)], -1)
        sunk = jnp.broadcast_to(sunk, (value.shape[0], *sunk.shape[1:]))
        value = jnp.concatenate([value, sunk.astype(value.dtype)], 1)
    p, total, _ = _exponentials(scores, visible, _lowest(scores.dtype))
    total = _nonzero(total)[..., None]
    p = noise(p, i)
    y = jnp.moveaxis(_weighted(p, value) / total, 3, 1)
    batch, _, _, length, keys = p.shape
    weights = (p / total).reshape(batch, query.shape[2], length, keys)
    return y.astype(query.dtype).reshape(query.shape), weights.astype(query.dtype)


def _chunked(query, key, value, rule, sinks, noise, block):
    """Softmax of all keys from one block after the other, with a running maximum and total.

    Both loops are checkpointed: what a query block leaves for the backward pass is its own input,
    and what it holds while that runs is one running result a key block.
    """
    length, keys = query.shape[1], key.shape[1]
    rows, columns = max(1, min(block, length)), max(1, min(block, keys))
    wide = _wide(query.dtype)
    arrays = [a for a in (query, key, value, rule.mask, rule.bias) if isinstance(a, jax.Array)]
    zero = sum(a.reshape(-1)[:0].astype(wide).sum() for a in arrays)  # one on each of their devices
    rule = dataclasses.replace(
        rule, mask=_pad(rule.mask, rows, columns), bias=_pad(rule.bias, rows, columns)
    )
    q_blocks = _blocks(_split(query, rule), rows)
    kv_blocks = _blocks(key, columns), _blocks(value, columns)
    j_blocks = jnp.arange(kv_blocks[0].shape[0], dtype=jnp.int32) * columns

    def of_queries(i, q):
        def add(carry, j, k, v):
            top, total, y = carry
            scores, visible = rule.scores(q, k, i, j)
            p, sum_p, new_top = _exponentials(scores, visible, top)
            fade = jnp.exp(top - new_top)
            y = y * fade[..., None] + _weighted(noise(p, i, j), v)
            return new_top, total * fade + sum_p, y

        def step(carry, now):
            j, k, v = now
            touches = rule.touches(i, j, rows, columns)
            if touches is None:
                return add(carry, j, k, v), None
            return jax.lax.cond(touches, add, lambda carry, *_: carry, carry, j, k, v), None

        nothing = jnp.zeros((q.shape[0], *q.shape[2:4], rows, q.shape[4]), wide) + zero
        carry = nothing[..., 0] + _lowest(wide), nothing[..., 0], nothing
        if sinks is not None:
            scores, sunk = _sinks(q, sinks, rule)
            p, total, top = _exponentials(scores, None, carry[0])
            carry = top, total, nothing + _weighted(noise(p, i, keys), sunk)
        (_, total, y), _ = jax.lax.scan(
            jax.checkpoint(step, prevent_cse=False), carry, (j_blocks, *kv_blocks)
        )
        return jnp.moveaxis(y / _nonzero(total)[..., None], 3, 1).astype(query.dtype)

    def each(_, now):
        return None, of_queries(*now)

    i_blocks = jnp.arange(q_blocks.shape[0], dtype=jnp.int32) * rows
    _, y = jax.lax.scan(jax.checkpoint(each, prevent_cse=False), None, (i_blocks, q_blocks))
    y = jnp.moveaxis(y, 0, 1)  # [B, blocks, rows, K, G, H]
    y = y.reshape(y.shape[0], i_blocks.size * rows, *query.shape[2:])
    return y[:, :length]


def _exponentials(scores, visible, least):
    """``exp(scores - top)``, 0 where hidden, their sum, and top, the maximum of them and least."""
    top = scores.max(-1, initial=_lowest(scores.dtype))
    top = jax.lax.stop_gradient(jnp.maximum(top, least))
    p = jnp.exp(scores - top[..., None])
    if visible is not None:
        p = jnp.where(visible, p, 0)
    return p, p.sum(-1), top


def _product(q, k):
    q, k = jnp.moveaxis(q, 1, 3), jnp.moveaxis(k, 1, 2)  # heads first: XLA's products are quicker
    scores = jnp.einsum("bkgth,bksh->bkgts", q, k, preferred_element_type=_wide(q.dtype))
    return scores / math.sqrt(q.shape[-1])


def _weighted(p, value):
    value = jnp.moveaxis(value, 1, 2)
    return jnp.einsum(
        "bkgts,bksh->bkgth", p.astype(value.dtype), value, preferred_element_type=p.dtype
    )


def _sinks(q, sinks, rule):
    """Scores and values of the keys that every query sees, the same for every example."""
    key, value = (a[None].astype(q.dtype) for a in sinks)
    every = jnp.broadcast_to(key, (q.shape[0], *key.shape[1:]))
    value = jnp.broadcast_to(value, every.shape)
    return _cap(_product(q, every), rule.softcap), value


def _cap(scores, softcap):
    return scores if softcap is None else softcap * jnp.tanh(scores / softcap)


def _lowest(dtype) -> float:
    return float(jnp.finfo(dtype).min)


def _wide(dtype):
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def _nonzero(total):
    """A query that sees nothing has a total of 0, and a sum of 0 to divide by it."""
    return jnp.where(total == 0, 1, total)


def _all(seen):
    both = seen[0]
    for other in seen[1:]:
        both = both & other
    return both


def _split(query, rule):
    """[B, T, N, H] as [B, T, K, G, H]."""
    groups = query.shape[2] // rule.key_heads
    return query.reshape(*query.shape[:2], rule.key_heads, groups, query.shape[3])


def _blocks(a, size):
    """[B, T, ...] as [blocks, B, size, ...], filled up with zeros."""
    count = -(-a.shape[1] // size)
    a = jnp.pad(a, [(0, 0), (0, count * size - a.shape[1])] + [(0, 0)] * (a.ndim - 2))
    return jnp.moveaxis(a.reshape(a.shape[0], count, size, *a.shape[2:]), 1, 0)


def _pad(a, rows, columns):
    """[#B, #N, #T, S] filled up to whole blocks."""
    if not isinstance(a, jax.Array):
        return a
    more = [
        0 if n == 1 else -n % size for n, size in zip(a.shape[2:], (rows, columns), strict=True)
    ]
    return jnp.pad(a, [(0, 0), (0, 0), (0, more[0]), (0, more[1])])


def _part(a, i, j, rows, columns):
    """Rows from i and columns from j of [#B, #N, #T, #S], where it has more than one."""
    for axis, start, size in ((2, i, rows), (3, j, columns)):
        if a.shape[axis] not in (1, size):
            a = jax.lax.dynamic_slice_in_dim(a, start, size, axis)
    return a
