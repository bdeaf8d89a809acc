"""make_evaluate and make_predict: a network on held-out data, in batches of one shape."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.core import Layer
from nnjax.core.errors import LayerValueError
from nnjax.data import batches
from nnjax.train.step import Loss

Evaluate = Callable[[Any, Any, tuple[Any, Any]], dict[str, float]]
Predict = Callable[[Any, Any, Any], np.ndarray]


def make_evaluate(model: Layer, metrics: Mapping[str, Loss], *, batch_size: int = 512) -> Evaluate:
    """A function ``evaluate(params, state, (inputs, targets)) -> {name: mean over the examples}``.

    Each metric takes (outputs, targets) and gives one value an example, or an array an example,
    whose mean is taken. The last batch is filled up and the filling masked, so that nothing is
    compiled twice.
    """

    @jax.jit
    def totals(params, state, inputs, targets, mask):
        outputs = model(params, inputs, state=state)

        def total(name):
            values = metrics[name](outputs, targets)
            if values.shape[:1] != mask.shape:
                raise LayerValueError(
                    f"{name}: got values of shape {values.shape} from a batch of {len(mask)}, "
                    "expected one value an example. Leave its mean to evaluate."
                )
            return jnp.sum(values.reshape(len(mask), -1).mean(1), where=mask)

        return {name: total(name) for name in metrics}

    def evaluate(params, state, data):
        sums, count = dict.fromkeys(metrics, 0.0), 0
        size = min(batch_size, max(1, len(data[0])))
        for *batch, mask in batches(tuple(data), size, tail="pad"):
            found = jax.device_get(totals(params, state, *batch, mask))
            sums = {name: sums[name] + float(found[name]) for name in metrics}
            count += int(mask.sum())
        return {name: value / count for name, value in sums.items()}

    return evaluate


def make_predict(model: Layer, *, batch_size: int = 512) -> Predict:
    """A function ``predict(params, state, inputs) -> outputs`` for any number of examples."""
    apply = jax.jit(lambda params, state, inputs: model(params, inputs, state=state))

    def predict(params, state, inputs):
        outputs = []
        size = min(batch_size, max(1, len(inputs)))
        for batch, mask in batches((inputs,), size, tail="pad"):
            outputs.append(np.asarray(apply(params, state, batch))[mask])
        return np.concatenate(outputs)

    return predict
