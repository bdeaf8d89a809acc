"""Random numbers for initializers: ``jax.random``'s values, without a program a shape to compile.

``jax.random.normal(key, shape)`` compiles a threefry program for every new shape, about 0.4 s each
on a CPU: most of the time from process start to the first training step. For a concrete key the
functions here compute the same bits with NumPy; for a traced key, another generator or a very
large array they call ``jax.random``. The bits are ``jax.random``'s; uniform numbers agree to the
last place, normal ones to a few (the two sides round ``log1p`` and products differently).
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

# From about here a compiled program repays its compilation (NumPy hashes 20 M numbers a second).
HOST_LIMIT = 2**22


def fold_in(key: jax.Array, data: Any) -> jax.Array:
    """``jax.random.fold_in(key, data)``: the key number ``data`` derived from ``key``."""
    pair = None if isinstance(data, jax.Array) else _host_key(key)
    if pair is None:
        return jax.random.fold_in(key, data)
    word = np.array([data], np.uint32)
    folded = np.concatenate(_threefry(pair, np.zeros_like(word), word))
    return jax.random.wrap_key_data(jax.device_put(folded), impl="threefry2x32")


def uniform(
    key: jax.Array, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0
) -> jax.Array:
    """``jax.random.uniform(key, shape, minval=low, maxval=high)`` in float32."""
    pair = _host_key(key)
    if pair is None or math.prod(shape) > HOST_LIMIT:
        return jax.random.uniform(key, shape, jnp.float32, low, high)
    return _draw(pair, shape, lambda bits: _uniform(bits, low, high))


def normal(key: jax.Array, shape: tuple[int, ...], stddev: float = 1.0) -> jax.Array:
    """``jax.random.normal(key, shape) * stddev`` in float32."""
    pair, scale = _host_key(key), np.float32(stddev)
    if pair is None or math.prod(shape) > HOST_LIMIT:
        return jax.random.normal(key, shape, jnp.float32) * scale
    low = np.nextafter(np.float32(-1), np.float32(0))
    return _draw(pair, shape, lambda bits: _normal(_uniform(bits, low, 1.0)) * scale)


def truncated_normal(
    key: jax.Array, shape: tuple[int, ...], low: float, high: float, stddev: float = 1.0
) -> jax.Array:
    """``jax.random.truncated_normal(key, low, high, shape) * stddev`` in float32."""
    pair, scale = _host_key(key), np.float32(stddev)
    if pair is None or math.prod(shape) > HOST_LIMIT:
        return jax.random.truncated_normal(key, low, high, shape, jnp.float32) * scale
    ends = math.erf(low / math.sqrt(2)), math.erf(high / math.sqrt(2))
    f32 = np.float32
    inside = np.nextafter(f32(low), f32(np.inf)), np.nextafter(f32(high), f32(-np.inf))
    return _draw(pair, shape, lambda bits: np.clip(_normal(_uniform(bits, *ends)), *inside) * scale)


def _host_key(key: jax.Array) -> np.ndarray | None:
    """The two words of a concrete threefry key; None where only ``jax.random`` will do."""
    if (
        isinstance(key, Tracer)
        or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        or str(jax.random.key_impl(key)) != "threefry2x32"
        or not jax.config.jax_threefry_partitionable  # type: ignore  # flags are added at run time
    ):
        return None
    words = jax.random.key_data(key)
    return None if isinstance(words, Tracer) else np.asarray(words)  # it is one inside a jit


def _draw(
    pair: np.ndarray, shape: tuple[int, ...], number: Callable[[np.ndarray], np.ndarray]
) -> jax.Array:
    """``number(bits)``; the bits of element i are the two words of threefry(key, i), xored."""
    drawn = np.empty(math.prod(shape), np.float32)
    for start in range(0, drawn.size, 2**14):  # a piece that stays in the cache
        low = np.arange(start, min(start + 2**14, drawn.size), dtype=np.uint32)
        x, y = _threefry(pair, np.zeros_like(low), low)
        drawn[start : start + low.size] = number(x ^ y)
    return jax.device_put(drawn.reshape(shape))  # jnp.asarray would compile a program


def _threefry(pair: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Threefry-2x32, 20 rounds (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405)."""
    k0, k1 = (np.array([word], np.uint32) for word in pair)  # arrays wrap around in silence
    schedule = (k0, k1, k0 ^ k1 ^ np.uint32(0x1BD11BDA))
    x, y = x + schedule[0], y + schedule[1]
    for group in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x += y
            y = ((y << np.uint32(turn)) | (y >> np.uint32(32 - turn))) ^ x
        x += schedule[(group + 1) % 3]
        y += schedule[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def _uniform(bits: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """23 bits become the mantissa of a number in [1, 2), which is moved to [low, high)."""
    low, high = np.float32(low), np.float32(high)
    unit = ((bits >> np.uint32(9)) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)
    moved = unit.astype(np.float64) * (high - low) + low  # XLA, too, rounds product and sum once
    return np.maximum(low, moved.astype(np.float32))


def _normal(x: np.ndarray) -> np.ndarray:
    """sqrt(2) erfinv(x) to 3e-7 relative (Giles 2010, "Approximating the erfinv function")."""
    w = -np.log1p(-x * x)
    p = _polynomial(w - np.float32(2.5), _CENTRE)
    tail = w >= 5
    p[tail] = _polynomial(np.sqrt(w[tail]) - np.float32(3), _TAIL)
    return np.float32(math.sqrt(2)) * (p * x)


def _polynomial(v: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    total = np.full_like(v, coefficients[0])
    for c in coefficients[1:]:
        total *= v
        total += np.float32(c)
    return total


_CENTRE = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087) + (
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
_TAIL = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773) + (
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)
