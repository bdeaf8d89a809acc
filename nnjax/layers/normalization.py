"""Normalization by mean and variance: layer, rms, group, instance and batch norm."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.core import (
    Layer,
    check_dtype,
    check_entries,
    check_floating,
    check_positive,
    check_shape,
)
from nnjax.core.errors import LayerValueError
from nnjax.initializers import draw, ones, zeros
from nnjax.ops.normalization import moved, normalize, rms_normalize, standardize
from nnjax.ops.precision import widen


def layer_norm(
    features: int | Sequence[int], *, eps: float = 1e-5, scale: bool = True, bias: bool = True
) -> Layer:
    """Standardise the last axis, then ``y = (x - mean) / sqrt(var + eps) * scale + bias``.

    Several ``features`` standardise as many last axes together: ``layer_norm((8, 8, 3))``.

    Shapes: x [..., *features] -> y [..., *features]; scale [*features], bias [*features].
    Dtypes: params float32; statistics in float32 or wider, whatever x is; y has x.dtype.
    Units:  eps has the units of x squared.
    Raises: ValueError, if the last axes of x are not features; TypeError, if x is not floating.
    Source: Ba, Kiros, Hinton 2016, https://arxiv.org/abs/1607.06450, section 3.
    """
    name = f"layer_norm({features})"
    return _over_features(name, features, lambda x, axes: standardize(x, axes, eps), scale, bias)


def rms_norm(features: int | Sequence[int], *, eps: float = 1e-6, scale: bool = True) -> Layer:
    """Divide by the root mean square of the last axis, ``y = x / sqrt(mean(x^2) + eps) * scale``.

    Several ``features`` are taken together, as in ``layer_norm``.

    Shapes: x [..., *features] -> y [..., *features]; scale [*features].
    Dtypes: params float32; statistics in float32 or wider, whatever x is; y has x.dtype.
    Units:  eps has the units of x squared.
    Raises: ValueError, if the last axes of x are not features; TypeError, if x is not floating.
    Source: Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467, equation 4; with eps.
    """
    name = f"rms_norm({features})"
    return _over_features(name, features, lambda x, axes: rms_normalize(x, axes, eps), scale, False)


def group_norm(
    features: int,
    groups: int,
    *,
    axes: int = 2,
    eps: float = 1e-5,
    scale: bool = True,
    bias: bool = True,
) -> Layer:
    """Standardise each example's channels group by group, all positions of a group together.

    ``y = (x - mean) / sqrt(var + eps) * scale + bias``, with mean and variance over the last
    ``axes`` spatial axes and the features / groups neighbouring channels of a group. One group is
    layer norm over space and channels, as many as features instance norm. Positions where ``mask``
    is False count for nothing and give 0.

    Shapes: x [..., H, W, C] -> y [..., H, W, C]; scale [C], bias [C]; mask [..., H, W].
    Dtypes: params float32; statistics in float32 or wider, whatever x is; y has x.dtype.
    Units:  eps has the units of x squared.
    Raises: ValueError, if groups does not divide features, x does not have these features and
        axes, or a group has a single value; TypeError, if x is not floating or mask not boolean.
    Source: Wu and He 2018, https://arxiv.org/abs/1803.08494, equations 1 to 7.
    """
    name = f"group_norm({features}, {groups})"
    check_positive(name, features=features, groups=groups)
    if features % groups:
        raise LayerValueError(
            f"{name}: got groups={groups}, expected a divisor of features={features}."
        )
    spatial = _spatial(name, axes)
    shapes = _shapes((features,), scale, bias)

    def init(key):
        return draw(key, shapes, scale=ones, bias=zeros), {}

    def apply(params, state, x, *, mask=None, key=None, train=False):
        _check_image(name, x, axes, features, mask)
        entries = _entries(name, params, shapes)
        _check_enough(name, x, mask, math.prod(x.shape[-1 - axes : -1]) * features // groups)
        h = x.reshape(*x.shape[:-1], groups, features // groups)
        over = (*(axis - 1 for axis in spatial), -1)
        h = standardize(h, over, eps, None if mask is None else mask[..., None, None])
        y = _affine(h.reshape(x.shape), entries)
        return _shown(y, mask).astype(x.dtype), state

    return Layer(init, apply, name)


def instance_norm(
    features: int,
    *,
    axes: int = 2,
    eps: float = 1e-5,
    scale: bool = False,
    bias: bool = False,
    running: bool = False,
    decay: float | None = 0.9,
) -> Layer:
    """Standardise each channel of each example, ``(x - mean) / sqrt(var + eps)``.

    Mean and variance are over the last ``axes`` spatial axes; scale and bias, if asked for, follow.
    With ``running``, evaluation takes averages of training's statistics, as batch norm does, and
    ``decay`` says how they move. Positions where ``mask`` is False count for nothing and give 0.

    Shapes: x [..., H, W, C] -> y [..., H, W, C]; scale [C], bias [C]; mask [..., H, W].
    Dtypes: params and state float32; statistics in float32 or wider, whatever x is; y has x.dtype.
    State:  with running, mean [C], var [C] and count as in ``batch_norm``, moved by the mean over
        the examples of their statistics; none without.
    Units:  eps has the units of x squared.
    Raises: ValueError, if x does not have these features and axes, decay is outside [0, 1], or
        there is a single position; TypeError, if x is not floating or mask not boolean.
    Source: Ulyanov et al. 2016, https://arxiv.org/abs/1607.08022, equation 4.
    """
    name = f"instance_norm({features})"
    check_positive(name, features=features)
    spatial = _spatial(name, axes)

    def together(x, mask):
        _check_enough(name, x, mask, math.prod(x.shape[-1 - axes : -1]))
        return spatial, None

    return _running(name, features, axes, together, decay, eps, scale, bias, running)


def batch_norm(
    features: int,
    *,
    decay: float | None = 0.9,
    eps: float = 1e-5,
    scale: bool = True,
    bias: bool = True,
    running: bool = True,
    axis_name: str | Sequence[str] | None = None,
) -> Layer:
    """Standardise each feature, then ``y = (x - mean) / sqrt(var + eps) * scale + bias``.

    Training takes mean and variance over all other axes of x, and over the devices or copies of
    ``axis_name`` (an axis, or several, of ``jax.shard_map`` or ``jax.vmap``) if given; evaluation
    takes the running ones in state, or those of its own batch with ``running=False``. Entries where
    ``mask`` is False count for nothing and give 0.

    Shapes: x [..., C] -> y [..., C]; scale [C], bias [C]; mask [...].
    Dtypes: params and state float32; statistics in float32 or wider, whatever x is; y has x.dtype.
    State:  mean [C] and var [C], moved by ``running = decay * running + (1 - decay) * batch`` in
        training, where var is that of a sample (divided by n - 1), as in PyTorch, whose momentum
        is 1 - decay. They start at 0 and 1, so that evaluating before training is finite. With
        decay=None they are the mean over all batches, and count [] says how many there were.
        Fewer than two values a feature, as in an empty or hidden batch, leave them as they are.
    Units:  eps has the units of x squared.
    Raises: ValueError, if the last axis of x is not features, mask does not fit x, decay is outside
        [0, 1], axis_name is not mapped, or training has one value a feature; TypeError, if x is not
        floating or mask not boolean.
    Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167, algorithm 1.
    """
    name = f"batch_norm({features})"
    check_positive(name, features=features)

    def together(x, mask):
        return _over_batch(name, x, mask, axis_name)

    return _running(name, features, 0, together, decay, eps, scale, bias, running)


def batch_renorm(
    features: int,
    *,
    decay: float = 0.99,
    eps: float = 1e-5,
    max_scale: float = 3.0,
    max_shift: float = 5.0,
    axis_name: str | Sequence[str] | None = None,
) -> Layer:
    """Batch norm whose training, too, is by the running statistics, for small or uneven batches.

    In training, ``y = ((x - mean) / std * r + d) * scale + bias``, with the batch's mean and std
    and, as constants, ``r = std / running_std`` held within a factor ``max_scale`` and
    ``d = (mean - running_mean) / running_std`` within ``max_shift``. Without these two bounds y
    would be that of evaluation; with 1 and 0 it is that of ``batch_norm``.

    Shapes: x [..., C] -> y [..., C]; scale [C], bias [C]; mask [...].
    Dtypes: params and state float32; statistics in float32 or wider, whatever x is; y has x.dtype.
    State:  mean [C] and var [C], as in ``batch_norm``.
    Units:  eps has the units of x squared.
    Raises: ValueError, as ``batch_norm``, or if max_scale is below 1 or max_shift below 0;
        TypeError, if x is not floating or mask not boolean.
    Source: Ioffe 2017, https://arxiv.org/abs/1702.03275, algorithm 1; the bounds are constant here,
        where the paper opens them in the first steps.
    """
    name = f"batch_renorm({features})"
    check_positive(name, features=features)
    if max_scale < 1 or max_shift < 0:
        got = f"got max_scale={max_scale} and max_shift={max_shift}"
        raise LayerValueError(f"{name}: {got}, expected at least 1 and 0.")

    def together(x, mask):
        return _over_batch(name, x, mask, axis_name)

    def correct(h, mean, var, state):
        std, running_std = jnp.sqrt(var + eps), jnp.sqrt(widen(state["var"]) + eps)
        r = jnp.clip(std / running_std, 1 / max_scale, max_scale)
        d = jnp.clip((mean - widen(state["mean"])) / running_std, -max_shift, max_shift)
        return h * jax.lax.stop_gradient(r) + jax.lax.stop_gradient(d)

    return _running(name, features, 0, together, decay, eps, True, True, True, correct)


def _over_features(name, features, standard, scale, bias) -> Layer:
    """A layer that normalizes the last axes, those of shape ``features``."""
    shape = tuple(features) if isinstance(features, Sequence) else (features,)
    for size in shape or (0,):
        check_positive(name, features=size)
    shapes, axes = _shapes(shape, scale, bias), tuple(range(-len(shape), 0))

    def init(key):
        return draw(key, shapes, scale=ones, bias=zeros), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., *shape))
        entries = _entries(name, params, shapes)
        return _affine(standard(x, axes), entries).astype(x.dtype), state

    return Layer(init, apply, name)


def _running(
    name, features, axes, together, decay, eps, scale, bias, running, correct=None
) -> Layer:
    """A layer that trains with x's own moments and evaluates with their averages.

    ``together(x, mask)``: over which axes, and which mapped ones, the moments are.
    """
    if decay is not None and not 0 <= decay <= 1:
        raise LayerValueError(f"{name}: got decay={decay}, expected 0 <= decay <= 1, or None.")
    shape = (features,)
    shapes, carried = _shapes(shape, scale, bias), {}
    if running:
        carried = {"mean": shape, "var": shape} | ({"count": ()} if decay is None else {})

    def init(key):
        state = draw(key, {n: s for n, s in carried.items() if n != "count"}, mean=zeros, var=ones)
        if "count" in carried:
            state["count"] = jax.device_put(np.zeros((), np.int32))
        return draw(key, shapes, scale=ones, bias=zeros), state

    def apply(params, state, x, *, mask=None, key=None, train=False):
        _check_image(name, x, axes, features, mask)
        entries = _entries(name, params, shapes)
        check_entries(name, "state", state, **carried)
        h, new_state = _shown(widen(x), mask), state
        if train or not running:
            over, axis_name = together(h, mask)
            shown = None if mask is None else mask[..., None]
            gain = entries.pop("scale", None) if correct is None else None
            gain = None if gain is None else jnp.asarray(gain, h.dtype)
            h, mean, var, n = normalize(h, gain, over, eps, shown, axis_name)
            if train and running:
                new_state = moved(state, decay, mean, var, n)
            if train and correct is not None:
                h = correct(h, mean, var, state)
        else:
            mean, var = (state[entry].astype(h.dtype) for entry in ("mean", "var"))
            h = (h - mean) * jax.lax.rsqrt(var + eps)
        return _shown(_affine(h, entries), mask).astype(x.dtype), new_state

    return Layer(init, apply, name)


def _over_batch(name, x, mask, axis_name):
    axis_name = tuple(axis_name) if isinstance(axis_name, list) else axis_name
    try:
        copies = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    except NameError:
        raise LayerValueError(
            f"{name}: got axis_name={axis_name!r} outside of a transform that maps it, expected "
            "training inside jax.shard_map or jax.vmap with that axis name. Map the training step, "
            "or build the layer without axis_name."
        ) from None
    _check_enough(name, x, mask, copies * math.prod(x.shape[:-1]))
    return range(x.ndim - 1), axis_name


def _check_image(name: str, x: Any, axes: int, features: int, mask: Any) -> None:
    check_floating(name, "x", x)
    check_shape(name, "x", x, (..., *[None] * axes, features))
    if mask is not None:
        check_dtype(name, "mask", mask, jnp.bool_, "True is what takes part: mask.astype(bool).")
        check_shape(name, "mask", mask, x.shape[:-1], "It has x's axes but for the last.")


def _check_enough(name: str, x: Any, mask: Any, n: int) -> None:
    """Refuse a single value, which would come out as 0; none at all come out as none."""
    if n == 1 and mask is None:
        raise LayerValueError(
            f"{name}: got x of shape {x.shape}, expected two or more values to standardise "
            "together, as one has no variance. Give it more examples or positions; running "
            "statistics, which train=False takes where there are any, need none."
        )


def _spatial(name: str, axes: int) -> tuple[int, ...]:
    check_positive(name, axes=axes + 1)  # none at all will do: x [..., C]
    return tuple(range(-1 - axes, -1))


def _shown(h, mask):
    return h if mask is None else jnp.where(mask[..., None], h, 0)


def _shapes(shape: tuple[int, ...], scale: bool, bias: bool) -> dict[str, tuple[int, ...]]:
    return ({"scale": shape} if scale else {}) | ({"bias": shape} if bias else {})


def _entries(name, params, shapes):
    """The params that there are, checked, by name."""
    return dict(zip(shapes, check_entries(name, "params", params, **shapes), strict=True))


def _affine(h, entries):
    """``h * scale + bias``, or as much of it as there are entries."""
    h = h * entries["scale"].astype(h.dtype) if "scale" in entries else h
    return h + entries["bias"].astype(h.dtype) if "bias" in entries else h
