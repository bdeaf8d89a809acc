"""Radial basis functions: how near x is to each of a set of centres."""

import math

import jax.numpy as jnp

from nnjax.core import Layer, check_entries, check_floating, check_positive, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, constant, draw, normal
from nnjax.ops.precision import widen


def rbf(
    in_features: int,
    centers: int,
    *,
    gamma: float = 1.0,
    center_init: Initializer = normal(1.0),
) -> Layer:
    """Gaussian bumps about trained centres: ``y_k = exp(-gamma_k |x - center_k|^2)``.

    Each centre has its own gamma, kept positive by its logarithm. With a linear layer behind it
    this is the classic RBF network: ``serial(rbf(4, 16), linear(16, 1))``.

    Shapes: x [..., in] -> y [..., centers]; center [centers, in], log_gamma [centers].
    Dtypes: params float32; distances in float32 or wider; y has x.dtype.
    Units:  gamma is one over those of x squared.
    Raises: ValueError, if the last axis of x is not in_features, or gamma is not positive;
        TypeError, if x is not floating.
    Source: Broomhead and Lowe 1988, "Multivariable functional interpolation and adaptive networks",
        Complex Systems 2, https://www.complex-systems.com/abstracts/v02_i03_a05/.
    """
    name = f"rbf({in_features}, {centers})"
    check_positive(name, in_features=in_features, centers=centers)
    if not gamma > 0:
        raise LayerValueError(f"{name}: got gamma={gamma}, expected a positive number.")
    shapes = {"center": (centers, in_features), "log_gamma": (centers,)}

    def init(key):
        return draw(key, shapes, center=center_init, log_gamma=constant(math.log(gamma))), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., in_features))
        h = widen(x)
        entries = check_entries(name, "params", params, **shapes)
        center, log_gamma = (p.astype(h.dtype) for p in entries)
        gap = h[..., None, :] - center  # not |x|^2 - 2 x.c + |c|^2, which cancels at large means
        return jnp.exp(-jnp.exp(log_gamma) * jnp.square(gap).sum(-1)).astype(x.dtype), state

    return Layer(init, apply, name)
