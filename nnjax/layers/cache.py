"""Decoding: what layers remember of a sequence that comes in pieces."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core import Layer, as_layer, check_entries, check_positive, check_shape, map_layers
from nnjax.core.errors import LayerValueError


@dataclasses.dataclass(frozen=True)
class Room:
    """How much a layer may remember, and whether it does: only while decoding."""

    batch: tuple[int, ...]
    length: int
    dtype: Any
    decode: bool


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Remembering(Layer):
    """A layer whose outputs depend on what came before: ``remember(room)`` keeps that in state."""

    remember: Callable[[Room], Layer] = lambda room: cached  # type: ignore  # always given


def cached(
    model: Layer | Callable[..., Any],
    length: int,
    *,
    batch: int | tuple[int, ...] = (),
    dtype: Any = jnp.float32,
) -> Layer:
    """The same network, which with ``decode=True`` takes up a sequence where the last call left it.

    Works on any network whose self-attention is causal, without touching its code. Pieces may have
    any length: a prompt, then a token at a time. All together give what one call with the whole
    sequence gives. Without ``decode=True`` it is the model as it was, and leaves the cache alone::

        decoder = nn.cached(model, 512, batch=8)
        _, state = decoder.init(key)  # parameters are those of model
        y, state = decoder.apply(params, state, prompt, decode=True)  # [8, 20, D]
        y, state = decoder.apply(params, state, y[:, -1:], decode=True)  # [8, 1, D]

    While decoding, the keys of a mask are all ``length`` of the cache, [..., T, length]. Beyond
    length all outputs are NaN, so that it shows. Attention to a context is computed as ever.

    Shapes: the model's; batch are all axes before T in what attention gets.
    Dtypes: keys and values are kept in dtype.
    State: the model's, and at each causal attention ``cache`` with key and value
        [*batch, K, length, D] and length, the count so far; at layers that add positions, clock.
    Raises: ValueError, if model remembers nothing, pieces do not fit, or, decoding, attention is
        not causal.
    Source: Shazeer 2019, https://arxiv.org/abs/1911.02150, section 2.4, on what decoding keeps.
    """
    check_positive("cached", length=length)
    batch = (batch,) if isinstance(batch, int) else tuple(batch)
    found = []

    def version(decode: bool) -> Layer:
        room = Room(batch, length, dtype, decode)

        def fill(path, layer):
            if not isinstance(layer, Remembering):
                return layer
            found.append(path)
            return layer.remember(room)

        return map_layers(fill, as_layer(model))

    still, moving = version(False), version(True)
    if not found:
        raise LayerValueError(f"cached: got {still.name}, expected a network with attention in it.")

    def apply(params, state, *inputs, key=None, train=False, decode=False, **named):
        layer = moving if decode else still
        return layer.apply(params, state, *inputs, key=key, train=train, **named)

    def rebuild(children):
        return cached(children[""], length, batch=batch, dtype=dtype)

    return Layer(still.init, apply, f"cached({length})", {"": still}, rebuild, still.random)


def kv_cache(key_heads: int, head_dim: int, *, causal: bool = True) -> Layer:
    """The keys and values of earlier pieces before those of this one; without room, only these.

    ``layer({})`` is how many there were, ``layer({}, key, value)`` are all of them, which is to say
    the whole cache: what is not written yet is later than any query, so a causal mask hides it.
    """
    name = f"kv_cache({key_heads}, {head_dim})"

    def init(key):
        return {}, {}

    def apply(params, state, k=None, v=None, *, key=None, train=False):
        return (None if k is None else (k, v)), state

    def remember(room):
        if not causal:
            return dataclasses.replace(idle, _apply=refuse) if room.decode else idle
        kept = (*room.batch, key_heads, room.length, head_dim)  # as the products read it: no copy
        shapes = {"key": kept, "value": kept, "length": ()}

        def init(key):
            empty = {part: jnp.zeros(kept, room.dtype) for part in ("key", "value")}
            return {}, {**empty, "length": jnp.zeros((), jnp.int32)}

        def decode(params, state, k=None, v=None, *, key=None, train=False):
            keys, values, count = check_entries(name, "state", state, **shapes)
            if k is None or v is None:
                return count, state
            fix = "The cache was made for other batch axes: nn.cached(model, length, batch=...)."
            check_shape(name, "keys", k, (*room.batch, None, key_heads, head_dim), fix)
            steps = k.shape[-3]
            if steps > room.length:
                raise LayerValueError(
                    f"{name}: got {steps} steps, expected at most the cache's length={room.length}."
                )
            v = jnp.where(count + steps <= room.length, v, jnp.nan)
            write = lambda old, new: jax.lax.dynamic_update_slice_in_dim(
                old, new.swapaxes(-3, -2).astype(old.dtype), count, axis=-2
            )
            keys, values = write(keys, k), write(values, v)
            new_state = {"key": keys, "value": values, "length": count + steps}
            read = lambda kept, new: kept.swapaxes(-3, -2).astype(new.dtype)
            return (read(keys, k), read(values, v)), new_state

        return Remembering(init, decode if room.decode else apply, name, remember=remember)

    def refuse(params, state, k=None, v=None, *, key=None, train=False):
        raise LayerValueError(
            f"{name}: got decode=True in attention that is not causal, whose outputs depend on "
            "what comes later. Build it with causal=True, or call it with the whole sequence."
        )

    idle = Remembering(init, apply, name, remember=remember)
    return idle


def clock() -> Layer:
    """The positions of ``steps`` next elements: from 0 on, or from where the last piece ended."""

    def init(key):
        return {}, {}

    def apply(params, state, steps, *, key=None, train=False):
        return jnp.arange(steps, dtype=jnp.int32), state

    def remember(room):
        def init(key):
            return {}, {"count": jnp.zeros((), jnp.int32)}

        def decode(params, state, steps, *, key=None, train=False):
            (count,) = check_entries("clock", "state", state, count=())
            return count + jnp.arange(steps, dtype=jnp.int32), {"count": count + steps}

        return Remembering(init, decode if room.decode else apply, "clock", remember=remember)

    return Remembering(init, apply, "clock", remember=remember)
