"""make_step: one step of gradient descent as a pure function."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from nnjax.core import Layer, check_shape
from nnjax.train.state import TrainState

Loss = Callable[[Any, Any], jax.Array]  # (outputs, targets) -> one value an example, or a scalar
Step = Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]


def make_step(
    model: Layer,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    metrics: Mapping[str, Loss] | None = None,
) -> Step:
    """A pure function ``step(train_state, (inputs, targets)) -> (train_state, values)``.

    The mean of ``loss(outputs, targets)`` is minimised; ``values`` holds it as "loss" and the means
    of ``metrics``, from the forward pass of the step itself. It is plain JAX: jit it, give it
    sharded arrays, scan over it. Donate the old state, as the new one can use its memory::

        step = jax.jit(nn.train.make_step(model, loss, optimizer), donate_argnums=0)

    A stochastic model draws with ``train_state.step_key()``, another key each step.
    """
    metrics = dict(metrics or {})

    def step(train_state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        params, state, opt_state, count, run_key = train_state
        inputs, targets = batch
        key = train_state.step_key() if model.random else None

        def objective(params):
            outputs, new_state = model.apply(params, state, inputs, key=key, train=True)
            return jnp.mean(loss(outputs, targets)), (outputs, new_state)

        (value, (outputs, new_state)), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        values = {name: jnp.mean(metric(outputs, targets)) for name, metric in metrics.items()}
        new = TrainState(params, new_state, opt_state, count + 1, run_key)
        return new, {"loss": value, **values}

    return step


def accuracy(logits: ArrayLike, labels: ArrayLike) -> jax.Array:
    """1.0 where the largest logit is the label's, else 0.0.

    Shapes: logits [..., C], labels [...] -> [...]. Dtypes: labels integers; the result is float32.
    Raises: ValueError, if the shapes do not fit.
    """
    check_shape("accuracy", "labels", labels, jnp.shape(logits)[:-1], "Give one label an example.")
    return (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
