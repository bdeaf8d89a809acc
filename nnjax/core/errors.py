"""Errors and checks at the public door: each says layer, got, expected and how to mend it."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp


class _Located(Exception):
    """Gathers the names of the layers it passes through, so that the message begins with a path."""

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message
        self.path: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = "/".join(name for name in self.path if name)
        return f"{where}: {self.message}" if where else self.message


class LayerValueError(_Located, ValueError):
    """A value or shape that a layer cannot take."""


class LayerTypeError(_Located, TypeError):
    """A kind of thing (a dtype, a keyword) that a layer cannot take."""


def check_shape(name: str, argument: str, x: Any, shape: tuple[Any, ...], fix: str = "") -> None:
    """Refuse ``x`` unless its shape matches: None stands for any size, ``...`` for any axes."""
    import chex  # imported on first use: it costs 80 ms that `import nnjax` need not pay

    try:
        chex.assert_shape(x, shape)
    except AssertionError:
        wanted = ", ".join("..." if s is ... else "*" if s is None else str(s) for s in shape)
        fix = fix or f"Reshape {argument}, or build the layer with {argument}'s size."
        got = f"got {argument} of shape {jnp.shape(x)}, expected [{wanted}]"
        raise LayerValueError(f"{name}: {got}. {fix}") from None


def check_dtype(name: str, argument: str, x: Any, kind: Any, fix: str) -> None:
    """Refuse ``x`` unless its dtype is of ``kind`` (``jnp.floating``, ``jnp.integer``, ...)."""
    dtype = jnp.result_type(x)
    if not jnp.issubdtype(dtype, kind):
        got = f"got {argument} of dtype {dtype}, expected {kind.__name__}"
        raise LayerTypeError(f"{name}: {got}. {fix}")


def check_floating(name: str, argument: str, x: Any) -> None:
    """Refuse integers, booleans and complex numbers where a layer computes with real ones."""
    check_dtype(name, argument, x, jnp.floating, f"Convert it: {argument}.astype(jnp.float32).")


def check_entries(name: str, what: str, tree: Any, **shapes: tuple[int, ...]) -> list[jax.Array]:
    """The named arrays of one layer's params or state, each refused if missing or mis-shaped."""
    if not isinstance(tree, Mapping) or set(tree) != set(shapes):
        got = sorted(tree) if isinstance(tree, Mapping) else type(tree).__name__
        fix = f"Pass the {what} that this layer's own init returned."
        raise LayerValueError(f"{name}: got {what} {got}, expected {sorted(shapes)}. {fix}")
    for entry, shape in shapes.items():
        if jnp.shape(tree[entry]) != shape:
            got = f"got {what}[{entry!r}] of shape {jnp.shape(tree[entry])}, expected {shape}"
            raise LayerValueError(f"{name}: {got}. Is it another model's {what}?")
    return [tree[entry] for entry in shapes]


def check_keywords(name: str, function: Callable[..., Any], keywords: Mapping[str, Any]) -> None:
    """Refuse keywords that ``function`` does not take, naming those that it does."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some builtins tell no signature; their own TypeError has to do
        return
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    unknown = sorted(set(keywords) - known)
    if unknown:
        known = sorted(known - {"params", "state", "net"} | {"key", "train"})
        raise LayerTypeError(
            f"{name}: got unexpected keyword {', '.join(unknown)}; it takes {', '.join(known)}."
        )


def check_positive(name: str, **sizes: int) -> None:
    """Refuse a size below 1, or one that is not an integer, when a layer is built."""
    for argument, size in sizes.items():
        if isinstance(size, bool) or not hasattr(size, "__index__"):
            got = f"got {argument}={size!r}, expected an integer"
            raise LayerTypeError(f"{name}: {got}. Sizes are given, not inferred.")
        if size < 1:
            raise LayerValueError(f"{name}: got {argument}={size}, expected at least 1.")


def check_choice(name: str, argument: str, got: object, known: Iterable[str]) -> None:
    """Refuse a word that is not among those known."""
    if got not in tuple(known):
        raise LayerValueError(
            f"{name}: got {argument}={got!r}, expected one of {', '.join(known)}."
        )


def check_rate(name: str, rate: float) -> None:
    """Refuse a probability of dropping outside [0, 1)."""
    if not 0 <= rate < 1:
        fix = "It is the share dropped, not the share kept."
        raise LayerValueError(f"{name}: got dropout_rate={rate}, expected 0 <= rate < 1. {fix}")
