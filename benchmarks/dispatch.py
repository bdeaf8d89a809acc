"""What does a call of a jitted train step cost, in nnjax and in hand-written JAX?

All sides take the same Adam step on the same weights, jitted and donated. The peer is plain
functions over a list of dicts and carries the same leaves as nnjax's TrainState, which has a step
count and a key besides params and optimizer state; "no count, no key" does without those two.
"packed" is nnjax's state as one vector a dtype, with ``optax.flatten``, which updates all
parameters as one; "32 a call" is one ``lax.scan`` over 32 batches; both are timed a step. The work
is next to nothing, so that the time is that of handing the buffers over: five linear layers of
width 8 compute, one example a batch. All further layers lie idle: they are carried, donated and
updated with a gradient of zero. To use them would take XLA minutes to compile (a chain of 1500
layers), and would dilute what is asked.

    python -m benchmarks.dispatch    # four minutes, nearly all of it compiling the largest
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import tyro

import nnjax as nn
from benchmarks import clock

WIDTH, BUSY, MANY = 8, 5, 32


def main(
    leaves: tuple[int, ...] = (10, 300, 3000), rounds: int = 50, json: Path | None = None
) -> list[clock.Row]:
    """Time a call of the train step for trees of so many parameter arrays."""
    rows, bars = [], {}
    for count in leaves:
        kinds = ("hand-written", "no count, no key", "nnjax", "nnjax, packed", "nnjax, 32 a call")
        names = [f"{kind}, {count} leaves" for kind in kinds]
        bars |= {names[2]: {names[0]: 1.05}, names[3]: {names[0]: 0.25}, names[4]: {names[0]: 0.25}}
        calls = max(1, 300 // count)  # bursts that outlast the clock's own resolution
        sides = {
            name: lambda step=step, calls=calls, n=n: {"call": clock.seconds(step, calls) / n}
            for name, step, n in zip(names, all_sides(count), (1, 1, 1, 1, MANY), strict=True)
        }
        rows += clock.race(sides, rounds, bars)
    clock.report("a call of a train step", rows, bars, unit="us", file=json)
    return rows


def all_sides(leaves: int) -> list[Callable[[], Any]]:
    """Functions that take the next step: hand-written with all leaves and with fewer, and ours."""
    names = [f"linear_{i}" for i in range(leaves // 2)]

    def forward(net, x):
        for name in names[:BUSY]:
            x = net[name](x)
        return x

    model = nn.compose(forward, **{name: nn.linear(WIDTH, WIDTH) for name in names})
    optimizer, loss = optax.adam(1e-3), nn.losses.squared_error
    x, y = jnp.ones((1, WIDTH)), jnp.zeros((1, WIDTH))
    ours = nn.train.init_state(model, optimizer, jax.random.key(0))
    params = [ours.params[name] for name in names]
    theirs = params, optimizer.init(params), ours.step, ours.key
    plain_step = nn.train.make_step(model, loss, optimizer)
    our_step = jax.jit(plain_step, donate_argnums=0)
    flat = optax.flatten(optimizer)
    start = nn.train.init_state(model, flat, jax.random.key(0))
    pack, unpack = nn.train.packing(start)
    flat_step = nn.train.packed(nn.train.make_step(model, loss, flat), start)
    packed_step = jax.jit(flat_step, donate_argnums=0)
    many_steps = jax.jit(lambda state, xs: jax.lax.scan(plain_step, state, xs), donate_argnums=0)

    def objective(params, x, y):
        for layer in params[:BUSY]:
            x = x @ layer["kernel"] + layer["bias"]
        return jnp.mean((x - y) ** 2)

    @jax.jit(donate_argnums=0)
    def their_step(carried, batch):
        params, opt_state, *rest = carried
        loss, grads = jax.value_and_grad(objective)(params, *batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        rest = [rest[0] + 1, rest[1]] if rest else []
        return (optax.apply_updates(params, updates), opt_state, *rest), loss

    new, values = our_step(copy(ours), (x, y))
    (new_params, *_), their_loss = their_step(copy(theirs), (x, y))
    clock.check_same("losses", values["loss"], their_loss)
    clock.check_same("parameters", [new.params[name] for name in names], new_params)
    vectors, _ = packed_step(pack(start), (x, y))
    clock.check_same("packed", unpack(vectors).params, new.params)
    batch, many = (x, y), jax.tree.map(lambda a: jnp.stack([a] * MANY), (x, y))
    return [
        loop(their_step, copy(theirs), batch),
        loop(their_step, copy(theirs[:2]), batch),
        loop(our_step, copy(ours), batch),
        loop(packed_step, pack(start), batch),
        loop(many_steps, copy(ours), many),
    ]


def loop(step: Callable[..., Any], carried: Any, batch: Any) -> Callable[[], Any]:
    def call():
        nonlocal carried
        carried, values = step(carried, batch)
        return values

    return call


def copy(tree: Any) -> Any:
    """Own buffers, made alike for all sides: donation keeps them, and where they lie costs time."""
    return jax.tree.map(jnp.copy, tree)


if __name__ == "__main__":
    tyro.cli(main)
