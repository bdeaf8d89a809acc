"""How long until the first step of a deep transformer is done, and does depth matter?

The blocks of a transformer (dim 128, 4 heads, 64 tokens, batch 2) under ``nn.repeat``, 1 and 48 of
them, against the same sums written by hand as one ``lax.scan`` over the same stacked weights. There
is no embedding or head: they would cost the same at any depth and flatter the ratio. Time runs
from a fresh ``jax.jit`` with cleared caches to the first result of an Adam step: trace, lower,
compile and run, which for 48 blocks is 7 GFLOP of real work. Fewer repeats than 30, at a second each.

    python -m benchmarks.compile
"""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import tyro

import nnjax as nn
from benchmarks import clock

OPTIMIZER = optax.adam(1e-3)


def main(
    depths: tuple[int, int] = (1, 48),
    dim: int = 128,
    heads: int = 4,
    length: int = 64,
    rounds: int = 9,
    json: Path | None = None,
) -> list[clock.Row]:
    """Time the first train step of a shallow and of a deep stack of transformer blocks."""
    sides, bars = {}, {}
    for depth in depths:
        ours, theirs = f"nnjax, {depth} blocks", f"hand-written, {depth} blocks"
        bars[ours] = {theirs: 1.1}
        made = both_sides(depth, dim, heads, length)
        for name, (step, args) in zip((theirs, ours), made, strict=True):
            sides[name] = lambda step=step, args=args: first_step(step, args)
    shallow, deep = (f"nnjax, {depth} blocks" for depth in depths)
    bars[deep][shallow] = 1.5
    rows = clock.race(sides, rounds, bars)
    clock.report("call to first result", rows, bars, unit="s", file=json)
    return rows


def first_step(step, args) -> clock.Parts:
    jax.clear_caches()
    stage: list = [jax.jit(step)]  # not donated: the same arguments serve every round

    def advance(make):
        stage.append(make(stage[-1]))
        return stage[-1] if make is run else None

    def run(compiled):
        return compiled(*args)

    return {
        "trace": clock.seconds(lambda: advance(lambda jitted: jitted.trace(*args))),
        "lower": clock.seconds(lambda: advance(lambda traced: traced.lower())),
        "compile": clock.seconds(lambda: advance(lambda lowered: lowered.compile())),
        "run": clock.seconds(lambda: advance(run)),
    }
