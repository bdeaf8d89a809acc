"""first_nonfinite: where the first NaN or infinity of a network is."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from nnjax.core import Layer, map_layers, paths


class NonFiniteLossError(ArithmeticError):
    """Training met a loss that is NaN or infinite; ``step`` says when, ``where`` says what."""

    def __init__(self, step: int, value: float, where: str):
        super().__init__(
            f"the loss was {value} at step {step}, counted from 0; first non-finite: {where}. "
            "Lower the learning rate, clip gradients (optax.clip_by_global_norm), or look at the "
            "inputs of that step."
        )
        self.step, self.where = step, where


def first_nonfinite(
    model: Layer,
    params: Any,
    state: Any,
    *inputs: Any,
    key: jax.Array | None = None,
    train: bool = False,
) -> str | None:
    """What is first to be NaN or infinite: ``"parameter linear_0/kernel"``; None if nothing is.

    Looks at parameters, then state, then inputs, then the output of every layer in the order of
    computation. Runs the model once, layer by layer, so it is slow and shows the true order.
    """
    for kind, tree in (("parameter", params), ("state", state), ("input", inputs)):
        for path, array in paths(tree).items():
            if not bool(_is_finite(array)):
                return f"{kind} {path}"

    found: list[str] = []

    def watch(path: str, layer: Layer) -> Layer:
        def note(finite):
            if not finite:
                found.append(path or layer.name)

        def apply(params, state, *inputs, key=None, train=False, **named):
            outputs, state = layer.apply(params, state, *inputs, key=key, train=train, **named)
            for array in jax.tree.leaves(outputs):
                finite = _is_finite(array)
                if isinstance(finite, Tracer):  # inside the scan of a repeat, say
                    jax.debug.callback(note, finite)
                else:
                    note(finite)
            return outputs, state

        return dataclasses.replace(layer, _apply=apply)

    outputs, _ = map_layers(watch, model).apply(params, state, *inputs, key=key, train=train)
    jax.block_until_ready(outputs)
    jax.effects_barrier()
    return f"output of {found[0]}" if found else None


def _is_finite(array: Any) -> jax.Array:
    if not jnp.issubdtype(jnp.result_type(array), jnp.inexact):
        return jnp.asarray(True)
    return jnp.isfinite(array).all()
