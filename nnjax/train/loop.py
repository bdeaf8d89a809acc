"""fit: the loop around the step."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nnjax.core import Layer, count_params
from nnjax.data import batches
from nnjax.train.diagnose import NonFiniteLossError, first_nonfinite
from nnjax.train.evaluate import make_evaluate
from nnjax.train.state import TrainState, init_state
from nnjax.train.step import Loss, Step, make_step

Row = dict[str, float]
Run = Callable[[TrainState, Sequence[Any]], tuple[TrainState, dict[str, np.ndarray]]]

WINDOW = 32  # steps between two looks at the loss
TINY = 100_000  # parameters below which a step costs less than its dispatch


def fit(
    model: Layer,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    train: tuple[Any, Any],
    *,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    validation: tuple[Any, Any] | None = None,
    metrics: Mapping[str, Loss] | None = None,
    train_state: TrainState | None = None,
    scan: bool | None = None,
    progress: bool = True,
    on_epoch: Callable[[TrainState, list[Row]], None] | None = None,
) -> tuple[TrainState, list[Row]]:
    """Train on (inputs, targets); return the last state and a row of figures for every epoch.

    An epoch takes the examples in a new order and leaves out a last, shorter batch. A row has
    epoch, step, loss, the metrics, the same with ``validation_`` before their names, seconds and
    examples_per_second. ``on_epoch(train_state, rows)`` is called after each epoch with a state
    that the next one will overwrite.

    seed: of the order, and of parameters and noise where no ``train_state`` is given to go on from.
    scan: run 32 steps as one program on the device. By default for models of under 100,000
        parameters, save convolutions on CPU, whose gradients are 16 times slower inside a loop
        (https://github.com/jax-ml/jax/issues/12868).
    Raises: NonFiniteLossError, if a loss is NaN or infinite, with the step and the path of the
        first parameter or layer output that is; ValueError, for inputs and targets of different
        length, or fewer examples than a batch.
    """
    current = train_state or init_state(model, optimizer, jax.random.key(seed))
    current = copy(current)  # the caller's own state is not to be overwritten
    step = make_step(model, loss, optimizer, metrics=metrics)
    if scan is None:
        scan = _scan_pays(step, current, next(batches(train, batch_size)))
    run = (_in_one_call if scan else _one_by_one)(step)
    names = {"loss": loss, **(metrics or {})}
    evaluate = make_evaluate(model, names, batch_size=batch_size)

    from nnjax.train.progress import Progress  # rich costs 80 ms that a step alone need not pay

    rows: list[Row] = []
    steps = len(train[0]) // batch_size
    with Progress(epochs, steps * batch_size, shown=progress) as bar:
        for epoch in range(1, epochs + 1):
            began = time.perf_counter()
            found: dict[str, list[np.ndarray]] = {name: [] for name in names}
            means: Row = {}
            feed = batches(train, batch_size, seed=seed, epoch=epoch)
            while window := list(itertools.islice(feed, WINDOW)):
                before = copy(current)
                current, values = run(current, window)
                if not np.isfinite(values["loss"]).all():
                    raise _explain(model, run, before, window, values["loss"])
                for name in names:
                    found[name].append(values[name])
                means = {name: float(np.concatenate(found[name]).mean()) for name in names}
                bar.advance(epoch, len(window) * batch_size, means)
            seconds = time.perf_counter() - began
            row: Row = {"epoch": epoch, "step": int(current.step), **means}
            if validation is not None:
                held_out = evaluate(current.params, current.state, validation)
                row |= {f"validation_{name}": value for name, value in held_out.items()}
            row |= {"seconds": seconds, "examples_per_second": steps * batch_size / seconds}
            rows.append(row)
            if on_epoch:
                on_epoch(current, rows)
    return current, rows


@jax.jit
def copy(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def _scan_pays(step: Step, train_state: TrainState, batch: Any) -> bool:
    if count_params(train_state.params) >= TINY:
        return False
    convolves = "conv_general_dilated" in str(jax.make_jaxpr(step)(train_state, batch))
    return not (convolves and jax.default_backend() == "cpu")


def _one_by_one(step: Step) -> Run:
    step = jax.jit(step, donate_argnums=0)

    def run(train_state, window):
        found = []
        for batch in window:
            train_state, values = step(train_state, batch)
            found.append(values)
        found = jax.device_get(found)  # one wait a window
        return train_state, {name: np.stack([v[name] for v in found]) for name in found[0]}

    return run


def _in_one_call(step: Step) -> Run:
    @jax.jit
    def program(train_state, stacked, n):  # n is dynamic: a short window is the same program
        def body(i, carry):
            train_state, values = carry
            train_state, new = step(train_state, jax.tree.map(lambda a: a[i], stacked))
            return train_state, jax.tree.map(lambda v, one: v.at[i].set(one), values, new)

        _, specs = jax.eval_shape(step, train_state, jax.tree.map(lambda a: a[0], stacked))
        values = jax.tree.map(lambda s: jnp.zeros((WINDOW, *s.shape), s.dtype), specs)
        return jax.lax.fori_loop(0, n, body, (train_state, values))

    def run(train_state, window):
        filled = [*window, *[window[-1]] * (WINDOW - len(window))]
        stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *filled)
        train_state, values = program(train_state, stacked, len(window))
        return train_state, {n: v[: len(window)] for n, v in jax.device_get(values).items()}

    return run


def _explain(
    model: Layer, run: Run, before: TrainState, window: Sequence[Any], losses: np.ndarray
) -> NonFiniteLossError:
    """Go back to the step whose loss went wrong, and look for what was not finite first."""
    bad = int(np.flatnonzero(~np.isfinite(losses))[0])
    now = run(before, window[:bad])[0] if bad else before
    inputs, key = window[bad][0], now.step_key()
    where = first_nonfinite(model, now.params, now.state, inputs, key=key, train=True)
    return NonFiniteLossError(int(now.step), float(losses[bad]), where or "the loss itself")
