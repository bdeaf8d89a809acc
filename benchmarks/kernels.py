"""What our own lowerings are worth: each beside the form in which JAX is usually written.

Forward and backward of one function, jitted, on the sizes of the suite's networks; both sides are
compared first and timed in turn.

    python -m benchmarks.kernels --only "max-pool"
    python -m benchmarks.kernels --only convolution transposed --native
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import nnjax as nn
from benchmarks import clock
from nnjax.ops.attention import dot_product_attention
from nnjax.ops.mask import bernoulli
from nnjax.ops.normalization import standardize
from nnjax.ops.pooling import max_pool

TURN = 0.03  # seconds: what is quick is called again and again, or it finds the other side's cache

Side = tuple[Callable[..., jax.Array], Sequence[Any]]


def main(
    only: tuple[str, ...] = (),
    rounds: int = 30,
    json: Path | None = None,
    native: bool = False,
) -> list[clock.Row]:
    """Time the kernels whose names begin with one of these, or all.

    native: ours in C++, and memory kept, on all sides.
    """
    if native:
        nn.native.keep_memory()
        nn.native.build()
    sides, bars = {}, {}
    for name, (ours, usual, same) in kernels().items():
        if only and not name.startswith(only):
            continue
        peers = {f"{name}, {way}": side for way, side in usual.items()}
        runs = {who: gradient(*side) for who, side in {f"{name}, nnjax": ours, **peers}.items()}
        first, *others = [run() for run in runs.values()]
        for who, result in zip(peers, others, strict=True):
            if same:
                check_close(who, first, result)
        for who, run in runs.items():
            calls = max(1, round(TURN / clock.seconds(run)))
            sides[who] = lambda run=run, calls=calls: {"call": turn(run, calls)}
        bars[f"{name}, nnjax"] = {who: 1.0 for who in peers}
    rows = clock.race(sides, rounds, bars)
    clock.report("forward and backward of one function", rows, bars, unit="ms", file=json)
    return rows


def turn(run: Callable[[], Any], calls: int) -> float:
    """Seconds of a call, of so many in a row, each of whose results is freed before the next."""
    return sum(clock.seconds(run) for _ in range(calls)) / calls


def check_close(what: str, ours: Any, theirs: Any) -> None:
    """Refuse sides that differ by more than rounding, which is of an array's norm, not an entry's.

    Raises: AssertionError, which ends the script with status 1.
    """
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        error = float(jnp.linalg.norm(a - b) / jnp.maximum(jnp.linalg.norm(b), 1))
        assert error < 1e-3, f"{what} differs by {error:.1e} of its norm, or of 1"


def gradient(function: Callable[..., jax.Array], inputs: Sequence[Any]):
    """A call that computes ``function`` and the gradients of a weighted sum of its outputs."""
    shape = jax.eval_shape(function, *inputs)
    weights = jax.random.normal(jax.random.key(9), shape.shape)

    @jax.jit
    def run(*inputs):
        y, pull = jax.vjp(function, *inputs)
        return y, pull(weights)

    return lambda: run(*inputs)


def kernels() -> Mapping[str, tuple[Side, Mapping[str, Side], bool]]:
    """By name: ours, the usual forms, and whether both compute the same numbers."""
    draw = lambda i, *shape: jax.random.normal(jax.random.key(i), shape)
    images = (draw(0, 128, 28, 28, 32),)
    tokens = (draw(1, 8, 256, 384),)
    qkv = [draw(i, 8, 256, 6, 64) for i in range(3)]
    scores = (draw(4, 8, 6, 256, 256),)
    key = jax.random.key(5)
    drop = lambda generator, x: jnp.where(
        bernoulli(key, 0.8, x.shape, generator), x / np.float32(0.8), 0
    )
    wider = nn.linear(384, 1536).init(key)[0]
    tall, narrow = (draw(10, 2708, 1433),), nn.linear(1433, 16).init(key)[0]
    block = nn.encoder_block(384, 6, causal=True)
    blocks = nn.serial(*[block] * 6)
    dropping = nn.serial(*[nn.encoder_block(384, 6, causal=True, dropout_rate=0.2)] * 6)
    drawn, _ = blocks.init(key)
    stacked = nn.stack(list(drawn.values()))
    features = (draw(6, 64, 128, 256),)
    lstm, outside = (nn.lstm(256, 256, implementation=way) for way in ("inside", "outside"))
    params, _ = lstm.init(key)
    return {
        "max-pool 2x2 of [128, 28, 28, 32]": (
            (lambda x: max_pool(x, (2, 2), (2, 2), ((0, 0), (0, 0))), images),
            {"reduce_window": (pool_by_window, images)},
            True,
        ),
        "layer norm of [8, 256, 384]": (
            (lambda x: standardize(x, (-1,), 1e-5), tokens),
            {"mean of squared deviations": (norm_two_pass, tokens)},
            True,
        ),
        "dropout of [8, 6, 256, 256]": (
            (functools.partial(drop, "auto"), scores),
            {
                "threefry": (functools.partial(drop, "key"), scores),
                "no dropout": (lambda x: x / np.float32(0.8), scores),
                "rbg": (drop_by_rbg, scores),
            },
            False,
        ),
        "causal attention, batch 8, 6 heads of 64, T = 256": (
            (functools.partial(dot_product_attention, causal=True), qkv),
            {
                "jax.nn": (functools.partial(jax.nn.dot_product_attention, is_causal=True), qkv),
                "all at once": (
                    functools.partial(dot_product_attention, causal=True, implementation="xla"),
                    qkv,
                ),
            },
            True,
        ),
        "convolution 5x5 of [128, 28, 28, 1] to 32": convolution((128, 28, 28, 1), 32, 5),
        "convolution 5x5 of [128, 14, 14, 32] to 64": convolution((128, 14, 14, 32), 64, 5),
        "convolution 3x3 of [32, 32, 32, 64] to 64": convolution((32, 32, 32, 64), 64, 3),
        "convolution 1x1 of [16, 56, 56, 64] to 256": convolution((16, 56, 56, 64), 256, 1),
        "convolution 3x3 of [16, 56, 56, 96], depthwise": convolution(
            (16, 56, 56, 96), 96, 3, groups=96
        ),
        "convolution 3x3 of [32, 32, 32, 64] to 128, stride 2": convolution(
            (32, 32, 32, 64), 128, 3, stride=2
        ),
        "convolution 3x3 of [32, 4, 4, 512] to 512": convolution((32, 4, 4, 512), 512, 3),
        "transposed convolution 4x4, stride 2, of [16, 8, 8, 128] to 64": convolution(
            (16, 8, 8, 128), 64, 4, nn.conv_transpose, stride=2
        ),
        "linear layer 384 to 1536 of [8, 256, 384]": (
            (lambda p, x: nn.linear(384, 1536)(p, x), (wider, *tokens)),
            {"x @ kernel + bias": (lambda p, x: x @ p["kernel"] + p["bias"], (wider, *tokens))},
            True,
        ),
        "linear layer 1433 to 16 of [2708, 1433]": (
            (lambda p, x: nn.linear(1433, 16)(p, x), (narrow, *tall)),
            {"x @ kernel + bias": (lambda p, x: x @ p["kernel"] + p["bias"], (narrow, *tall))},
            True,
        ),
        "6 blocks of 384 features, 6 heads, on [8, 256, 384]": (
            (blocks, (drawn, *tokens)),
            {"norms not settled": (functools.partial(unsettled, blocks), (drawn, *tokens))},
            True,
        ),
        "the same blocks with dropout 0.2": (
            (functools.partial(dropping, key=key, train=True), (drawn, *tokens)),
            {"no dropout": (blocks, (drawn, *tokens))},
            False,
        ),
        "the same blocks in a scan": (
            (nn.repeat(block, 6), (stacked, *tokens)),
            {
                "all stored": (nn.repeat(block, 6, remat=False), (stacked, *tokens)),
                "unrolled": (nn.repeat(block, 6, unroll=True), (stacked, *tokens)),
            },
            True,
        ),
        "LSTM of 256 features, 128 steps, batch 64": (
            (lambda p, x: lstm(p, x)[0], (params, *features)),
            {
                "the cell in jax.lax.scan": (step_by_step, (params, *features)),
                "projection outside the scan": (lambda p, x: outside(p, x)[0], (params, *features)),
                "x and h side by side, one product": (side_by_side, (params, *features)),
            },
            True,
        ),
    }


def convolution(shape: Sequence[int], features: int, size: int, make=nn.conv, **options):
    """Ours as it is trained, and one call of XLA's; of one channel is an image, which stays."""
    made = lambda way: make(shape[-1], features, size, implementation=way, **options)
    x = jax.random.normal(jax.random.key(7), shape)
    params, _ = made("auto").init(jax.random.key(8))

    def side(way):
        keep = jax.lax.stop_gradient if shape[-1] == 1 else lambda x: x
        return lambda params, x: made(way)(params, keep(x), train=True), (params, x)

    return side("auto"), {"whole": side("whole")}, True


def pool_by_window(x):
    return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def norm_two_pass(x):
    h = x - x.mean(-1, keepdims=True)
    return h * jax.lax.rsqrt((h * h).mean(-1, keepdims=True) + 1e-5)


def unsettled(model, params, x):
    with mock.patch("nnjax.ops.normalization.settled", lambda x: x):
        return model(params, x)


def along_time(step, x):
    zero = jnp.zeros((len(x), 256))
    return jax.lax.scan(step, (zero, zero), x.swapaxes(0, 1))[1].swapaxes(0, 1)


def step_by_step(params, x):
    cell = nn.lstm_cell(256, 256)
    step = lambda carry, x_t: cell(params, x_t, carry)[::-1]
    return along_time(step, x)


def side_by_side(params, x):
    kernel = jnp.concatenate([params["kernel"], params["recurrent"]])

    def step(carry, x_t):
        h, c = carry
        gates = jnp.concatenate([x_t, h], -1) @ kernel + params["bias"]
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return along_time(step, x)


def drop_by_rbg(x):
    key = jax.random.key(5, impl="rbg")
    return jnp.where(jax.random.bernoulli(key, 0.8, x.shape), x / np.float32(0.8), 0)


if __name__ == "__main__":
    tyro.cli(main)
