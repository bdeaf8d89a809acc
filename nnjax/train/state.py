"""TrainState: all that training carries from step to step, as one pytree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nnjax.core import Layer
from nnjax.ops.random import fold_in


class TrainState(NamedTuple):
    """Parameters, layer state, optimizer state, number of steps taken and the key of the run.

    The key is kept as its words, which ``jit`` hands over like any array; a typed key costs a
    small step some 10 % of its time. A key of another kind than threefry stays typed.
    """

    params: Any
    state: Any
    opt_state: Any
    step: jax.Array  # [] int32
    key: jax.Array  # [2] uint32

    def step_key(self) -> jax.Array:
        """The key that this step draws with: ``fold_in(key, step)``."""
        typed = jnp.issubdtype(self.key.dtype, jax.dtypes.prng_key)
        key = self.key if typed else jax.random.wrap_key_data(self.key, impl="threefry2x32")
        return fold_in(key, self.step)


def init_state(model: Layer, optimizer: optax.GradientTransformation, key: jax.Array) -> TrainState:
    """The state before the first step. Parameters and the noise of training have a key each."""
    params, state = model.init(fold_in(key, 0))
    step = jax.device_put(np.int32(0))  # jnp.zeros compiles a program
    opt_state = jax.jit(optimizer.init)(params)  # or it compiles a program a shape
    run_key = fold_in(key, 1)
    if str(jax.random.key_impl(run_key)) == "threefry2x32":
        run_key = jax.random.key_data(run_key)
    return TrainState(params, state, opt_state, step, run_key)
