"""Random masks for dropout: a hash of each entry's number, and ``jax.random``'s own generators.

Threefry takes 20 rounds a pair of words, so on a CPU the mask of a dropout costs more than most of
the layers it stands between. A mask needs no cryptographic generator: here the number of the entry
and the two words of the key go through a 32-bit mixer twice, which XLA fuses with whatever uses the
mask. ``benchmarks/random_quality.py`` puts the bits through the tests that threefry's pass.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, UInt32

from nnjax.ops.lowering import way

Generator = Literal["auto", "hash", "key"]


def bernoulli(
    key: jax.Array, probability: float, shape: tuple[int, ...], generator: Generator = "auto"
) -> Bool[Array, "..."]:
    """True with this probability, independently for each entry.

    generator: "hash" is this file's; "key" is ``jax.random.bernoulli``, the generator that the key
        is of; "auto" is "hash" for a threefry key, whose numbers, like threefry's, are the same on
        every device and under every sharding.
    """
    if generator == "auto":
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        threefry = not typed or str(jax.random.key_impl(key)) == "threefry2x32"
        generator = "hash" if threefry and math.prod(shape) <= 2**32 else "key"
    with way("mask", generator):
        if generator == "key":
            return jax.random.bernoulli(key, probability, shape)
        limit = round(probability * 2**32)  # to 2^-32, where float32 draws have 2^-23
        if limit >= 2**32:
            return jnp.ones(shape, bool)
        return hash_bits(key, shape) < np.uint32(limit)


def hash_bits(key: jax.Array, shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """32 random bits an entry: ``mix(mix(i ^ k0) + k1)`` for the i-th, k0 and k1 the key's words.

    ``mix`` is a bijection of 32 bits: shifts and products with constants that were searched for
    until each output bit flips with a probability near 1/2 when any input bit does ("lowbias32", as
    improved by TheIronBorn, https://github.com/skeeto/hash-prospector).
    """
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    words = jax.random.key_data(key) if typed else key
    number = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape))):
        along = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        number = number + along * np.uint32(stride % 2**32)
        stride *= shape[axis]
    return _mix(_mix(number ^ words[0]) + words[-1])


def _mix(x: jax.Array) -> jax.Array:
    shift = jax.lax.shift_right_logical
    x = (x ^ shift(x, np.uint32(16))) * np.uint32(0x21F0AAAD)
    x = (x ^ shift(x, np.uint32(15))) * np.uint32(0xD35A2D97)
    return x ^ shift(x, np.uint32(15))
