"""How long from starting Python to the end of the first trained step?

An MLP 784-512-256-10, batch 128, Adam, each run in a process of its own. Peers: hand-written JAX
and optax, started as quickly as we know how (NumPy draws, handed over by ``jax.device_put``, which
unlike ``jnp.asarray`` compiles nothing; optimizer state in one jit), and with ``jax.random`` in one
jitted init. Before the clock all sides take a step from the same weights and must agree. Nine
rounds, not 30, as each takes seconds.

    python -m benchmarks.startup
"""

# Only the standard library up here: what a side imports is part of its time.
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import clock

SIZES, BATCH = (784, 512, 256, 10), 128


def main(
    sizes: tuple[int, ...] = SIZES, rounds: int = 9, json: Path | None = None
) -> list[clock.Row]:
    """Time processes that make an MLP of these sizes and train it for one step."""
    weights = numpy_draws(sizes)
    results = {name: side(sizes, clock.Laps(), weights) for name, side in SIDES.items()}
    for name, result in results.items():
        clock.check_same(f"loss and weights of {name}", result, results["hand-written"])

    bars = {"nnjax": {"hand-written": 1.15}}
    sides = {name: lambda name=name: process(name, sizes) for name in SIDES}
    rows = clock.race(sides, rounds, bars)
    clock.report("from process start to first trained step", rows, bars, unit="s", file=json)
    return rows


def process(name: str, sizes: tuple[int, ...]) -> clock.Parts:
    code = f"from benchmarks import startup; startup.child({name!r}, {sizes}, {time.monotonic()})"
    return json.loads(clock.python(code))


def child(name: str, sizes: tuple[int, ...], start: float) -> None:
    laps = clock.Laps(start)
    SIDES[name](sizes, laps)
    print(json.dumps(laps.parts))


def hand_written(sizes: tuple[int, ...], laps: clock.Laps, weights: Any = None, jitted=False):
    import jax
    import jax.numpy as jnp
    import optax

    laps.mark("import")
    optimizer = optax.adam(1e-3)
    if jitted:
        draw = jax.nn.initializers.lecun_normal()

        @jax.jit
        def init(key):
            keys = jax.random.split(key, len(sizes) - 1)
            return [
                {"kernel": draw(key, shape), "bias": jnp.zeros(shape[1])}
                for key, *shape in zip(keys, sizes[:-1], sizes[1:], strict=True)
            ]

        params = init(jax.random.key(0))
    else:
        params = jax.device_put(numpy_draws(sizes))
    params = params if weights is None else jax.device_put(weights)
    laps.mark("init")
    opt_state = jax.jit(optimizer.init)(params)
    laps.mark("optimizer")

    def objective(params, x, labels):
        *hidden, last = params
        for layer in hidden:
            x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
        logits = x @ last["kernel"] + last["bias"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit(donate_argnums=(0, 1))
    def step(params, opt_state, x, labels):
        loss, grads = jax.value_and_grad(objective)(params, x, labels)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    params, _, loss = jax.block_until_ready(step(params, opt_state, *batch(sizes)))
    laps.mark("step")
    return loss, params


def nnjax(sizes: tuple[int, ...], laps: clock.Laps, weights: Any = None):
    import jax
    import optax

    import nnjax as nn

    laps.mark("import")
    model, optimizer = nn.mlp(*sizes), optax.adam(1e-3)

    def init_optimizer(params):
        laps.mark("init")
        return optimizer.init(params)

    watched = optimizer._replace(init=init_optimizer)
    state = nn.train.init_state(model, watched, jax.random.key(0))
    if weights is not None:
        named = dict(zip(state.params, weights, strict=True))
        state = state._replace(params=jax.device_put(named))
    laps.mark("optimizer")
    step = nn.train.make_step(model, nn.losses.softmax_cross_entropy, optimizer)
    state, values = jax.jit(step, donate_argnums=0)(state, batch(sizes))
    jax.block_until_ready((state, values))
    laps.mark("step")
    return values["loss"], list(state.params.values())


SIDES: dict[str, Callable[..., Any]] = {
    "hand-written": hand_written,
    "hand-written, jitted init": lambda *args: hand_written(*args, jitted=True),
    "nnjax": nnjax,
}


def numpy_draws(sizes: tuple[int, ...]) -> list[dict[str, Any]]:
    import numpy as np

    rng, f32 = np.random.default_rng(0), np.float32
    return [
        {"kernel": rng.standard_normal((n, m), f32) / f32(n**0.5), "bias": np.zeros(m, f32)}
        for n, m in zip(sizes[:-1], sizes[1:], strict=True)
    ]


def batch(sizes: tuple[int, ...]) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(1)
    x = rng.standard_normal((BATCH, sizes[0]), np.float32)
    return x, rng.integers(0, sizes[-1], BATCH, np.int32)


if __name__ == "__main__":
    import tyro

    tyro.cli(main)
