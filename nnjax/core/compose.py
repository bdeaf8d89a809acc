"""compose: the one primitive that builds layers out of layers."""

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax

from nnjax.core.errors import LayerTypeError, LayerValueError, check_keywords
from nnjax.core.layer import Layer, Params, State, as_layer, changed
from nnjax.core.once import once
from nnjax.ops.random import fold_in

_OWN = 2**32 - 1  # index of the key that forward itself draws with: no child ever has it


def compose(
    forward: Callable[..., Any], name: str | None = None, /, **children: Layer | Callable[..., Any]
) -> Layer:
    """A layer whose ``apply`` is ``forward(net, *inputs)``, where ``net`` holds the children.

    ``net.child(x)`` calls a child with its own parameters, state and key. Called twice, it shares
    its weights and draws new random numbers; ``net.child(x, train=False)`` holds it still. Where
    ``forward`` takes ``key`` or ``train`` as keyword, it gets a key of its own, and the mode.

    A block with children of its own that stands here under several names, one ``Layer`` object,
    is traced once (``nnjax/core/once.py``): build it once, and the network compiles sooner.

    Keys: call n of child i, of c children, gets ``fold_in(key, i + n * c)``, if it draws at all.
    Params, state: ``{child: its tree}``, without entries for children that have none.
    Raises: ValueError, naming the path, for params or state that are not these children's, and for
    a child that draws or updates its state inside a ``jax.lax.scan``, ``jax.vmap`` or other
    transform within ``forward``, from where neither a new state nor a new key can come out.
    """
    layers = {child: as_layer(layer) for child, layer in children.items()}
    name = name or _name_of(forward)
    for child in layers:
        if "/" in child or child.startswith("_"):
            raise LayerValueError(
                f"{name}: got a child named {child!r}, expected no slash and no leading underscore."
            )
    many = [layer for layer, n in Counter(layers.values()).items() if n > 1 and layer.children]
    functions = {layer: once(layer) for layer in many}
    wants = {"key", "train"} & set(inspect.signature(forward).parameters)

    def init(key: jax.Array) -> tuple[Params, State]:
        params, state = {}, {}
        for index, (child, layer) in enumerate(layers.items()):
            child_params, child_state = layer.init(fold_in(key, index))
            if child_params:
                params[child] = child_params
            if child_state:
                state[child] = child_state
        return params, state

    def apply(params, state, *inputs, key=None, train=False, **named):
        if named:
            check_keywords(name, forward, named)
        for what, tree in (("params", params), ("state", state)):
            _check_children(name, what, tree, layers)
        net = Net(name, layers, functions, params, state, key, train)
        if "key" in wants:
            named["key"] = None if key is None else fold_in(key, _OWN)
        if "train" in wants:
            named["train"] = train
        outputs = forward(net, *inputs, **named)
        return outputs, {child: net._state.get(child, old) for child, old in state.items()}

    def rebuild(children):
        return compose(forward, name, **children)

    random = "key" in wants or any(layer.random for layer in layers.values())
    return Layer(init, apply, name, layers, rebuild, random)


class Net:
    """The children of one composed layer, bound to their params, state and keys for one call."""

    def __init__(self, name, layers, functions, params, state, key, train):
        self._name, self._layers, self._functions, self._params = name, layers, functions, params
        self._state, self._key, self._train = dict(state), key, train
        self._calls = dict.fromkeys(layers, 0)
        self._index = {child: index for index, child in enumerate(layers)}
        self._trace = _trace() if state or key is not None else None

    def __getattr__(self, child: str) -> Callable[..., Any]:
        if child not in self._layers:
            known = ", ".join(self._layers) or "none"
            raise AttributeError(f"{self._name}: got no child {child!r}; its children are {known}.")
        return lambda *inputs, **named: self._call(child, inputs, **named)

    __getitem__ = __getattr__

    def _call(self, child, inputs, *, key=None, train=None, **named):
        layer = self._layers[child]
        train = self._train if train is None else train
        count, self._calls[child] = self._calls[child], self._calls[child] + 1
        if key is None and layer.random and self._key is not None:
            if train:
                self._check_trace(child, "draw new random numbers", "pass it a key of its own")
            key = fold_in(self._key, self._index[child] + count * len(self._layers))
        params, state = self._params.get(child, {}), self._state.get(child, {})
        try:
            with jax.named_scope(child):
                apply = self._functions.get(layer, layer.apply)
                outputs, new_state = apply(params, state, *inputs, key=key, train=train, **named)
        except (LayerValueError, LayerTypeError) as error:
            error.path = (child, *error.path)
            raise
        if changed(state, new_state) is not None:
            self._check_trace(child, "update its state", "call it with train=False")
            self._state[child] = new_state
        return outputs

    def _check_trace(self, child: str, deed: str, fix: str) -> None:
        if self._trace is not None and _trace() != self._trace:
            raise LayerValueError(
                f"{self._name}: child {child!r} cannot {deed} inside a jax transform (scan, vmap, "
                f"grad, checkpoint, ...) that runs within forward. Use nn.repeat, nn.ensemble or "
                f"nn.remat in place of the transform, or {fix}."
            )


def _trace() -> Any:
    """What differs from one trace of a transform to another."""
    from jax.extend.core import get_opaque_trace_state  # slow: not before it is asked for

    return get_opaque_trace_state()


def _check_children(name: str, what: str, tree: Any, layers: Mapping[str, Layer]) -> None:
    if not isinstance(tree, Mapping):
        raise LayerTypeError(
            f"{name}: got {what} of type {type(tree).__name__}, expected a dict by child. "
            "Pass what init returned: params, state = model.init(key)."
        )
    unknown = sorted(set(tree) - set(layers))
    if unknown:
        raise LayerValueError(
            f"{name}: got {what} for {', '.join(unknown)}, expected only its children "
            f"{', '.join(layers) or '(none)'}. Is it another model's {what}?"
        )


def _name_of(forward: Callable[..., Any]) -> str:
    """The function that defines ``forward``, as the block's maker is what a reader knows."""
    parts = getattr(forward, "__qualname__", type(forward).__name__).split(".")
    return parts[-3] if len(parts) > 2 and parts[-2] == "<locals>" else parts[-1].strip("<>")
