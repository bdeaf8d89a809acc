"""summary, output_shape and count_params: what a network is, without allocating an array."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core.layer import Layer, map_layers


def count_params(params: Any) -> int:
    """How many numbers a tree of arrays (or of their specs) holds."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def output_shape(model: Layer, *specs: Any) -> Any:
    """The shape of ``model``'s output for inputs of these shapes; a tree of shapes for several.

    A spec is a shape (then float32), an array, or a ``jax.ShapeDtypeStruct``. Nothing is computed.
    """
    outputs, _ = _trace(model, specs)
    return jax.tree.map(lambda a: a.shape, outputs)


def summary(model: Layer, *specs: Any) -> str:
    """A table of the layers by path: kind, output shape, parameters and their bytes.

    The row of a layer with children counts theirs. A layer called twice shows its last output.
    Specs are as in ``output_shape``. Nothing is computed or allocated.
    """
    shapes: dict[str, Any] = {}
    names: dict[str, str] = {}

    def watch(path, layer):  # a wrapper such as repeat shares the path of what it wraps
        names[path] = f"{layer.name} of {names[path]}" if path in names else layer.name

        def apply(params, state, *inputs, key=None, train=False, **named):
            outputs, state = layer.apply(params, state, *inputs, key=key, train=train, **named)
            shapes[path] = jax.tree.map(jnp.shape, outputs)
            return outputs, state

        return dataclasses.replace(layer, _apply=apply)

    watched = map_layers(watch, model)
    _, (params, state) = _trace(watched, specs)

    rows = [("path", "layer", "output", "params", "bytes")]
    for path in _outline(model):
        own = _subtree(params, path)
        shape = _show(shapes[path]) if path in shapes else "not called"
        rows.append((path or ".", names[path], shape, f"{count_params(own):,}", f"{_bytes(own):,}"))
    carried = f"state: {count_params(state):,} numbers, {_bytes(state):,} bytes"
    return _table(rows) + (f"\n{carried}" if state else "")


def explain(model: Layer, *specs: Any, train: bool = False) -> str:
    """A table of the operations that have several implementations, and which one each takes here.

    The choice is that of this backend and these shapes; ``implementation=...`` of the layer, or
    ``generator=...`` of dropout, overrides it. Within ``nnjax.ops.lowering.compile_for("gpu")`` it
    is that of a GPU. Specs are as in ``output_shape``. Nothing is computed.
    """
    inputs = _specs(specs)
    key = jax.random.key(0)
    params, state = jax.eval_shape(model.init, key)
    call = lambda p, s, k, *xs: model.apply(p, s, *xs, key=k, train=train)[0]
    jaxpr = jax.make_jaxpr(call)(params, state, key, *inputs)
    rows = {tuple(place.rsplit("/", 1)): None for place in _marked(jaxpr.jaxpr, "")}
    table = [(path, *mark.split("=")) for path, mark in rows]
    return _table([("path", "operation", "implementation"), *table]) if table else "No choices."


def _marked(jaxpr: Any, above: str) -> Iterator[str]:
    """Places "path/operation=implementation" of a jaxpr's equations, in order."""
    for equation in jaxpr.eqns:
        place = f"{above}/{equation.source_info.name_stack}".strip("/")
        parts = place.split("/")
        for i, part in enumerate(parts):
            if "=" in part:
                path = [above for above in parts[:i] if "=" not in above]
                yield "/".join([*(path or ["."]), part])
        for inner in jax.tree.leaves(tuple(equation.params.values()), is_leaf=_is_jaxpr):
            if _is_jaxpr(inner):
                yield from _marked(getattr(inner, "jaxpr", inner), place)


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns")  # closed or not


def _trace(model: Layer, specs: tuple[Any, ...]) -> tuple[Any, Any]:
    key = jax.eval_shape(lambda: jax.random.key(0))
    params, state = jax.eval_shape(model.init, key)
    outputs, _ = jax.eval_shape(model.apply, params, state, *_specs(specs))
    return outputs, (params, state)


def _specs(specs: tuple[Any, ...]) -> list[Any]:
    return [jax.ShapeDtypeStruct(s, jnp.float32) if isinstance(s, tuple) else s for s in specs]


def _outline(model: Layer, path: str = "") -> dict[str, None]:
    """Paths, parents first, in the order of the network."""
    found = {path: None}
    for name, child in model.children.items():
        found |= _outline(child, f"{path}/{name}".strip("/"))
    return found


def _subtree(tree: Any, path: str) -> Any:
    for name in path.split("/") if path else ():
        tree = tree.get(name, {})
    return tree


def _bytes(tree: Any) -> int:
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in jax.tree.leaves(tree))


def _show(shapes: Any) -> str:
    is_shape = lambda s: isinstance(s, tuple) and all(isinstance(n, int) for n in s)
    return ", ".join(map(str, jax.tree.leaves(shapes, is_leaf=is_shape)))


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column >= 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
