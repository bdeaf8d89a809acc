"""Couplings: invertible layers with a known log-determinant, for normalizing flows."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core import Layer, check_floating, check_positive, check_shape, compose
from nnjax.core.errors import LayerValueError
from nnjax.ops.precision import widen

Network = Layer | Callable[..., jax.Array]


def additive_coupling(features: int, network: Network, *, swap: bool = False) -> Layer:
    """One part of x shifted by a function of the other: ``y = [a, b + network(a)]``, x = [a, b].

    a is the first ``features // 2`` entries of the last axis, b the rest; with swap, a is the rest
    and b the first. ``layer(params, y, inverse=True)`` takes the shift away again: exactly, but for
    the rounding of one sum. Its determinant is 1. Returns (y, log_det).

    Shapes: x [..., features] -> y [..., features], log_det [...]; network maps a [..., A] to
        [..., B].
    Dtypes: y and log_det have x.dtype.
    Raises: ValueError, if features is below 2, the last axis of x is not features, or network
        returns another shape; TypeError, if x is not floating.
    Source: Dinh, Krueger, Bengio 2015, https://arxiv.org/abs/1410.8516, section 3.2.
    """
    name = f"additive_coupling({features})"

    def transform(net, a, b, inverse):
        shift = _conditioned(name, net, a, b.shape).astype(b.dtype)
        return b - shift if inverse else b + shift, jnp.zeros(b.shape[:-1], b.dtype)

    return _coupling(name, features, network, swap, transform)


def affine_coupling(features: int, network: Network, *, swap: bool = False) -> Layer:
    """One part of x scaled and shifted by functions of the other: ``y = [a, b exp(s) + t]``.

    x = [a, b] as in ``additive_coupling``, and network(a) is [r, t] side by side, with s = tanh(r),
    so that one coupling scales by e at most. ``layer(params, y, inverse=True)`` is the inverse,
    ``b = (y - t) exp(-s)``, of log-determinant -sum s. Returns (y, log_det).

    Shapes: x [..., features] -> y [..., features], log_det [...]; network maps a [..., A] to
        [..., 2 B].
    Dtypes: scale, shift and log_det in float32 or wider; y and log_det have x.dtype.
    Raises: ValueError, if features is below 2, the last axis of x is not features, or network
        returns another shape; TypeError, if x is not floating.
    Source: Dinh, Sohl-Dickstein, Bengio 2017, https://arxiv.org/abs/1605.08803, equations 7 and 8;
        theirs has a trained factor before the tanh's result, which more couplings stand in for.
    """
    name = f"affine_coupling({features})"

    def transform(net, a, b, inverse):
        both = _conditioned(name, net, a, (*b.shape[:-1], 2 * b.shape[-1]))
        raw, shift = jnp.split(widen(both), 2, axis=-1)
        h, log_scale = widen(b), jnp.tanh(raw)
        h = (h - shift) * jnp.exp(-log_scale) if inverse else h * jnp.exp(log_scale) + shift
        log_det = -log_scale.sum(-1) if inverse else log_scale.sum(-1)
        return h.astype(b.dtype), log_det.astype(b.dtype)

    return _coupling(name, features, network, swap, transform)


def flow(*couplings: Layer) -> Layer:
    """Invertible layers one after the other; their log-determinants add up.

    Each takes ``inverse`` and returns (y, log_det), as the couplings do. ``layer(params, y,
    inverse=True)`` runs the inverses in the opposite order. With base density p, the density of x
    is ``log p(y) + log_det``. The first is named ``step_0``, the next ``step_1``.

    Shapes: x [..., D] -> y [..., D], log_det [...].
    Raises: ValueError, if there is no layer.
    Source: Rezende and Mohamed 2015, https://arxiv.org/abs/1505.05770, section 3.
    """
    name = "flow"
    if not couplings:
        raise LayerValueError(f"{name}: got no layer, expected one or more couplings.")
    steps = {f"step_{i}": layer for i, layer in enumerate(couplings)}

    def forward(net, x, *, inverse: bool = False):
        first, *rest = reversed(steps) if inverse else steps
        x, log_det = net[first](x, inverse=inverse)
        for step in rest:
            x, more = net[step](x, inverse=inverse)
            log_det = log_det + more
        return x, log_det

    return compose(forward, name, **steps)


def _coupling(name: str, features: int, network: Network, swap: bool, transform: Any) -> Layer:
    check_positive(name, features=features)
    if features < 2:
        raise LayerValueError(f"{name}: got features={features}, expected two or more to part.")
    half = features // 2

    def forward(net, x, *, inverse: bool = False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., features))
        head, tail = x[..., :half], x[..., half:]
        a, b = (tail, head) if swap else (head, tail)
        b, log_det = transform(net, a, b, inverse)
        return jnp.concatenate([b, a] if swap else [a, b], axis=-1), log_det

    return compose(forward, name, network=network)


def _conditioned(name: str, net: Any, a: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """What the network makes of a, refused unless it is of this shape: sums would broadcast it."""
    made = net.network(a)
    fix = f"It is given the {a.shape[-1]} entries that stay."
    check_shape(name, "network(a)", made, shape, fix)
    return made
