"""Equinox: modules of one example, channels first; vmapped, with axes moved to ours."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import nnjax as nn
from benchmarks.conformance.peers.pair import (
    beside,
    integers,
    numbers,
    one_bias,
    padded,
    pairs,
)

KEY = jax.random.key(0)


def filled(module: Any, **arrays: Any) -> Any:
    """The module with these fields in place of its own."""
    where = lambda m: [getattr(m, name) for name in arrays]
    return eqx.tree_at(where, module, list(arrays.values()))


def pure(module, fill, axes=1, call=lambda f, *inputs: f(*inputs)):
    """``fill(module, params)`` vmapped over as many leading axes of the inputs."""

    def theirs(params, *inputs):
        f = lambda *inputs: call(fill(module, params), *inputs)
        for _ in range(axes):
            f = jax.vmap(f)
        return f(*inputs)

    return theirs


def channels_first(f, x):
    """An image of ours to one of theirs, and back."""
    return jnp.moveaxis(f(jnp.moveaxis(x, -1, 0)), 0, -1)


empty = lambda module, params: module


def linear_fill(module, p):
    bias = {"bias": p["bias"]} if "bias" in p else {}
    return filled(module, weight=p["kernel"].T, **bias)


@pairs("linear", "equinox")
def linear():
    one = lambda bias, axes, *shape: beside(
        nn.linear(5, 3, bias=bias),
        pure(eqx.nn.Linear(5, 3, use_bias=bias, key=KEY), linear_fill, axes),
        numbers(*shape, mean=10),
    )
    return [one(True, 2, 2, 7, 5), one(False, 0, 5)]


@pairs("mlp", "equinox")
def mlp():
    def fill(m, p):
        parts = (linear_fill(part, p[f"linear_{i}"]) for i, part in enumerate(m.layers))
        return filled(m, layers=tuple(parts))

    theirs = eqx.nn.MLP(5, 3, 7, depth=2, activation=jnp.tanh, key=KEY)
    layer = nn.mlp(5, 7, 7, 3, activation=jnp.tanh)
    return [beside(layer, pure(theirs, fill), numbers(4, 5))]


@pairs("embedding", "equinox")
def embedding():
    fill = lambda m, p: filled(m, weight=p["embedding"])
    theirs = pure(eqx.nn.Embedding(7, 5, key=KEY), fill, 2)
    return [beside(nn.embedding(7, 5), theirs, integers(7, 3, 4))]


def conv_fill(flip=False):
    def fill(module, p):
        kernel = p["kernel"]
        axes = kernel.ndim - 2
        if flip:
            kernel = jnp.flip(kernel, tuple(range(axes)))
        weight = kernel.transpose(axes + 1, axes, *range(axes))
        return filled(module, weight=weight, bias=p["bias"].reshape(-1, *[1] * axes))

    return fill


@pairs("conv", "equinox")
def conv():
    def one(image, size, *, mode: Any = "constant", features=(4, 6), **options):
        kind = getattr(eqx.nn, f"Conv{len(size)}d")
        theirs = {"padding_mode": "ZEROS" if mode == "constant" else mode.upper()}
        theirs = kind(features[0], features[1], size, **theirs, **options, key=KEY)
        layer = nn.conv(features[0], features[1], size, padding_mode=mode, **options)
        call = pure(theirs, conv_fill(), call=channels_first)
        return beside(layer, call, numbers(2, *image, features[0]))

    return [
        one((9,), (3,), padding="SAME", stride=2),
        one((7, 9), (3, 2), padding="VALID", stride=(2, 3)),
        one((8, 7), (3, 4), padding="SAME", dilation=2, groups=2),
        one((8, 7), (3, 4), padding=((1, 0), (2, 1))),
        one((5, 6, 4), (3, 2, 3), padding=1, dilation=(1, 2, 1)),
        *(one((7, 6), (3, 3), padding=1, mode=m) for m in ("circular", "reflect", "replicate")),
    ]


@pairs("conv_transpose", "equinox", "the kernel's spatial axes reversed")
def conv_transpose():
    def one(image, size, **options):
        kind = getattr(eqx.nn, f"ConvTranspose{len(size)}d")
        theirs = pure(kind(4, 6, size, **options, key=KEY), conv_fill(True), call=channels_first)
        return beside(nn.conv_transpose(4, 6, size, **options), theirs, numbers(2, *image, 4))

    return [
        one((7,), (3,), stride=2, padding="SAME"),
        one((5, 4), (3, 4), stride=(2, 3), padding=1, output_padding=1),
        one((5, 4), (3, 2), dilation=2, groups=2, padding=0),
        one((3, 4, 2), (2, 3, 2), stride=2, padding="SAME"),
    ]


def pools(kind, ours, **options):
    def one(image, window, stride, padding, ceil):
        theirs = getattr(eqx.nn, f"{kind}{len(window)}d")
        theirs = theirs(window, stride=stride, padding=padding, use_ceil=ceil)
        layer = ours(window, stride=stride, padding=padding, ceil_mode=ceil, **options)
        call = pure(theirs, empty, call=channels_first)
        return beside(layer, call, numbers(2, *image, 3))

    return [
        one((9,), (3,), 2, 1, False),
        one((7, 9), (2, 3), (2, 2), 0, False),
        one((5, 6, 4), (3, 2, 2), 2, (1, 0, 1), False),
        *([one((8, 7), (3, 3), 2, 0, True)] if kind == "MaxPool" else []),
    ]


@pairs("max_pool", "equinox")
def max_pool():
    return pools("MaxPool", nn.max_pool)


@pairs("avg_pool", "equinox", "Equinox counts padding as zeros: count_include_pad=True")
def avg_pool():
    return pools("AvgPool", nn.avg_pool, count_include_pad=True)


def adaptive_pools(kind, ours):
    def one(image, size):
        theirs = getattr(eqx.nn, f"{kind}{len(size)}d")(size)
        call = pure(theirs, empty, call=channels_first)
        return beside(ours(size), call, numbers(2, *image, 3))

    return [one((9,), (3,)), one((6, 8), (2, 4)), one((4, 6, 2), (2, 3, 1))]


BINS = "sizes that divide: else Equinox's bins do not overlap, ours are PyTorch's"


@pairs("adaptive_max_pool", "equinox", BINS)
def adaptive_max_pool():
    return adaptive_pools("AdaptiveMaxPool", nn.adaptive_max_pool)


@pairs("adaptive_avg_pool", "equinox", BINS)
def adaptive_avg_pool():
    return adaptive_pools("AdaptiveAvgPool", nn.adaptive_avg_pool)


def norm_fill(module, p):
    names = {"scale": "weight", "bias": "bias"}
    return filled(module, **{names[name]: a for name, a in p.items()})


@pairs("layer_norm", "equinox")
def layer_norm():
    one = lambda features, axes, *shape, **options: beside(
        nn.layer_norm(features, scale=options.get("use_weight", True)),
        pure(eqx.nn.LayerNorm(features, eps=1e-5, **options), norm_fill, axes),
        numbers(*shape, mean=10),
    )
    return [
        one(5, 2, 2, 7, 5),
        one((3, 5), 1, 2, 3, 5),
        one(5, 1, 7, 5, use_weight=False),
    ]


@pairs("rms_norm", "equinox")
def rms_norm():
    one = lambda features, axes, *shape: beside(
        nn.rms_norm(features, eps=1e-5),
        pure(eqx.nn.RMSNorm(features, eps=1e-5, use_bias=False), norm_fill, axes),
        numbers(*shape, mean=10),
    )
    return [one(5, 2, 2, 7, 5), one((3, 5), 1, 2, 3, 5)]


@pairs("group_norm", "equinox")
def group_norm():
    def one(groups, *image):
        theirs = pure(eqx.nn.GroupNorm(groups, 6), norm_fill, call=channels_first)
        layer = nn.group_norm(6, groups, axes=len(image))
        return beside(layer, theirs, numbers(2, *image, 6, mean=10))

    return [one(3, 5, 7), one(1, 9)]


@pairs("instance_norm", "equinox", "Equinox's GroupNorm of as many groups as channels")
def instance_norm():
    theirs = pure(eqx.nn.GroupNorm(4, 4), norm_fill, call=channels_first)
    return [beside(nn.instance_norm(4, scale=True, bias=True), theirs, numbers(2, 5, 7, 4))]


@pairs(
    "batch_norm",
    "equinox",
    "Equinox's running variance divides by n, ours by n - 1; its evaluation divides both by "
    "1 - momentum^steps",
)
def batch_norm():
    batch = {"mode": "batch", "momentum": 0.7}
    module, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(4, axis_name="batch", **batch)
    running = {"mean": numbers(4, seed=3), "var": jnp.exp(numbers(4, seed=4))}
    index: Any = module.batch_state_index
    start = state.set(index, (running["mean"], running["var"]))

    def theirs(train):
        def call(params, x):
            m = norm_fill(module, params)
            f = lambda x, state: m(jnp.moveaxis(x, -1, 0), state, inference=not train)
            over = jax.vmap(f, in_axes=(0, None), out_axes=(0, None), axis_name="batch")
            y, state = over(x, start)
            y = jnp.moveaxis(y, 1, -1)
            if not train:
                return y
            mean, var = jax.lax.stop_gradient(state.get(index))  # as ours and Flax's do
            n = math.prod(x.shape[:-1])
            old = 0.7 * running["var"]  # what is new is of n values, or of n - 1
            return y, {"mean": mean, "var": old + (var - old) * n / (n - 1)}

        return call

    layer = nn.batch_norm(4, decay=0.7)
    one = lambda x, train: beside(
        layer, theirs(train), x, train=train, state=running, with_state=train
    )
    return [
        one(numbers(3, 5, 6, 4, mean=10), True),
        one(numbers(5, 4), True),
        one(numbers(3, 5, 4), False),
    ]


@pairs("attention", "equinox")
def attention():
    def one(call, ours_call, *inputs, bias=True, **options):
        named = {f"use_{part}_bias": bias for part in ("query", "key", "value", "output")}
        theirs = eqx.nn.MultiheadAttention(2, 8, **named, key=KEY)

        def fill(m, p):
            parts = ("query", "query"), ("key", "key"), ("value", "value"), ("out", "output")
            there = {f"{t}_proj": linear_fill(getattr(m, f"{t}_proj"), p[o]) for o, t in parts}
            return filled(m, **there)

        layer = nn.attention(8, 2, bias=bias, **options)
        theirs = pure(theirs, fill, call=call)
        return one_bias(beside(layer, theirs, *inputs, call=ours_call))

    x, context = numbers(2, 5, 8), numbers(2, 6, 8, seed=1)
    mask = jnp.broadcast_to(padded([6, 2], 6)[:, None], (2, 5, 6))
    causal = lambda f, x: f(x, x, x, mask=jnp.tri(5, dtype=bool))
    masked = lambda f, x, context, mask: f(x, context, context, mask=mask)
    return [
        one(causal, lambda f, x: f(x), x, causal=True),
        one(masked, lambda f, x, c, mask: f(x, c, mask=mask[:, None]), x, context, mask),
        one(lambda f, x: f(x, x, x), lambda f, x: f(x), x, bias=False),
    ]


def cell_fill(module, p):
    arrays = {"weight_ih": p["kernel"].T, "weight_hh": p["recurrent"].T}
    names = {"bias": "bias", "recurrent_bias": "bias_n"}
    return filled(module, **arrays, **{names[n]: p[n] for n in names if n in p})


@pairs("lstm_cell", "equinox")
def lstm_cell():
    def one(bias):
        def call(m, x, h, c):
            h, c = m(x, (h, c))
            return h, (h, c)

        theirs = pure(eqx.nn.LSTMCell(5, 4, use_bias=bias, key=KEY), cell_fill, call=call)
        inputs = numbers(3, 5), numbers(3, 4, seed=1), numbers(3, 4, seed=2)
        layer = nn.lstm_cell(5, 4, bias=bias)
        return beside(layer, theirs, *inputs, call=lambda f, x, h, c: f(x, (h, c)))

    return [one(True), one(False)]


@pairs("gru_cell", "equinox")
def gru_cell():
    def one(bias):
        def call(m, x, h):
            h = m(x, h)
            return h, h

        theirs = pure(eqx.nn.GRUCell(5, 4, use_bias=bias, key=KEY), cell_fill, call=call)
        layer = nn.gru_cell(5, 4, bias=bias)
        return beside(layer, theirs, numbers(3, 5), numbers(3, 4, seed=1))

    return [one(True), one(False)]


@pairs("prelu", "equinox")
def prelu():
    fill = lambda m, p: filled(m, negative_slope=p["slope"])
    shared = beside(nn.prelu(), pure(eqx.nn.PReLU(), fill), numbers(2, 7, 5))
    module = eqx.nn.PReLU(jnp.full(5, 0.25))
    return [shared, beside(nn.prelu(5), pure(module, fill), numbers(2, 7, 5))]


@pairs("rope", "equinox")
def rope():
    def one(dim, base):
        heads = lambda f, x: jax.vmap(f, 1, 1)(x)
        theirs = pure(eqx.nn.RotaryPositionalEmbedding(dim, theta=base), empty, call=heads)
        return beside(nn.rope(dim, base=base), theirs, numbers(2, 7, 3, dim))

    return [one(8, 1e4), one(6, 1e4)]


@pairs("dropout", "equinox", "in evaluation: in training random numbers differ")
def dropout():
    theirs = pure(eqx.nn.Dropout(0.5, inference=True), empty)
    return [beside(nn.dropout(0.5), theirs, numbers(2, 7, 5))]
