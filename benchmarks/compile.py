"""How long until the first step of a deep transformer is done, and does depth matter?

The blocks of a transformer (dim 128, 4 heads, 64 tokens, batch 2) under ``nn.repeat``, against the
same sums written by hand as one ``lax.scan`` over the same stacked weights. There is no embedding
or head: they would cost the same at any depth and flatter the ratio. Time runs from a fresh
``jax.jit`` with cleared caches to the end of the first Adam step: trace, lower, compile and run,
where 48 blocks are 7 GFLOP of real work. XLA dissolves a loop of one turn, so that a single block
compiles without the loops that any other number needs; 2 blocks show what depth alone costs. Five
rounds, not 30, as each takes ten seconds.

    python -m benchmarks.compile
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

HEADS, LENGTH, BATCH = 4, 64, 2


def main(
    depths: tuple[int, ...] = (1, 2, 48),
    dim: int = 128,
    rounds: int = 5,
    json: Path | None = None,
) -> list[clock.Row]:
    """Time the first train step of stacks of so many transformer blocks, the deepest last."""
    sides: dict[str, Callable[[], clock.Parts]] = {}
    bars: dict[str, dict[str, float]] = {}
    for depth in depths:
        ours, theirs = f"nnjax, {depth} blocks", f"hand-written, {depth} blocks"
        our_step, their_step, args = both_sides(depth, dim)
        sides[theirs] = lambda step=their_step, args=args[1]: first_step(step, *args)
        sides[ours] = lambda step=our_step, args=args[0]: first_step(step, *args)
        bars[ours] = {theirs: 1.1}
    *shallow, deepest = (f"nnjax, {depth} blocks" for depth in depths)
    bars[deepest] |= dict.fromkeys(shallow, 1.5)
    rows = clock.race(sides, rounds, bars)
    clock.report("from call to the end of the first train step", rows, bars, unit="s", file=json)
    return rows


def first_step(step: Callable[..., Any], *args: Any) -> clock.Parts:
    jax.clear_caches()
    laps = clock.Laps()
    traced = jax.jit(step).trace(*args)  # not donated: the same arguments serve every round
    laps.mark("trace")
    lowered = traced.lower()
    laps.mark("lower")
    compiled = lowered.compile()
    laps.mark("compile")
    jax.block_until_ready(compiled(*args))
    laps.mark("run")
    return laps.parts


def both_sides(depth: int, dim: int):
    """The train step of nnjax and the hand-written one, compared, and the arguments of each."""
    model = nn.repeat(transformer_block(dim), depth)
    optimizer = optax.adam(1e-3)
    x, y = (jax.random.normal(jax.random.key(i), (BATCH, LENGTH, dim)) for i in (1, 2))
    start = nn.train.init_state(model, optimizer, jax.random.key(0))
    our_step = nn.train.make_step(model, nn.losses.squared_error, optimizer)

    def objective(params):
        def step(x, block):
            return hand_written_block(block, x), None

        return jnp.mean((jax.lax.scan(step, x, params)[0] - y) ** 2)

    def their_step(params, opt_state):
        loss, grads = jax.value_and_grad(objective)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    ours = lambda params: jnp.mean(nn.losses.squared_error(model(params, x, train=True), y))
    compared = (jax.jit(jax.value_and_grad(f))(start.params) for f in (ours, objective))
    clock.check_same("loss and gradients", *compared)
    return our_step, their_step, ((start, (x, y)), (start.params, start.opt_state))


def transformer_block(dim: int) -> nn.Layer:
    def forward(net, x):
        x = x + net.attn(net.norm1(x))
        return x + net.mlp(net.norm2(x))

    return nn.compose(
        forward,
        norm1=nn.layer_norm(dim),
        attn=nn.attention(dim, HEADS, causal=True),
        norm2=nn.layer_norm(dim),
        mlp=nn.mlp(dim, 4 * dim, dim, activation=jax.nn.gelu),
    )


def hand_written_block(p, x):
    def linear(p, x):
        return x @ p["kernel"] + p["bias"]

    def layer_norm(p, x):
        h = x - x.mean(-1, keepdims=True)
        return h * jax.lax.rsqrt((h * h).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]

    h = layer_norm(p["norm1"], x)
    split = lambda name: linear(p["attn"][name], h).reshape(*x.shape[:2], HEADS, -1)
    h = jax.nn.dot_product_attention(*map(split, ("query", "key", "value")), is_causal=True)
    x = x + linear(p["attn"]["out"], h.reshape(x.shape))
    h = jax.nn.gelu(linear(p["mlp"]["linear_0"], layer_norm(p["norm2"], x)))
    return x + linear(p["mlp"]["linear_1"], h)


if __name__ == "__main__":
    tyro.cli(main)
