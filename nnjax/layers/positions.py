"""Where things stand in a sequence: rotary, ALiBi, T5, sinusoidal and learned positions."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nnjax.core import (
    Layer,
    check_dtype,
    check_entries,
    check_floating,
    check_positive,
    check_shape,
    compose,
)
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, normal
from nnjax.layers.cache import clock
from nnjax.layers.embedding import embedding
from nnjax.ops.positions import (
    Scaling,
    alibi_slopes,
    rotary_frequencies,
    rotate,
    sinusoids,
    t5_bucket,
)


def rope(
    dim: int,
    *,
    base: float = 1e4,
    scaling: Scaling | None = None,
    interleaved: bool = False,
) -> Layer:
    """Rotary positions: pair i of features is turned by ``p * base^(-2 i / dim)`` at position p.

    The product of a query and a key so turned depends on their positions' difference alone. Give it
    to ``attention(..., rotary=rope(head_dim))``. Pair i is features i and i + dim / 2 (Llama,
    NeoX), or 2i and 2i + 1 if interleaved (the paper, GPT-J). Features beyond dim are handed on.

    ``scaling`` slows the turning for sequences longer than those trained on: ``linear_scaling``,
    ``ntk_scaling``, ``yarn_scaling`` or ``llama3_scaling``.

    Shapes: x [..., T, N, D] -> y [..., T, N, D]; positions [T] or [..., T], else 0, 1, 2, ...
    Dtypes: angles in float32 or wider, whatever x is; y has x.dtype; positions any integer.
    Raises: ValueError, if dim is odd, or x has fewer features; TypeError, if x is not floating or
        positions not integers.
    Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, equation 34.
    """
    name = f"rope({dim})"
    check_positive(name, dim=dim)
    if dim % 2:
        raise LayerValueError(f"{name}: got dim={dim}, expected an even number: features in pairs.")
    frequencies, factor = rotary_frequencies(dim, base, scaling)

    def init(key):
        return {}, {}

    def apply(params, state, x, *, positions=None, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., None, None, None))
        if x.shape[-1] < dim:
            raise LayerValueError(
                f"{name}: got x of shape {x.shape}, expected at least {dim} features. "
                "dim is at most the features of one head."
            )
        positions = _positions(name, positions, x.shape[:-2])
        return rotate(x, positions, frequencies, factor, interleaved=interleaved), state

    return Layer(init, apply, name)


def alibi(heads: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Attention with linear biases: ``-slope * |query position - key position|`` a head.

    A function of the two positions, for ``attention(..., position_bias=alibi(heads))``: [T], [S]
    -> [N, T, S] in float32. Slopes fall geometrically from ``2^(-8 / heads)`` to ``2^-8``.

    Source: Press, Smith, Lewis 2021, https://arxiv.org/abs/2108.12409, section 3.
    """
    check_positive(f"alibi({heads})", heads=heads)
    slopes = alibi_slopes(heads)

    def bias(queries: jax.Array, keys: jax.Array) -> jax.Array:
        away = jnp.abs(queries[..., :, None] - keys[..., None, :])[..., None, :, :]
        return -jnp.asarray(slopes, jnp.float32)[:, None, None] * away.astype(jnp.float32)

    bias.__name__ = f"alibi({heads})"
    return bias


def t5_bias(
    heads: int,
    *,
    buckets: int = 32,
    max_distance: int = 128,
    bidirectional: bool = True,
    embedding_init: Initializer = normal(stddev=0.02),
) -> Layer:
    """T5's relative positions: a learned bias for each head and each bucket of distances.

    Near distances have a bucket each, far ones share; all from max_distance on share the last.
    Give it to ``attention(..., position_bias=t5_bias(heads))``, and ``bidirectional=False`` where
    attention is causal.

    Shapes: query positions [..., T], key positions [..., S] -> y [..., N, T, S]; embedding
        [buckets, N].
    Dtypes: positions any integer; embedding is made in float32, y has its dtype.
    Raises: ValueError, for fewer buckets than 4 (2, if one way), or a max_distance that they reach
        one by one; TypeError, if positions are not integers.
    Source: Raffel et al. 2019, https://arxiv.org/abs/1910.10683, section 2.1.
    """
    name = f"t5_bias({heads})"
    check_positive(name, heads=heads, buckets=buckets, max_distance=max_distance)
    exact = buckets // 4 if bidirectional else buckets // 2
    if exact < 1 or max_distance <= exact:
        raise LayerValueError(
            f"{name}: got buckets={buckets} and max_distance={max_distance}, expected at least "
            f"{4 if bidirectional else 2} buckets, and a max_distance above {exact}."
        )

    def init(key):
        return {"embedding": embedding_init(key, (buckets, heads))}, {}

    def apply(params, state, queries, keys, *, key=None, train=False):
        (table,) = check_entries(name, "params", params, embedding=(buckets, heads))
        for argument, positions in (("queries", queries), ("keys", keys)):
            check_dtype(name, argument, positions, jnp.integer, "Positions are counted.")
            check_shape(name, argument, positions, (..., None), "Give the positions of a sequence.")
        away = keys[..., None, :] - queries[..., :, None]
        bias = jnp.take(
            table, t5_bucket(away, buckets, max_distance, bidirectional), 0, mode="clip"
        )
        return jnp.moveaxis(bias, -1, -3), state

    return Layer(init, apply, name)


def sinusoidal_positions(dim: int, *, base: float = 1e4) -> Layer:
    """Add waves of geometrically growing length: ``x + sin(p / base^(2i / dim))`` at feature 2i,
    the cosine at 2i + 1.

    Shapes: x [..., T, D] -> y [..., T, D]; positions [T] or [..., T], else 0, 1, 2, ...
    Dtypes: waves in float32; y has x.dtype; positions any integer.
    State: none; in ``cached``, clock/count, where the next piece begins.
    Raises: ValueError, if the last axis of x is not dim; TypeError, if x is not floating or
        positions not integers.
    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5.
    """
    name = f"sinusoidal_positions({dim})"
    check_positive(name, dim=dim)

    def forward(net, x, *, positions=None):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., None, dim))
        positions = net.clock(x.shape[-2]) if positions is None else positions
        positions = _positions(name, positions, x.shape[:-1])
        return x + sinusoids(positions, dim, base).astype(x.dtype)

    return compose(forward, name, clock=clock())


def learned_positions(
    length: int, dim: int, *, embedding_init: Initializer = normal(stddev=0.02)
) -> Layer:
    """Add a learned vector for each of ``length`` positions: ``x + embedding[p]``.

    A position beyond length gives NaN, so that it shows.

    Shapes: x [..., T, D] -> y [..., T, D]; positions [T] or [..., T], else 0, 1, 2, ...
    Dtypes: params float32; y has x.dtype; positions any integer.
    State: none; in ``cached``, clock/count, where the next piece begins.
    Params: table, an embedding(length, dim).
    Raises: ValueError, if x is longer than length, or its last axis not dim; TypeError, if x is not
        floating or positions not integers.
    Source: Gehring et al. 2017, https://arxiv.org/abs/1705.03122, section 3.1.
    """
    name = f"learned_positions({length}, {dim})"
    check_positive(name, length=length, dim=dim)

    def forward(net, x, *, positions=None):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., None, dim))
        if x.shape[-2] > length:
            raise LayerValueError(
                f"{name}: got x of shape {x.shape}, expected at most {length} positions. "
                "Cut x, or build the layer with a greater length."
            )
        positions = net.clock(x.shape[-2]) if positions is None else positions
        positions = _positions(name, positions, x.shape[:-1])
        return x + net.table(positions).astype(x.dtype)

    table = embedding(length, dim, embedding_init=embedding_init)
    return compose(forward, name, table=table, clock=clock())


def _positions(name: str, positions, shape: tuple[int, ...]):
    """Positions that broadcast to shape [..., T]."""
    if positions is None:
        return jnp.arange(shape[-1], dtype=jnp.int32)
    check_dtype(name, "positions", positions, jnp.integer, "Positions are counted.")
    wanted = shape[-1:] if jnp.ndim(positions) == 1 else shape
    check_shape(name, "positions", positions, wanted, "Give one position an element of x.")
    return jnp.asarray(positions)
