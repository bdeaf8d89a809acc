"""A twin: one of our layers with the settings and parameters of a peer's module."""

import dataclasses
from collections.abc import Callable
from typing import Any

import nnjax as nn

Get = Callable[[str], Any]  # a parameter's name at the peer -> its values, or their gradients


class NotOurs(Exception):
    """A setting of the peer's that we leave out on purpose; the message is the stated reason."""


def same(*values: Any) -> Any:
    """The arrays as they are: one alone, several as a tuple."""
    return values[0] if len(values) == 1 else values


def none(get: Get) -> dict[str, Any]:
    """No parameters, or no state."""
    return {}


@dataclasses.dataclass(frozen=True)
class Twin:
    """``leave(layer.apply(params(get), state(get), *enter(*inputs), **named))`` is the peer's call.

    ``enter`` and ``leave`` only move axes (channels first to last, time first to batch first) and
    pick outputs; ``enter`` takes the peer's inputs as JAX arrays and may return a tuple, or a tuple
    and a dict of keywords. ``params`` only moves axes and joins or splits arrays, linearly, so that
    it takes gradients as well as values.
    """

    layer: nn.Layer | Callable[..., Any]
    params: Callable[[Get], dict[str, Any]] = none
    state: Callable[[Get], dict[str, Any]] = none
    enter: Callable[..., Any] = lambda *inputs: inputs
    leave: Callable[..., Any] = same
    bfloat16: bool = True  # whether the peer computes in it on CPU


ADAPTERS: dict[str, Callable[[Any], Twin]] = {}
REASONS: dict[str, str] = {}  # peers' modules that have no place here, and why


def adapter(*names: str) -> Callable[[Callable[[Any], Twin]], Callable[[Any], Twin]]:
    """Register ``make(module) -> Twin`` for the torch.nn modules of these names."""

    def register(make):
        for name in names:
            assert name not in ADAPTERS, name
            ADAPTERS[name] = make
        return make

    return register


def last(x: Any) -> Any:
    """Channels from axis 1, as PyTorch has them, to the last axis."""
    import jax.numpy as jnp

    return jnp.moveaxis(x, 1, -1)


def first(x: Any) -> Any:
    """Channels back to axis 1."""
    import jax.numpy as jnp

    return jnp.moveaxis(x, -1, 1)
