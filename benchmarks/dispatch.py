"""What does a call of a jitted train step cost, in nnjax and in hand-written JAX?

Both sides take the same Adam step on the same weights, jitted and donated. The peer is plain
functions over a list of dicts, params and optimizer state alone; nnjax's TrainState also carries
the step count and the key. The work is next to nothing, so that the time is that of handing the
buffers over: five linear layers of width 8 compute, one example a batch. All further layers lie
idle: they are carried, donated and updated with a gradient of zero. To use them would take XLA
minutes to compile (a chain of 1500 layers), and would dilute what is asked.

    python -m benchmarks.dispatch    # two minutes, nearly all of it compiling the largest
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import tyro

import nnjax as nn
from benchmarks import clock

WIDTH, BUSY = 8, 5


def main(
    leaves: tuple[int, ...] = (10, 300, 3000), rounds: int = 50, json: Path | None = None
) -> list[clock.Row]:
    """Time a call of the train step for trees of so many parameter arrays."""
    rows, bars = [], {}
    for count in leaves:
        ours, theirs = f"nnjax, {count} leaves", f"hand-written, {count} leaves"
        bars[ours] = {theirs: 1.05}
        calls = max(1, 300 // count)  # bursts that outlast the clock's own resolution
        sides = {
            name: lambda step=step, calls=calls: {"call": clock.seconds(step, calls)}
            for name, step in zip((theirs, ours), both_sides(count), strict=True)
        }
        rows += clock.race(sides, rounds, bars)
    clock.report("a call of a train step", rows, bars, unit="us", file=json)
    return rows


def both_sides(leaves: int):
    """Two functions that take the next step, hand-written and nnjax, checked on the first."""
    layers = [nn.linear(WIDTH, WIDTH) for _ in range(leaves // 2)]

    def forward(net, x):
        for name in names[:BUSY]:
            x = net[name](x)
        return x

    names = [f"linear_{i}" for i in range(len(layers))]
    model = nn.compose(forward, **dict(zip(names, layers, strict=True)))
    optimizer = optax.adam(1e-3)
    x, y = jnp.ones((1, WIDTH)), jnp.zeros((1, WIDTH))

    ours = nn.train.init_state(model, optimizer, jax.random.key(0))
    params = [jax.tree.map(jnp.copy, ours.params[name]) for name in names]
    theirs = params, optimizer.init(params)
    our_step = jax.jit(
        nn.train.make_step(model, nn.losses.squared_error, optimizer), donate_argnums=0
    )

    def objective(params, x, y):
        for layer in params[:BUSY]:
            x = x @ layer["kernel"] + layer["bias"]
        return jnp.mean((x - y) ** 2)

    @jax.jit(donate_argnums=(0, 1))
    def their_step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(objective)(params, x, y)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    def take_ours():
        nonlocal ours
        ours, values = our_step(ours, (x, y))
        return values["loss"]

    def take_theirs():
        nonlocal theirs
        *theirs, loss = their_step(*theirs, x, y)
        return loss

    clock.check_same("losses", take_ours(), take_theirs())
    clock.check_same("parameters", [ours.params[name] for name in names], theirs[0])
    return take_theirs, take_ours


if __name__ == "__main__":
    tyro.cli(main)
