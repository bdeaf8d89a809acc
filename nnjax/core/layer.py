"""The contract: a layer is two pure functions, ``init`` and ``apply``, with a name."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core.errors import LayerTypeError, LayerValueError, check_keywords

Params = Any  # nested dicts of arrays
State = Any


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Layer:
    """A pair of pure functions over plain dicts of arrays.

    ``Layer(init, apply, name)`` is all that a layer of your own needs::

        init(key) -> (params, state)
        apply(params, state, *inputs, key=None, train=False) -> (outputs, state)

    ``params`` is what is trained, ``state`` what is carried from call to call; a layer without one
    of them returns ``{}`` for it. ``apply`` returns state with the structure, shapes and dtypes
    that it was given, and the very same arrays when not training. It may take further keyword
    inputs (a mask, a carry).

    Combinators fill in the rest: ``children`` by name (the name ``""`` adds nothing to a path),
    ``rebuild(children)``, the same layer around others, and ``random``, whether training draws
    random numbers, without which a layer is given no key.
    """

    _init: Callable[[jax.Array], tuple[Params, State]]
    _apply: Callable[..., tuple[Any, State]]
    name: str
    children: Mapping[str, "Layer"] = dataclasses.field(default_factory=dict)
    rebuild: Callable[[Mapping[str, "Layer"]], "Layer"] | None = None
    random: bool = False

    def init(self, key: jax.Array) -> tuple[Params, State]:
        """Make the parameters and the state. Never runs a forward pass.

        Raises: TypeError, if ``key`` is not a ``jax.random.key``.
        """
        if not _is_key(key):
            raise LayerTypeError(
                f"{self.name}: init got key={key!r}, expected one jax.random.key(seed)."
            )
        return self._init(key)

    def apply(
        self,
        params: Params,
        state: State,
        *inputs: Any,
        key: jax.Array | None = None,
        train: bool = False,
        **named: Any,
    ) -> tuple[Any, State]:
        """Compute the outputs and the next state.

        Raises: ValueError, if random numbers are due and no key is given; TypeError, for a keyword
        that the layer does not take, or a key that is not a ``jax.random.key``.
        """
        if key is None:
            if self.random and train:
                raise LayerValueError(
                    f"{self.name}: got train=True and no key, expected key=jax.random.key(seed). "
                    "Pass a new one each call, or train=False to switch the noise off."
                )
        elif not _is_key(key):
            raise LayerTypeError(
                f"{self.name}: got key={key!r}, expected one jax.random.key(seed)."
            )
        if named:
            check_keywords(self.name, self._apply, named)
        return self._apply(params, state, *inputs, key=key, train=train, **named)

    def __call__(
        self,
        params: Params,
        *inputs: Any,
        state: State | None = None,
        key: jax.Array | None = None,
        train: bool = False,
        **named: Any,
    ) -> Any:
        """``apply`` without the returned state: the function alone."""
        state = {} if state is None else state
        return self.apply(params, state, *inputs, key=key, train=train, **named)[0]

    def named(self, name: str) -> "Layer":
        """The same layer under another name, which it keeps when it is rebuilt."""
        rebuild = self.rebuild and (lambda children, old=self.rebuild: old(children).named(name))
        return dataclasses.replace(self, name=name, rebuild=rebuild)

    def __repr__(self) -> str:
        if not self.children:
            return self.name
        body = "".join(f"\n{n}: {c!r}" if n else f"\n{c!r}" for n, c in self.children.items())
        return f"{self.name} {{" + body.replace("\n", "\n  ") + "\n}"


def as_layer(layer: Layer | Callable[..., Any]) -> Layer:
    """A layer as it is; any other function of arrays as a layer without parameters."""
    if isinstance(layer, Layer):
        return layer
    if not callable(layer):
        raise LayerTypeError(
            f"got {layer!r} in place of a layer, expected a Layer or a function of arrays."
        )

    function = layer
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", type(function).__name__).strip("<>")

    def init(key):
        return {}, {}

    def apply(params, state, *inputs, key=None, train=False, **named):
        check_keywords(name, layer, named)
        return layer(*inputs, **named), state

    return Layer(init, apply, name)


def map_layers(fn: Callable[[str, Layer], Layer], model: Layer, *, path: str = "") -> Layer:
    """Rewrite a network: ``fn(path, layer)`` replaces each layer, children before their parents.

    Return the layer itself to leave it as it is. A parent is rebuilt around its new children, so
    that a rewrite needs no access to the code that made the network::

        freeze_noise = lambda path, layer: as_layer(lambda x: x) if layer.random else layer

    Raises: ValueError, if a layer has children but no ``rebuild``.
    """
    children = {
        name: map_layers(fn, child, path=f"{path}/{name}".strip("/"))
        for name, child in model.children.items()
    }
    if any(children[name] is not child for name, child in model.children.items()):
        if model.rebuild is None:
            raise LayerValueError(f"{model.name}: it has children and no rebuild function to map.")
        model = model.rebuild(children)
    return fn(path, model)


def changed(old: State, new: State) -> State | None:
    """``new``, or None if it is made of the very arrays of ``old``."""
    olds, news = jax.tree.leaves(old), jax.tree.leaves(new)
    same = len(olds) == len(news) and all(a is b for a, b in zip(olds, news, strict=True))
    return None if same else new


def _is_key(key: Any) -> bool:
    """One typed key, or one of the older uint32 pairs."""
    if not isinstance(key, jax.Array):
        return False
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key.ndim == 0
    return key.dtype == jnp.uint32 and key.ndim == 1
