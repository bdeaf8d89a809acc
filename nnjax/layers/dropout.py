"""Dropout: noise that only training has."""

from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core import Layer, check_floating, check_rate


def dropout(dropout_rate: float) -> Layer:
    """Set each entry to zero with probability dropout_rate, and scale the rest by 1 / (1 - rate).

    The identity when not training. One mask is drawn for the whole batch.

    Shapes: x [...] -> y [...].
    Dtypes: y has x.dtype.
    Raises: ValueError, for a rate outside [0, 1), or training without a key; TypeError, if x is
        not floating.
    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html; scaled in
        training, not afterwards as the paper has it.
    """
    name = f"dropout({dropout_rate})"
    check_rate(name, dropout_rate)
    keep = 1.0 - dropout_rate

    def init(key):
        return {}, {}

    def apply(params, state, x, *, key: Any = None, train=False):
        check_floating(name, "x", x)
        if not train or dropout_rate == 0:
            return x, state
        mask = jax.random.bernoulli(key, keep, jnp.shape(x))
        return jnp.where(mask, x / keep, 0).astype(x.dtype), state

    return Layer(init, apply, name, random=dropout_rate > 0)
