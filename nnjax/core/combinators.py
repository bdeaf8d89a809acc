"""serial, parallel, residual and remat: how layers join."""

from collections.abc import Callable
from typing import Any

import jax

from nnjax.core.compose import compose
from nnjax.core.errors import LayerValueError
from nnjax.core.layer import Layer, as_layer
from nnjax.core.once import called, parted


def serial(*layers: Layer | Callable[..., Any], **named: Layer | Callable[..., Any]) -> Layer:
    """Layers one after the other: ``serial(f, g)`` is ``g(f(x))``, ``serial()`` the identity.

    Children are named by kind and count (``linear_0``, ``relu_0``, ``linear_1``), so that a name
    stays when a layer of another kind is added, or by keyword. The first layer takes all inputs,
    the others the output of the one before.
    """

    def forward(net, *inputs, **keywords):
        first, *rest = children or (None,)
        if first is None:
            (x,) = inputs
            return x
        x = net[first](*inputs, **keywords)
        for child in rest:
            x = net[child](x)
        return x

    children = _by_kind(layers, named)
    return compose(forward, "serial", **children)


def parallel(*layers: Layer | Callable[..., Any], **named: Layer | Callable[..., Any]) -> Layer:
    """Layers side by side: each gets all the inputs; the outputs are a tuple in the same order."""

    def forward(net, *inputs, **keywords):
        return tuple(net[child](*inputs, **keywords) for child in children)

    children = _by_kind(layers, named)
    return compose(forward, "parallel", **children)


def residual(
    body: Layer | Callable[..., Any], shortcut: Layer | Callable[..., Any] | None = None
) -> Layer:
    """``y = x + body(x)``, or ``shortcut(x) + body(x)`` where the shapes need it.

    Raises: ValueError, if the two terms differ in shape: a sum must not broadcast by accident.
    Source: He et al. 2015, https://arxiv.org/abs/1512.03385, equations 1 and 2.
    """

    def forward(net, x, **keywords):
        y = net.body(x, **keywords)
        x = x if shortcut is None else net.shortcut(x)
        if x.shape != y.shape:
            raise LayerValueError(
                f"residual: got body output of shape {y.shape}, expected {x.shape} as the shortcut "
                "has. Give a shortcut that maps x to body's shape: residual(body, shortcut)."
            )
        return x + y

    children = {"body": body} if shortcut is None else {"body": body, "shortcut": shortcut}
    return compose(forward, "residual", **children)


def remat(layer: Layer | Callable[..., Any], *, policy: Callable[..., bool] | None = None) -> Layer:
    """The same layer, whose inner values are computed again in the backward pass, not stored.

    ``policy`` is one of ``jax.checkpoint_policies``: what may be stored all the same.
    """
    inner = as_layer(layer)

    def apply(params, state, *inputs, **named):
        arrays, others = parted((params, state, inputs, named))
        run = lambda arrays: called(inner, arrays, others)
        outputs, new_state = jax.checkpoint(run, policy=policy)(arrays)
        return outputs, state if new_state is None else new_state

    def rebuild(children):
        return remat(children[""], policy=policy)

    return Layer(inner.init, apply, "remat", {"": inner}, rebuild, inner.random)


def _by_kind(layers, named) -> dict[str, Layer]:
    """``linear(4, 3)`` is named ``linear_0``, the next linear ``linear_1``."""
    children: dict[str, Layer] = {}
    counts: dict[str, int] = {}
    for layer in map(as_layer, layers):
        kind = layer.name.split("(")[0]
        counts[kind] = counts.get(kind, -1) + 1
        children[f"{kind}_{counts[kind]}"] = layer
    for name, layer in named.items():
        if name in children:
            raise LayerValueError(
                f"got two layers named {name!r}; rename the one given by keyword."
            )
        children[name] = as_layer(layer)
    return children
