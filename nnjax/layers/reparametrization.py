"""Layers whose kernel is computed from other parameters, or drawn anew, at each call."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from nnjax.core import Layer, as_layer, check_positive, check_rate, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.ops.mask import bernoulli
from nnjax.ops.normalization import l2_norm, l2_normalize, power_iteration, standardize
from nnjax.ops.precision import widen
from nnjax.ops.random import fold_in, normal

_OWN = 2**32 - 1  # index of the key that a wrapper draws with; the layer inside keeps its draws


def reparametrize(
    layer: Layer, function: Callable[[jax.Array], jax.Array], *, param: str = "kernel"
) -> Layer:
    """The layer, computed with ``function(params[param])`` in place of ``params[param]``.

    A mask, a symmetric or a positive kernel: ``reparametrize(nn.linear(4, 4), lambda w: w + w.T)``.

    Shapes: as layer; function keeps the shape.
    Raises: ValueError, if layer has no such parameter, or function changes its shape.
    """

    def transform(kernel, own, carried, key, train):
        return function(kernel), {}

    def rebuild(children):
        return reparametrize(children[""], function, param=param)

    return _wrap("reparametrize", layer, param, transform, rebuild)


def weight_standardization(layer: Layer, *, eps: float = 1e-5, param: str = "kernel") -> Layer:
    """The layer with its kernel standardised: mean 0 and variance 1 over all that enter an output.

    ``(kernel - mean) / sqrt(var + eps)``, with mean and variance over all axes but the last. It
    wants a normalization after it, such as ``group_norm``.

    Shapes: as layer.
    Dtypes: statistics in float32 or wider; the kernel keeps its own.
    Units:  eps has the units of kernel squared.
    Raises: ValueError, if layer has no such parameter.
    Source: Qiao et al. 2019, https://arxiv.org/abs/1903.10520, equations 6 and 7; eps is in the
        root.
    """

    def transform(kernel, own, carried, key, train):
        return standardize(kernel, range(kernel.ndim - 1), eps).astype(kernel.dtype), {}

    def rebuild(children):
        return weight_standardization(children[""], eps=eps, param=param)

    return _wrap("weight_standardization", layer, param, transform, rebuild)


def weight_norm(layer: Layer, *, axis: int | None = -1, param: str = "kernel") -> Layer:
    """The layer with length and direction of its kernel apart: ``scale * kernel / |kernel|``.

    The Euclidean norm is over all axes but ``axis``, by default each output's own; over all axes
    for None. It starts as the layer does: scale is the norm of the initial kernel.

    Shapes: as layer; one more parameter, kernel_scale (after ``param``) [kernel.shape[axis]] or [].
    Dtypes: norms in float32 or wider; the kernel keeps its own.
    Raises: ValueError, if layer has no such parameter.
    Source: Salimans and Kingma 2016, https://arxiv.org/abs/1602.07868, equation 2.
    """
    entry = f"{param}_scale"

    def others(kernel):
        kept = () if axis is None else (axis % kernel.ndim,)
        return tuple(a for a in range(kernel.ndim) if a not in kept)

    def spread(kernel, scale):
        sizes = [kernel.shape[a] if a not in others(kernel) else 1 for a in range(kernel.ndim)]
        return scale.reshape(sizes)

    def own_init(key, kernel):
        norm = l2_norm(kernel, others(kernel)).squeeze(others(kernel))
        return {entry: norm.astype(kernel.dtype)}, {}

    def transform(kernel, own, carried, key, train):
        shape = () if axis is None else (kernel.shape[axis],)
        check_shape(name, f"params[{entry!r}]", own[entry], shape, "Is it another model's params?")
        unit = l2_normalize(kernel, others(kernel))
        return (unit * spread(kernel, own[entry].astype(unit.dtype))).astype(kernel.dtype), {}

    def rebuild(children):
        return weight_norm(children[""], axis=axis, param=param)

    name = "weight_norm"
    return _wrap(name, layer, param, transform, rebuild, own_init, own=(entry,))


def spectral_norm(layer: Layer, *, steps: int = 1, param: str = "kernel") -> Layer:
    """The layer with its kernel divided by its largest singular value, which is estimated.

    The kernel is taken as a matrix of its last axis against all others. Training improves the
    estimate by ``steps`` rounds of power iteration a call, whose vectors count as constants.

    Shapes: as layer.
    Dtypes: singular values in float32 or wider; the kernel keeps its own.
    State:  kernel_u [out] and kernel_v [in] (after ``param``), float32: the singular vectors, as
        good as 15 rounds make them at first.
    Raises: ValueError, if layer has no such parameter.
    Source: Miyato et al. 2018, https://arxiv.org/abs/1802.05957, algorithm 1; both vectors are kept
        and u moves first, as in PyTorch.
    """
    check_positive("spectral_norm", steps=steps)
    names = f"{param}_u", f"{param}_v"

    def own_init(key, kernel):
        matrix = kernel.reshape(-1, kernel.shape[-1])
        u, v = (normal(fold_in(key, i), (n,)) for i, n in enumerate(matrix.shape[::-1]))
        if isinstance(kernel, Tracer):
            improve = lambda _, pair: power_iteration(widen(matrix), pair[0], pair[1], 1)
            u, v = jax.lax.fori_loop(0, 15, improve, (u, v))
        else:  # NumPy has no program to compile
            matrix, u, v = (np.asarray(a, np.float32) for a in (matrix, u, v))
            u, v = power_iteration(matrix, u, v, 15)
        return {}, dict(zip(names, map(jax.device_put, (u, v)), strict=True))

    def transform(kernel, own, carried, key, train):
        h = widen(kernel)
        matrix = h.reshape(-1, h.shape[-1])
        for entry, size in zip(names, matrix.shape[::-1], strict=True):
            fix = "Is it another model's state?"
            check_shape(name, f"state[{entry!r}]", carried[entry], (size,), fix)
        u, v = (carried[entry].astype(h.dtype) for entry in names)
        if train:
            u, v = power_iteration(jax.lax.stop_gradient(matrix), u, v, steps)
            carried = {n: a.astype(carried[n].dtype) for n, a in zip(names, (u, v), strict=True)}
        sigma = (u * (matrix * v[:, None]).sum(0)).sum()
        return (h / jnp.where(sigma == 0, 1, sigma)).astype(kernel.dtype), carried

    def rebuild(children):
        return spectral_norm(children[""], steps=steps, param=param)

    name = "spectral_norm"
    return _wrap(name, layer, param, transform, rebuild, own_init, carried=names)


def drop_connect(layer: Layer, dropout_rate: float, *, param: str = "kernel") -> Layer:
    """The layer, in training, with weights of its kernel set to zero with probability dropout_rate.

    The rest are scaled by 1 / (1 - rate). One mask is drawn for the whole batch.

    Shapes: as layer.
    Raises: ValueError, for a rate outside [0, 1), training without a key, or if layer has no such
        parameter.
    Source: Wan et al. 2013, https://proceedings.mlr.press/v28/wan13.html; scaled in training, where
        the paper samples a Gaussian when not training.
    """
    name = f"drop_connect({dropout_rate})"
    check_rate(name, dropout_rate)
    keep = 1.0 - dropout_rate

    def transform(kernel, own, carried, key, train):
        if not train or dropout_rate == 0:
            return kernel, {}
        mask = bernoulli(key, keep, kernel.shape)
        return jnp.where(mask, widen(kernel) / keep, 0).astype(kernel.dtype), {}

    def rebuild(children):
        return drop_connect(children[""], dropout_rate, param=param)

    return _wrap(name, layer, param, transform, rebuild, draws=dropout_rate > 0)


def _wrap(
    name: str,
    layer: Layer,
    param: str,
    transform: Callable[..., tuple[jax.Array, dict[str, jax.Array]]],
    rebuild: Callable[[Mapping[str, Layer]], Layer],
    own_init: Callable[..., tuple[dict[str, Any], dict[str, Any]]] | None = None,
    *,
    own: tuple[str, ...] = (),
    carried: tuple[str, ...] = (),
    draws: bool = False,
) -> Layer:
    """The layer, called with another ``params[param]``, and with entries of its own beside.

    ``own_init(key, kernel)`` makes the params and state of its own, of these names;
    ``transform(kernel, own params, own state, key, train)`` gives the kernel that counts and the
    next own state.
    """
    inner = as_layer(layer)

    def init(key):
        params, state = inner.init(key)
        (kernel,), _ = _split(name, "params", params, (param,))
        params_beside, state_beside = own_init(fold_in(key, _OWN), kernel) if own_init else ({}, {})
        for tree, beside in ((params, params_beside), (state, state_beside)):
            if set(tree) & set(beside):
                raise LayerValueError(
                    f"{name}: got a layer that has {sorted(beside)} already. Wrap it once."
                )
        return {**params, **params_beside}, {**state, **state_beside}

    def apply(params, state, *inputs, key=None, train=False, **named):
        (kernel, *mine), params = _split(name, "params", params, (param, *own))
        kept, state = _split(name, "state", state, carried)
        mine, kept = dict(zip(own, mine, strict=True)), dict(zip(carried, kept, strict=True))
        own_key = fold_in(key, _OWN) if draws and key is not None else None
        kernel, kept = transform(kernel, mine, kept, own_key, train)
        inner_key = key if inner.random else None
        y, state = inner.apply(
            {**params, param: kernel}, state, *inputs, key=inner_key, train=train, **named
        )
        return y, {**state, **kept}

    return Layer(init, apply, name, {"": inner}, rebuild, inner.random or draws)


def _split(name: str, what: str, tree: Any, names: tuple[str, ...]) -> tuple[list[Any], Any]:
    """The entries of these names, and the tree without them."""
    if not isinstance(tree, Mapping) or not set(names) <= set(tree):
        got = sorted(tree) if isinstance(tree, Mapping) else type(tree).__name__
        raise LayerValueError(
            f"{name}: got {what} {got}, expected {', '.join(names)} among them. Give param=... if "
            f"the layer's has another name, and the {what} that init returned."
        )
    return [tree[n] for n in names], {n: a for n, a in tree.items() if n not in names}
