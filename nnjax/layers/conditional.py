"""Conditional normalization: scale, shift or gate by another input."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core import Layer, check_floating, check_positive, check_shape, compose
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, zeros
from nnjax.layers.linear import linear
from nnjax.layers.normalization import layer_norm
from nnjax.ops.normalization import moments, standardize
from nnjax.ops.precision import widen


def film(features: int, condition_features: int, *, kernel_init: Initializer = zeros) -> Layer:
    """Scale and shift each feature of x by what the condition c says: ``y = x * (1 + s) + t``.

    ``s, t = c @ kernel + bias``, the same at all positions of an example. A kernel of zeros, which
    the paper does not start from, makes it the identity at first.

    Shapes: x [..., *positions, D], c [..., K] -> y [..., *positions, D], where c has the leading
        axes of x; params modulation/kernel [K, 2D], modulation/bias [2D], s before t.
    Dtypes: y has x.dtype; products in float32 or wider.
    Raises: ValueError, if x or c have other features, or their leading axes differ; TypeError, if
        they are not floating.
    Source: Perez et al. 2018, https://arxiv.org/abs/1709.07871, equation 2.
    """
    name = f"film({features}, {condition_features})"
    check_positive(name, features=features, condition_features=condition_features)

    def forward(net, x, condition):
        _check_condition(name, x, condition, features, condition_features)
        scale, shift = _spread(net.modulation(condition), x, 2)
        return _modulate(x, scale, shift)

    modulation = linear(condition_features, 2 * features, kernel_init=kernel_init)
    return compose(forward, name, modulation=modulation)


def conditional_norm(
    norm: Layer, features: int, condition_features: int, *, kernel_init: Initializer = zeros
) -> Layer:
    """A normalization whose scale and shift depend on the condition: ``film(norm(x), c)``.

    Give ``norm`` no scale and bias of its own: around ``batch_norm`` it is conditional batch norm,
    around ``instance_norm`` the adaptive instance norm of StyleGAN. Keywords go to ``norm``.

    Shapes: x [..., *positions, D], c [..., K] -> y [..., *positions, D], where c has the leading
        axes of x; params of norm and of film.
    Raises: as norm and ``film``: ValueError for shapes, TypeError for dtypes.
    Source: de Vries et al. 2017, https://arxiv.org/abs/1707.00683, section 3; Karras et al. 2019,
        https://arxiv.org/abs/1812.04948, equation 1.
    """

    def forward(net, x, condition, **named):
        return net.film(net.norm(x, **named), condition)

    name = f"conditional_norm({features}, {condition_features})"
    modulated = film(features, condition_features, kernel_init=kernel_init)
    return compose(forward, name, norm=norm, film=modulated)


def adaptive_instance_norm(axes: int = 2, *, eps: float = 1e-5) -> Layer:
    """Give x, channel by channel, the mean and deviation of the example in ``style``.

    ``y = (x - mean(x)) / std(x) * std(style) + mean(style)``, over the last ``axes`` spatial axes
    and with ``std = sqrt(var + eps)``.

    Shapes: x [..., H, W, C], style [..., H', W', C] -> y [..., H, W, C] for axes = 2.
    Dtypes: statistics in float32 or wider; y has x.dtype.
    Units:  eps has the units of x squared.
    Raises: ValueError, if x has too few axes, or style other leading axes or channels; TypeError,
        if they are not floating.
    Source: Huang and Belongie 2017, https://arxiv.org/abs/1703.06868, equation 8.
    """
    name = f"adaptive_instance_norm({axes})"
    check_positive(name, axes=axes)
    spatial = tuple(range(-1 - axes, -1))

    def init(key):
        return {}, {}

    def apply(params, state, x, style, *, key=None, train=False):
        check_floating(name, "x", x)
        check_floating(name, "style", style)
        check_shape(name, "x", x, (..., *[None] * (axes + 1)), "Give it spatial axes and channels.")
        wanted = (*x.shape[: -1 - axes], *[None] * axes, x.shape[-1])
        check_shape(name, "style", style, wanted, "It has the examples and channels of x.")
        mean, var, _ = moments(style, spatial)
        h = standardize(x, spatial, eps)
        mean, var = mean.astype(h.dtype), var.astype(h.dtype)
        return (h * jnp.sqrt(var + eps) + mean).astype(x.dtype), state

    return Layer(init, apply, name)


def adaln_zero(
    body: Layer | Callable[..., Any],
    features: int,
    condition_features: int,
    *,
    eps: float = 1e-6,
    kernel_init: Initializer = zeros,
) -> Layer:
    """A residual branch that the condition modulates: ``y = x + g * body(norm(x) * (1 + s) + t)``.

    ``s, t, g = silu(c) @ kernel + bias``, the same at all positions of an example; norm is layer
    norm without scale and bias. From a kernel of zeros the branch starts closed, and the layer as
    the identity. Keywords go to ``body``.

    Shapes: x [..., *positions, D], c [..., K] -> y [..., *positions, D], where c has the leading
        axes of x; params of body, modulation/kernel [K, 3D], modulation/bias [3D], s, t, g.
    Dtypes: y has x.dtype.
    Raises: ValueError, if x or c have other features, their leading axes differ, or body changes
        the shape; TypeError, if they are not floating.
    Source: Peebles and Xie 2023, https://arxiv.org/abs/2212.09748, section 3.2.
    """
    name = f"adaln_zero({features}, {condition_features})"
    check_positive(name, features=features, condition_features=condition_features)

    def forward(net, x, condition, **named):
        _check_condition(name, x, condition, features, condition_features)
        modulation = net.modulation(jax.nn.silu(condition))
        scale, shift, gate = _spread(modulation, x, 3)
        y = net.body(_modulate(net.norm(x), scale, shift), **named)
        if y.shape != x.shape:
            raise LayerValueError(
                f"{name}: got body output of shape {y.shape}, expected {x.shape} as x has. "
                "A residual sum must not broadcast: end body with features outputs."
            )
        return x + gate.astype(y.dtype) * y

    norm = layer_norm(features, eps=eps, scale=False, bias=False)
    modulation = linear(condition_features, 3 * features, kernel_init=kernel_init)
    return compose(forward, name, norm=norm, modulation=modulation, body=body)


def _check_condition(name, x, condition, features, condition_features):
    check_floating(name, "x", x)
    check_floating(name, "condition", condition)
    check_shape(name, "x", x, (..., features))
    check_shape(name, "condition", condition, (..., condition_features))
    batch = condition.shape[:-1]
    if len(batch) >= x.ndim or x.shape[: len(batch)] != batch:
        raise LayerValueError(
            f"{name}: got condition of shape {condition.shape} for x of shape {x.shape}, expected "
            f"x's leading axes and then {condition_features}. Give one condition an example."
        )


def _spread(modulation, x, parts):
    """The parts of the last axis, each with axes of size 1 for the positions that x has more."""
    batch = modulation.shape[:-1]
    ones = (1,) * (x.ndim - 1 - len(batch))
    return [
        part.reshape(*batch, *ones, part.shape[-1])
        for part in jnp.split(modulation, parts, axis=-1)
    ]


def _modulate(x, scale, shift):
    h = widen(x)
    return (h * (1 + scale.astype(h.dtype)) + shift.astype(h.dtype)).astype(x.dtype)
