"""Positions: rotary frequencies and their scalings, sinusoids, ALiBi slopes, T5 buckets."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from nnjax.ops.precision import widen

# (frequencies [D / 2], base) -> (frequencies [D / 2], factor of queries and keys)
Scaling = Callable[[np.ndarray, float], tuple[np.ndarray, float]]


def rotary_frequencies(
    dim: int, base: float = 1e4, scaling: Scaling | None = None
) -> tuple[np.ndarray, float]:
    """Radians a position, ``base^(-2 i / dim)``, slowed by scaling; and its factor, else 1."""
    frequencies = base ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    return (frequencies, 1.0) if scaling is None else scaling(frequencies, base)


def linear_scaling(factor: float) -> Scaling:
    """Position interpolation: every angle is that of position ``p / factor``.

    Source: Chen et al. 2023, https://arxiv.org/abs/2306.15595, equation 4.
    """
    return lambda frequencies, base: (frequencies / factor, 1.0)


def ntk_scaling(factor: float) -> Scaling:
    """A larger base, ``base * factor^(D / (D - 2))``: the slowest pair turns ``factor`` times as
    slowly, the fastest as before.

    Source: bloc97 2023, as written in Peng et al., https://arxiv.org/abs/2309.00071, section 3.1.
    """

    def scale(frequencies, base):
        dim = 2 * len(frequencies)
        larger = base * factor ** (dim / (dim - 2)) if dim > 2 else base
        return larger ** (-np.arange(0, dim, 2) / dim), 1.0

    return scale


def yarn_scaling(factor: float, length: int, *, fast: float = 32.0, slow: float = 1.0) -> Scaling:
    """YaRN: pairs that turn more than ``fast`` times in the first ``length`` positions stay, those
    that turn less than ``slow`` times are interpolated, those between partly.

    Queries and keys are multiplied by ``0.1 ln(factor) + 1``. ``length`` is that of the model
    before it was extended.

    Source: Peng et al. 2023, https://arxiv.org/abs/2309.00071, sections 3.2 to 3.4; between the two
        ends the share runs linearly with the index of the pair, rounded outwards, as in the
        authors' code and all published weights, not with its number of turns.
    """

    def scale(frequencies, base):
        half = len(frequencies)
        index = lambda turns: half * math.log(length / (turns * 2 * math.pi)) / math.log(base)
        first = max(math.floor(index(fast)), 0)
        last = max(min(math.ceil(index(slow)), 2 * half - 1), first)
        share = np.clip((np.arange(half) - first) / ((last - first) or 1e-3), 0, 1)
        attention = 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
        return frequencies * (1 - share) + frequencies / factor * share, attention

    return scale


def llama3_scaling(
    factor: float = 8.0, length: int = 8192, *, low: float = 1.0, high: float = 4.0
) -> Scaling:
    """Llama 3: pairs that turn more than ``high`` times in the first ``length`` positions stay,
    those that turn less than ``low`` times are interpolated, those between partly.

    Source: Grattafiori et al. 2024, https://arxiv.org/abs/2407.21783, and the published code of
        Llama 3.1.
    """

    def scale(frequencies, base):
        turns = length * frequencies / (2 * math.pi)
        stays = np.clip((turns - low) / (high - low), 0, 1)
        return frequencies * stays + frequencies / factor * (1 - stays), 1.0

    return scale


def rotate(
    x: Float[Array, "*B T N H"],
    positions: Int[Array, "*#B T"],
    frequencies: np.ndarray,
    factor: float = 1.0,
    *,
    interleaved: bool = False,
) -> Float[Array, "*B T N H"]:
    """Turn each pair of features by ``position * frequency``; those beyond the pairs stay.

    Pair i is ``(x_i, x_{i + D / 2})``, interleaved ``(x_{2i}, x_{2i + 1})``.

    Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, equation 34.
    """
    dim = 2 * len(frequencies)
    turned, rest = widen(x[..., :dim]), x[..., dim:]
    wide = turned.dtype
    angles = positions[..., None, None].astype(wide) * jnp.asarray(frequencies, wide)  # [T, 1, D/2]
    cos, sin = jnp.cos(angles) * factor, jnp.sin(angles) * factor
    if interleaved:
        a, b = turned[..., ::2], turned[..., 1::2]
        turned = jnp.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(turned.shape)
    else:
        a, b = jnp.split(turned, 2, axis=-1)
        turned = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)
    return jnp.concatenate([turned.astype(x.dtype), rest], -1)


def sinusoids(positions: Int[Array, "*B"], dim: int, base: float = 1e4) -> Float[Array, "*B D"]:
    """``sin(p / base^(2i / dim))`` at feature 2i, its cosine at 2i + 1.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5.
    """
    frequencies = jnp.asarray(base ** (-np.arange(0, dim, 2) / dim), jnp.float32)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], -1)
    return waves.reshape(*positions.shape, dim + dim % 2)[..., :dim]


def alibi_slopes(heads: int) -> np.ndarray:
    """``2^(-8 i / heads)`` for i from 1; where heads is no power of two, as many as there are of
    the power below, then every other one of the power above.

    Source: Press, Smith, Lewis 2021, https://arxiv.org/abs/2108.12409, section 3.
    """
    below = 2 ** int(math.log2(heads))
    slopes = lambda n: 2.0 ** (-8 * np.arange(1, n + 1) / n)
    return np.concatenate([slopes(below), slopes(2 * below)[::2][: heads - below]])


def t5_bucket(
    distance: Int[Array, "*T"], buckets: int, max_distance: int, bidirectional: bool
) -> Int[Array, "*T"]:
    """The bucket of ``key position - query position``.

    Half of the buckets hold one distance each, the others run to max_distance in equal steps of its
    logarithm; with bidirectional, keys ahead have half of all buckets to themselves.

    Source: Raffel et al. 2019, https://arxiv.org/abs/1910.10683, section 2.1, and its code.
    """
    one_way = buckets // 2 if bidirectional else buckets
    exact = one_way // 2
    steps = np.arange(max_distance + 1)
    # in float32, as published models have it, where 1.9999 and 2 are two buckets
    log = np.log(np.maximum(steps, 1).astype(np.float32) / np.float32(exact))
    log = log / np.float32(math.log(max_distance / exact)) * np.float32(one_way - exact)
    far = np.minimum(exact + log.astype(np.int32), one_way - 1)
    table = jnp.asarray(np.where(steps < exact, steps, far), jnp.int32)
    away = jnp.abs(distance) if bidirectional else jnp.maximum(-distance, 0)
    bucket = jnp.take(table, jnp.minimum(away, max_distance), mode="clip")
    return bucket + jnp.where(distance > 0, one_way, 0) if bidirectional else bucket
