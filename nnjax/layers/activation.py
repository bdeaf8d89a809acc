"""Activations that have parameters or draw random numbers: prelu, rrelu, maxout."""

from typing import Any

import jax
import jax.numpy as jnp

from nnjax.activations import leaky_relu
from nnjax.core import Layer, check_entries, check_floating, check_positive, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, constant, draw, lecun_normal, zeros
from nnjax.ops.precision import widen


def prelu(features: int | None = None, *, slope_init: Initializer = constant(0.25)) -> Layer:
    """ReLU with a trained slope below zero: x above 0, ``slope * x`` elsewhere.

    One slope for all entries, or one a channel with ``prelu(features)``. The derivative at 0 is
    the slope.

    Shapes: x [...] -> y [...], x [..., D] for D features; slope [] or [D].
    Dtypes: slope is made in float32; y has the dtype that x and slope promote to.
    Raises: ValueError, if the last axis of x is not features; TypeError, if x is not floating.
    Source: He et al. 2015, https://arxiv.org/abs/1502.01852, section 2.1.
    """
    name = f"prelu({'' if features is None else features})"
    if features is not None:
        check_positive(name, features=features)
    shape = () if features is None else (features,)

    def init(key):
        return draw(key, {"slope": shape}, slope=slope_init), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., *shape))
        (slope,) = check_entries(name, "params", params, slope=shape)
        y = leaky_relu(widen(x), widen(slope))  # the slope's gradient is a sum over all of x
        return y.astype(jnp.result_type(x, slope)), state

    return Layer(init, apply, name)


def rrelu(lower: float = 1 / 8, upper: float = 1 / 3) -> Layer:
    """ReLU with a random slope below zero: x above 0, ``a * x`` elsewhere.

    Training, each entry draws its a uniformly from [lower, upper); else a is the mean of both.

    Shapes: x [...] -> y [...].
    Dtypes: y has x.dtype.
    Raises: ValueError, if lower is above upper, or training without a key; TypeError, if x is not
        floating.
    Source: Xu et al. 2015, https://arxiv.org/abs/1505.00853, section 2.4; times a, where the paper
        divides by it.
    """
    name = f"rrelu({lower:g}, {upper:g})"
    if not lower <= upper:
        raise LayerValueError(f"{name}: got lower={lower}, expected at most upper={upper}.")

    def init(key):
        return {}, {}

    def apply(params, state, x, *, key: Any = None, train=False):
        check_floating(name, "x", x)
        if not train or lower == upper:
            return leaky_relu(x, (lower + upper) / 2), state
        slope = jax.random.uniform(key, x.shape, minval=lower, maxval=upper)
        return leaky_relu(x, slope.astype(x.dtype)), state

    return Layer(init, apply, name, random=lower < upper)


def maxout(
    in_features: int,
    out_features: int,
    *,
    pieces: int = 2,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """The largest of several affine maps, entry by entry: ``y = max_k (x @ kernel_k + bias_k)``.

    Shapes: x [..., in] -> y [..., out]; kernel [in, out * pieces], bias [out * pieces], where the
        pieces of one output are neighbours.
    Dtypes: params are made in float32; y has the dtype that x and params promote to.
    Raises: ValueError, if the last axis of x is not in_features; TypeError, if x is not floating.
    Source: Goodfellow et al. 2013, https://arxiv.org/abs/1302.4389, section 3.
    """
    name = f"maxout({in_features}, {out_features})"
    check_positive(name, in_features=in_features, out_features=out_features, pieces=pieces)
    width = out_features * pieces
    shapes = {"kernel": (in_features, width), "bias": (width,)}

    def init(key):
        return draw(key, shapes, kernel=kernel_init, bias=bias_init), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., in_features))
        kernel, bias = check_entries(name, "params", params, **shapes)
        y = x @ kernel + bias
        return y.reshape(*x.shape[:-1], out_features, pieces).max(-1), state

    return Layer(init, apply, name)
