"""How long until the first step of a deep transformer is done, and does depth matter?

A character transformer (65 characters, dim 128, 4 heads, 64 tokens, batch 2), its blocks under
``nn.repeat``, against the same sums written by hand as one ``lax.scan`` over the same stacked
weights. Time runs from a fresh
``jax.jit`` with cleared caches to the end of the first Adam step: trace, lower, compile and run,
where 48 blocks are 7 GFLOP of real work. XLA dissolves a loop of one turn, so that a single block
compiles without the two loops that any other number needs. ``repeat`` stores products for the way
back, hand-written JAX everything; with remat, both store a block's input alone. Five
rounds, not 30, as each takes half a minute.

    python -m benchmarks.compile
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax
import tyro

import nnjax as nn
from benchmarks import clock

CHARACTERS, HEADS, LENGTH, BATCH = 65, 4, 64, 2


def main(
    depths: tuple[int, ...] = (1, 48),
    dim: int = 128,
    remats: tuple[bool | None, ...] = (None, True),
    rounds: int = 5,
    json: Path | None = None,
) -> list[clock.Row]:
    """Time the first train step of stacks of so many transformer blocks, the deepest last."""
    sides: dict[str, Callable[[], clock.Parts]] = {}
    bars: dict[str, dict[str, float]] = {}
    for remat in remats:
        names = [f"{depth} blocks" + (", remat" if remat else "") for depth in depths]
        for depth, name in zip(depths, names, strict=True):
            our_step, their_step, args = both_sides(depth, dim, remat)
            ours, theirs = f"nnjax, {name}", f"hand-written, {name}"
            sides[theirs] = lambda step=their_step, args=args[1]: first_step(step, *args)
            sides[ours] = lambda step=our_step, args=args[0]: first_step(step, *args)
            bars[ours] = {theirs: 1.1}
        bars[f"nnjax, {names[-1]}"][f"nnjax, {names[0]}"] = 1.5
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


def both_sides(depth: int, dim: int, remat: bool | None):
    """The train step of nnjax and the hand-written one, compared, and the arguments of each."""
    model = nn.serial(
        embed=nn.embedding(CHARACTERS, dim),
        blocks=nn.repeat(transformer_block(dim), depth, remat=remat),
        norm=nn.layer_norm(dim),
        head=nn.linear(dim, CHARACTERS),
    )
    optimizer = optax.adam(1e-3)
    text = jax.random.randint(jax.random.key(1), (BATCH, LENGTH + 1), 0, CHARACTERS)
    x, y = text[:, :-1], text[:, 1:]
    start = nn.train.init_state(model, optimizer, jax.random.key(0))
    our_step = nn.train.make_step(model, nn.losses.softmax_cross_entropy, optimizer)

    def objective(params):
        def step(x: Any, block: Any) -> tuple[Any, None]:
            return hand_written_block(block, x), None

        step = jax.checkpoint(step, prevent_cse=False) if remat else step
        h, _ = jax.lax.scan(step, params["embed"]["embedding"][x], params["blocks"])
        logits = linear(params["head"], layer_norm(params["norm"], h))
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def their_step(params, opt_state):
        loss, grads = jax.value_and_grad(objective)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    ours = lambda params: nn.losses.softmax_cross_entropy(model(params, x, train=True), y).mean()
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


def linear(p, x):
    return x @ p["kernel"] + p["bias"]


def layer_norm(p, x):
    h = x - x.mean(-1, keepdims=True)
    return h * jax.lax.rsqrt((h * h).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def hand_written_block(p, x):
    h = layer_norm(p["norm1"], x)
    split = lambda name: linear(p["attn"][name], h).reshape(*x.shape[:2], HEADS, -1)
    h = jax.nn.dot_product_attention(*map(split, ("query", "key", "value")), is_causal=True)
    x = x + linear(p["attn"]["out"], h.reshape(x.shape))
    h = jax.nn.gelu(linear(p["mlp"]["linear_0"], layer_norm(p["norm2"], x)))
    return x + linear(p["mlp"]["linear_1"], h)


if __name__ == "__main__":
    tyro.cli(main)
