"""Losses over classes: optax's, behind a door that refuses what merely broadcasts."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from nnjax.core import check_floating, check_shape
from nnjax.ops.precision import widen

_ALIKE = "Shapes must be equal, not merely broadcast: add or remove an axis."


def softmax_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> jax.Array:
    """``-sum(labels * log softmax(logits))``, or ``-log softmax(logits)[label]`` for integers.

    Shapes: logits [..., C]; labels [...] of integers, or [..., C] of probabilities -> [...].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Units:  nats.
    Raises: ValueError, if the shapes do not fit; TypeError, if logits are not floating.
    """
    name = "softmax_cross_entropy"
    check_floating(name, "logits", logits)
    check_shape(name, "logits", logits, (..., None), "Give it an axis of classes.")
    logits = widen(logits)
    if jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        fix = "Integer labels have no class axis; probabilities are floating."
        check_shape(name, "labels", labels, logits.shape[:-1], fix)
        labels = jnp.asarray(labels, int)  # uint8 cannot be compared with 256 classes
        labels = jnp.asarray(labels)
        inside = (labels >= 0) & (labels < logits.shape[-1])
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.where(inside, labels, 0))
        return jnp.where(inside, loss, jnp.nan)
    check_floating(name, "labels", labels)
    check_shape(name, "labels", labels, logits.shape, _ALIKE)
    return optax.softmax_cross_entropy(logits, jnp.asarray(labels, logits.dtype))


def sigmoid_binary_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> jax.Array:
    """``-labels * log sigmoid(logits) - (1 - labels) * log sigmoid(-logits)``, entry by entry.

    Shapes: logits [...], labels [...] -> [...], all the same.
    Dtypes: labels in [0, 1], of any dtype; computed and returned in float32 or wider.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if logits are not floating.
    """
    name = "sigmoid_binary_cross_entropy"
    check_floating(name, "logits", logits)
    check_shape(name, "labels", labels, jnp.shape(logits), _ALIKE)
    logits = widen(logits)
    return optax.sigmoid_binary_cross_entropy(logits, jnp.asarray(labels, logits.dtype))
