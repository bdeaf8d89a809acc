"""A side of the race: one network in one library, ready to train, to infer, and to be compared."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.clock import Laps
from benchmarks.suite.workloads import Batch

LEARNING_RATE = 1e-3  # Adam, everywhere


@dataclasses.dataclass
class Side:
    """Calls return at once, with something to ``wait`` for; arrays that are compared are NumPy's.

    outputs: an array, or a tuple of them.
    gradients: of the mean loss of the batch, in training mode, by nnjax's paths.
    parts: seconds of init, and of what comes before the first step is done.
    temporaries: bytes of the compiled step beside its inputs and outputs, where known.
    steps: that one call of ``train`` takes.
    A network that is not trained has neither ``train`` nor ``loss_and_gradients``.
    """

    infer: Callable[[], Any]
    wait: Callable[[Any], Any]
    outputs: Callable[[], Any]
    parts: dict[str, float]
    train: Callable[[], Any] | None = None
    loss_and_gradients: Callable[[], tuple[float, dict[str, np.ndarray]]] | None = None
    temporaries: int | None = None
    steps: int = 1


def jax_side(
    forward: Callable[[Any, Any, Any, bool], tuple[Any, Any]],
    params: Any,
    state: Any,
    batch: Batch,
    by_path: Callable[[Any], Mapping[str, Any]],
    laps: Laps,
    loss: str = "cross_entropy",
) -> Side:
    """A network that is a pure function: ``forward(params, state, x, train) -> (outputs, state)``.

    The step is jitted and takes over the memory of its old state, the quickest form that every
    functional library allows. ``by_path`` turns a tree like params into nnjax's paths.
    """
    import jax
    import optax

    def infer(params, state, x):
        return forward(params, state, x, False)[0]

    if not loss:
        return inference_side(infer, (params, state), batch[0], laps)
    optimizer = optax.adam(LEARNING_RATE)
    opt_state = jax.jit(optimizer.init)(params)

    def objective(params, state, x, labels):
        outputs, state = forward(params, state, x, True)
        return mean_loss(loss, outputs, labels), state

    def step(carried, x, labels):
        params, state, opt_state = carried
        grad = jax.value_and_grad(objective, has_aux=True)
        (loss, state), grads = grad(params, state, x, labels)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), state, opt_state), loss

    return compiled_side(step, infer, objective, (params, state, opt_state), batch, by_path, laps)


def mean_loss(kind: str, outputs, labels):
    import optax

    if kind == "squared_error":
        return ((outputs - labels) ** 2).mean()
    return optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()


def inference_side(infer, start, x, laps: Laps) -> Side:
    """``infer(*start, x)``, jitted; nothing is trained."""
    import jax

    start, x = jax.device_put((start, x))
    traced = jax.jit(infer)
    laps.mark("init")
    program = traced.trace(*start, x)
    laps.mark("trace")
    memory = program.lower().compile().memory_analysis()
    laps.mark("compile")
    return Side(
        infer=lambda: traced(*start, x),
        wait=jax.block_until_ready,
        outputs=lambda: jax.device_get(traced(*start, x)),
        parts=laps.parts,
        temporaries=None if memory is None else memory.temp_size_in_bytes,
    )


def compiled_side(
    step,
    infer,
    objective,
    carried,
    batch,
    by_path,
    laps: Laps,
    *,
    shared: bool = False,
    steps: int = 1,
) -> Side:
    """``step(carried, x, labels)``, jitted, with a carried state that begins (params, state).

    A call takes ``steps`` of them, in a loop on the device. Where ``shared``, all devices take a
    part of the batch, and each call is waited for: on virtual CPU devices, a program that begins
    before another has ended can wait for it forever.
    """
    import jax
    from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

    finish = jax.block_until_ready if shared else lambda result: result
    if shared:
        if len(batch[1]) % jax.device_count():
            raise ValueError(f"{len(batch[1])} examples cannot be split over {jax.device_count()}")
        mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
        carried = jax.device_put(carried, NamedSharding(mesh, P()))
        batch = jax.device_put(batch, NamedSharding(mesh, P("data")))
    params, state, *_ = carried
    x, labels = jax.device_put(batch)
    start = jax.device_get((params, state))  # donation takes the arrays themselves away

    def several(carried, x, labels):
        if steps == 1:
            return step(carried, x, labels)
        one = lambda carried, _: step(carried, x, labels)
        carried, losses = jax.lax.scan(one, carried, length=steps)
        return carried, losses[-1]

    traced = jax.jit(several, donate_argnums=0)
    laps.mark("init")
    program = traced.trace(carried, x, labels)
    laps.mark("trace")
    compiled = program.lower().compile()
    laps.mark("compile")
    memory = compiled.memory_analysis()
    jitted_infer = jax.jit(infer)
    kept = {"carried": carried}

    def train():
        kept["carried"], loss = finish(traced(kept["carried"], x, labels))
        return loss

    def outputs():
        return np.asarray(jitted_infer(*jax.device_put(start), x))

    def loss_and_gradients():
        grad = jax.jit(jax.value_and_grad(objective, has_aux=True))
        (loss, _), grads = grad(*jax.device_put(start), x, labels)
        found = {path: np.asarray(leaf) for path, leaf in by_path(grads).items()}
        return float(loss), found

    return Side(
        train=train,
        infer=lambda: finish(jitted_infer(*kept["carried"][:2], x)),
        wait=jax.block_until_ready,
        outputs=outputs,
        loss_and_gradients=loss_and_gradients,
        parts=laps.parts,
        temporaries=None if memory is None else memory.temp_size_in_bytes,
        steps=steps,
    )
