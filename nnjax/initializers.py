"""Initializers: ``jax.nn.initializers``' names and values, drawn without a compile a shape.

An initializer is a function ``(key, shape, dtype=float32) -> array``. Those of
``jax.nn.initializers`` fit wherever one is asked for; the ones here give the same numbers and start
a program about a second sooner (see ``nnjax.ops.random``).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.ops import random

Initializer = Callable[..., jax.Array]

__all__ = [
    "constant",
    "draw",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "zeros",
]

orthogonal = jax.nn.initializers.orthogonal


def draw(
    key: jax.Array, shapes: Mapping[str, tuple[int, ...]], **makers: Initializer
) -> dict[str, jax.Array]:
    """The parameters of a layer: entry i of ``shapes`` by its maker, from ``fold_in(key, i)``."""
    entries = enumerate(shapes.items())
    return {name: makers[name](random.fold_in(key, i), shape) for i, (name, shape) in entries}


def constant(value: float) -> Initializer:
    """Every entry is ``value``."""

    def init(key, shape, dtype: Any = jnp.float32):
        return jax.device_put(np.full(shape, value, dtype))  # jnp.full compiles a program a shape

    return init


zeros = constant(0.0)
ones = constant(1.0)


def uniform(scale: float = 1e-2) -> Initializer:
    """Uniform in [0, scale)."""

    def init(key, shape, dtype: Any = jnp.float32):
        return random.uniform(key, shape, 0.0, scale).astype(dtype)

    return init


def normal(stddev: float = 1e-2) -> Initializer:
    """Normal with mean 0 and standard deviation ``stddev``."""

    def init(key, shape, dtype: Any = jnp.float32):
        return random.normal(key, shape, stddev).astype(dtype)

    return init


def truncated_normal(stddev: float = 1e-2, lower: float = -2.0, upper: float = 2.0) -> Initializer:
    """Normal given (lower, upper), times ``stddev``; its own deviation is 0.88 ``stddev``."""

    def init(key, shape, dtype: Any = jnp.float32):
        return random.truncated_normal(key, shape, lower, upper, stddev).astype(dtype)

    return init


def variance_scaling(
    scale: float,
    mode: Literal["fan_in", "fan_out", "fan_avg"],
    distribution: Literal["truncated_normal", "normal", "uniform"],
) -> Initializer:
    """Mean 0 and variance ``scale / fan``, with the fan that ``mode`` names.

    Shapes: [..., in, out]; leading axes are a receptive field and count in both fans.
    Raises: ValueError, for another mode or distribution, or a shape of fewer than two axes.
    """
    if mode not in ("fan_in", "fan_out", "fan_avg"):
        raise ValueError(f"got mode {mode!r}, expected 'fan_in', 'fan_out' or 'fan_avg'")
    if distribution not in ("truncated_normal", "normal", "uniform"):
        raise ValueError(
            f"got distribution {distribution!r}, expected 'truncated_normal', 'normal' or 'uniform'"
        )

    def init(key, shape, dtype: Any = jnp.float32):
        if len(shape) < 2:
            raise ValueError(f"got shape {shape}, expected [..., in, out] to count the fans of")
        field = math.prod(shape[:-2])
        fan_in, fan_out = shape[-2] * field, shape[-1] * field
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
        stddev = math.sqrt(scale / max(1.0, fan))
        if distribution == "normal":
            return random.normal(key, shape, stddev).astype(dtype)
        if distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return random.uniform(key, shape, -limit, limit).astype(dtype)
        stddev /= _STDDEV_WITHIN_2
        return random.truncated_normal(key, shape, -2.0, 2.0, stddev).astype(dtype)

    return init


_STDDEV_WITHIN_2 = 0.87962566103423978  # standard deviation of a unit normal given |x| < 2


def lecun_normal() -> Initializer:
    """Variance 1 / fan_in (LeCun et al. 1998, "Efficient BackProp", section 4.6)."""
    return variance_scaling(1.0, "fan_in", "truncated_normal")


def lecun_uniform() -> Initializer:
    """Uniform with variance 1 / fan_in (LeCun et al. 1998, "Efficient BackProp", section 4.6)."""
    return variance_scaling(1.0, "fan_in", "uniform")


def glorot_normal() -> Initializer:
    """Variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, equation 16)."""
    return variance_scaling(1.0, "fan_avg", "truncated_normal")


def glorot_uniform() -> Initializer:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, equation 16)."""
    return variance_scaling(1.0, "fan_avg", "uniform")


def he_normal() -> Initializer:
    """Variance 2 / fan_in, for ReLU (He et al. 2015, https://arxiv.org/abs/1502.01852)."""
    return variance_scaling(2.0, "fan_in", "truncated_normal")


def he_uniform() -> Initializer:
    """Uniform with variance 2 / fan_in (He et al. 2015, https://arxiv.org/abs/1502.01852)."""
    return variance_scaling(2.0, "fan_in", "uniform")
