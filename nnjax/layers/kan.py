"""Kolmogorov-Arnold layers: a trained spline on each edge."""

import math

import jax
import jax.numpy as jnp

from nnjax.core import Layer, check_entries, check_floating, check_positive, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.initializers import draw, glorot_uniform, normal, ones
from nnjax.ops.precision import widen
from nnjax.ops.splines import bspline_basis, uniform_knots


def kan(
    in_features: int,
    out_features: int,
    *,
    intervals: int = 5,
    degree: int = 3,
    low: float = -1.0,
    high: float = 1.0,
) -> Layer:
    """Each output sums one trained curve of each input: ``y_j = sum_i phi_ij(x_i)``.

    A curve is ``phi_ij(x) = kernel_ij silu(x) + scale_ij sum_k spline_ijk B_k(x)``, with B-splines
    of the given degree on [low, high], cut into equal intervals. Beyond it the splines fade to
    nothing within ``degree`` intervals, and silu is left: keep inputs within, by a norm before.

    Shapes: x [..., in] -> y [..., out]; kernel and scale [in, out], spline [in, intervals + degree,
        out].
    Dtypes: params float32; splines in float32 or wider; y has x.dtype.
    Raises: ValueError, if the last axis of x is not in_features, or low and high are
        not finite with low < high; TypeError, if x is not floating.
    Source: Liu et al. 2024, https://arxiv.org/abs/2404.19756, equations 2.10 and 2.11; the grid
        stays where it is made.
    """
    name = f"kan({in_features}, {out_features})"
    check_positive(name, in_features=in_features, out_features=out_features)
    check_positive(name, intervals=intervals, degree=degree)
    if not -math.inf < low < high < math.inf:
        got = f"got low={low} and high={high}, expected low < high, both finite"
        raise LayerValueError(f"{name}: {got}. Give the range that inputs have.")
    knots = uniform_knots(low, high, intervals, degree)
    edges = in_features, out_features
    shapes = {
        "kernel": edges,
        "scale": edges,
        "spline": (in_features, intervals + degree, out_features),
    }

    def init(key):
        makers = {"kernel": glorot_uniform(), "scale": ones, "spline": normal(0.1)}
        return draw(key, shapes, **makers), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., in_features))
        h = widen(x)
        entries = check_entries(name, "params", params, **shapes)
        kernel, scale, spline = (p.astype(h.dtype) for p in entries)
        basis = bspline_basis(h, knots, degree)  # [..., in, K]
        curves = jnp.einsum("...ik,iko->...o", basis, scale[:, None] * spline)
        return (jax.nn.silu(h) @ kernel + curves).astype(x.dtype), state

    return Layer(init, apply, name)
