"""Normalization by responses: local and global response norm, and unit norm."""

import operator
from collections.abc import Sequence

import jax.numpy as jnp

from nnjax.core import Layer, check_entries, check_floating, check_positive, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.initializers import draw, zeros
from nnjax.ops.normalization import l2_norm, l2_normalize, window_sum
from nnjax.ops.precision import widen


def local_response_norm(
    size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Layer:
    """Divide each channel by the energy of its ``size`` neighbours, itself included.

    ``y = x / (k + alpha / size * sum(x^2))^beta``, the sum over channels c - size // 2 to
    c + (size - 1) // 2; beyond the ends they count as 0.

    Shapes: x [..., C] -> y [..., C].
    Dtypes: sums in float32 or wider, whatever x is; y has x.dtype.
    Units:  k has the units of alpha times x squared.
    Raises: ValueError, if x has no axis or size is not positive; TypeError, if x is not floating.
    Source: Krizhevsky et al. 2012, section 3.3, https://doi.org/10.1145/3065386; alpha is divided
        by size, as in PyTorch and Caffe, where the paper multiplies the plain sum.
    """
    name = f"local_response_norm({size})"
    check_positive(name, size=size)

    def init(key):
        return {}, {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., None), "Give it channels, as its last axis.")
        h = widen(x)
        energy = k + alpha / size * window_sum(jnp.square(h), size)
        return (h * energy**-beta).astype(x.dtype), state

    return Layer(init, apply, name)


def global_response_norm(features: int, *, axes: int = 2, eps: float = 1e-6) -> Layer:
    """Let the channels of an example compete: ``y = x + scale * x * n + bias``.

    Here ``n = g / (mean of g over channels + eps)``, g a channel's Euclidean norm over the last
    ``axes`` spatial axes. scale and bias start at zero, and the layer as the identity.

    Shapes: x [..., H, W, C] -> y [..., H, W, C] for axes = 2; scale [C], bias [C].
    Dtypes: params float32; norms in float32 or wider, whatever x is; y has x.dtype.
    Units:  eps has the units of x.
    Raises: ValueError, if x does not have these features and axes; TypeError, if x is not floating.
    Source: Woo et al. 2023, https://arxiv.org/abs/2301.00808, section 3, algorithm 1.
    """
    name = f"global_response_norm({features})"
    check_positive(name, features=features, axes=axes)
    shapes = {"scale": (features,), "bias": (features,)}
    spatial = tuple(range(-1 - axes, -1))

    def init(key):
        return draw(key, shapes, scale=zeros, bias=zeros), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., *[None] * axes, features))
        scale, bias = check_entries(name, "params", params, **shapes)
        h = widen(x)
        g = l2_norm(h, spatial)
        n = g / (g.mean(-1, keepdims=True) + eps)
        y = h + scale.astype(h.dtype) * h * n + bias.astype(h.dtype)
        return y.astype(x.dtype), state

    return Layer(init, apply, name)


def unit_norm(axis: int | Sequence[int] = -1, *, eps: float = 1e-12) -> Layer:
    """Scale to Euclidean length one along ``axis``, or several together: ``y = x / max(|x|, eps)``.

    Shapes: x [...] -> y [...].
    Dtypes: lengths in float32 or wider, whatever x is; y has x.dtype.
    Units:  eps has the units of x.
    Raises: ValueError, if x has no such axis; TypeError, if x is not floating.
    """
    name = f"unit_norm({axis})"
    axes = tuple(map(operator.index, axis if isinstance(axis, Sequence) else (axis,)))

    def init(key):
        return {}, {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        if any(not -x.ndim <= a < x.ndim for a in axes):
            raise LayerValueError(
                f"{name}: got x of shape {x.shape}, expected one that has axis {axis}. "
                "Axes counted from the end are negative."
            )
        return l2_normalize(x, axes, eps).astype(x.dtype), state

    return Layer(init, apply, name)
