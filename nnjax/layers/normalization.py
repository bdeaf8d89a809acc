"""Normalization: batch_norm and layer_norm."""

import jax
import jax.numpy as jnp

from nnjax.core import Layer, check_entries, check_floating, check_positive, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.initializers import ones, zeros
from nnjax.ops.precision import widen


def layer_norm(features: int, *, eps: float = 1e-5) -> Layer:
    """Standardise the last axis, then ``y = (x - mean) / sqrt(var + eps) * scale + bias``.

    Shapes: x [..., D] -> y [..., D]; scale [D], bias [D].
    Dtypes: params float32; statistics in float32 or wider, whatever x is; y has x.dtype.
    Units:  eps has the units of x squared.
    Raises: ValueError, if the last axis of x is not features; TypeError, if x is not floating.
    Source: Ba, Kiros, Hinton 2016, https://arxiv.org/abs/1607.06450, section 3.
    """
    name = f"layer_norm({features})"
    check_positive(name, features=features)

    def init(key):
        return {"scale": ones(key, (features,)), "bias": zeros(key, (features,))}, {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., features))
        scale, bias = check_entries(name, "params", params, scale=(features,), bias=(features,))
        h = widen(x)
        h = h - h.mean(-1, keepdims=True)  # two passes; E[x^2] - E[x]^2 cancels at large means
        h = h * jax.lax.rsqrt(jnp.square(h).mean(-1, keepdims=True) + eps)
        return _affine(h, scale, bias).astype(x.dtype), state

    return Layer(init, apply, name)


def batch_norm(
    features: int, *, decay: float = 0.9, eps: float = 1e-5, axis_name: str | None = None
) -> Layer:
    """Standardise each feature, then ``y = (x - mean) / sqrt(var + eps) * scale + bias``.

    Training takes mean and variance over all other axes of x, and over the devices or copies of
    ``axis_name`` (the axis of a ``jax.shard_map`` or ``jax.vmap``) if given; otherwise they are the
    running ones in state.

    Shapes: x [..., C] -> y [..., C]; scale [C], bias [C].
    Dtypes: params and state float32; statistics in float32 or wider, whatever x is; y has x.dtype.
    State:  mean [C] and var [C], moved by ``running = decay * running + (1 - decay) * batch`` in
        training, where var is that of a sample (divided by n - 1), as in PyTorch, whose momentum
        is 1 - decay. They start at 0 and 1, so that evaluating before training is finite.
    Units:  eps has the units of x squared.
    Raises: ValueError, if the last axis of x is not features, decay is outside [0, 1], or training
        has fewer than two values a feature; TypeError, if x is not floating.
    Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167, algorithm 1.
    """
    name = f"batch_norm({features})"
    check_positive(name, features=features)
    if not 0 <= decay <= 1:
        raise LayerValueError(f"{name}: got decay={decay}, expected 0 <= decay <= 1.")
    shape = (features,)

    def init(key):
        params = {"scale": ones(key, shape), "bias": zeros(key, shape)}
        return params, {"mean": zeros(key, shape), "var": ones(key, shape)}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., features))
        scale, bias = check_entries(name, "params", params, scale=shape, bias=shape)
        mean, var = check_entries(name, "state", state, mean=shape, var=shape)
        h = widen(x)
        if not train:
            mean, var = mean.astype(h.dtype), var.astype(h.dtype)
            y = _affine((h - mean) * jax.lax.rsqrt(var + eps), scale, bias)
            return y.astype(x.dtype), state

        copies = 1 if axis_name is None else jax.lax.axis_size(axis_name)
        n = copies * (h.size // features)
        if n < 2:
            raise LayerValueError(
                f"{name}: got x of shape {x.shape} in training, expected two or more values a "
                "feature to take a variance of. Train on larger batches, or with train=False."
            )
        axes = tuple(range(h.ndim - 1))
        average = lambda a: (
            a.mean(axes) if axis_name is None else jax.lax.pmean(a.mean(axes), axis_name)
        )
        batch_mean = average(h)
        h = h - batch_mean  # two passes; E[x^2] - E[x]^2 cancels at large means
        batch_var = average(jnp.square(h))
        move = lambda old, new: decay * old + (1 - decay) * new.astype(old.dtype)
        new_state = {"mean": move(mean, batch_mean), "var": move(var, batch_var * n / (n - 1))}
        y = _affine(h * jax.lax.rsqrt(batch_var + eps), scale, bias)
        return y.astype(x.dtype), jax.lax.stop_gradient(new_state)

    return Layer(init, apply, name)


def _affine(h, scale, bias):
    return h * scale.astype(h.dtype) + bias.astype(h.dtype)
