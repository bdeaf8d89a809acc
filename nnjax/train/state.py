"""TrainState: all that training carries from step to step, as one pytree."""

from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from nnjax.core import Layer
from nnjax.ops.random import fold_in


class TrainState(NamedTuple):
    """Parameters, layer state, optimizer state, number of steps taken and the key of the run."""

    params: Any
    state: Any
    opt_state: Any
    step: jax.Array  # [] int32
    key: jax.Array


def init_state(model: Layer, optimizer: optax.GradientTransformation, key: jax.Array) -> TrainState:
    """The state before the first step. Parameters and the noise of training have a key each."""
    params, state = model.init(fold_in(key, 0))
    step = jax.device_put(np.int32(0))  # jnp.zeros compiles a program
    opt_state = jax.jit(optimizer.init)(params)  # or it compiles a program a shape
    return TrainState(params, state, opt_state, step, fold_in(key, 1))
