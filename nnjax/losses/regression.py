"""Losses over real targets: optax's, behind a door that refuses what merely broadcasts."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from nnjax.core import check_floating, check_shape
from nnjax.ops.precision import widen


def squared_error(predictions: ArrayLike, targets: ArrayLike) -> jax.Array:
    """``(predictions - targets)**2``, entry by entry, without the half that some books put before.

    Shapes: predictions [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the targets, squared.
    Raises: ValueError, if the shapes differ; TypeError, if predictions are not floating.
    """
    name = "squared_error"
    fix = "Shapes must be equal, not merely broadcast: targets[:, None] or predictions[:, 0]."
    check_floating(name, "predictions", predictions)
    check_shape(name, "targets", targets, jnp.shape(predictions), fix)
    predictions = widen(predictions)
    return optax.squared_error(predictions, jnp.asarray(targets, predictions.dtype))
