"""Flax NNX: modules split once, and merged with our parameters inside the function."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

import nnjax as nn
from benchmarks.conformance.peers.pair import (
    beside,
    integers,
    numbers,
    one_bias,
    padded,
    pairs,
)


def pure(make, convert, call=lambda module, *inputs: module(*inputs)):
    """``make(rngs=)`` as a function of our parameters; ``convert`` gives a dict of the peer's."""
    graph, state = nnx.split(make(rngs=nnx.Rngs(0)))

    def theirs(params, *inputs):
        filled = jax.tree.map(lambda a: a, state)
        nnx.replace_by_pure_dict(filled, convert(params))
        return call(nnx.merge(graph, filled), *inputs)

    return theirs


def module(kind, *args, **options):
    return lambda rngs: kind(*args, **options, rngs=rngs)


same = lambda params: params


@pairs("linear", "flax")
def linear():
    single = pure(module(nnx.Linear, 5, 3), same)
    plain = pure(module(nnx.Linear, 5, 3, use_bias=False), same)
    general = pure(module(nnx.LinearGeneral, (3, 4), (2, 5), axis=(-2, -1)), same)
    return [
        beside(nn.linear(5, 3), single, numbers(2, 7, 5, mean=10)),
        beside(nn.linear(5, 3, bias=False), plain, numbers(5)),
        beside(nn.linear((3, 4), (2, 5)), general, numbers(2, 7, 3, 4)),
    ]


@pairs("einsum_linear", "flax")
def einsum_linear():
    cases = [
        ("...d,dhk->...hk", (5, 2, 3), (2, 3), (2, 7, 5)),
        ("...gi,gio->...go", (2, 5, 3), (2, 3), (4, 2, 5)),
        ("bti,io->bto", (5, 3), None, (2, 7, 5)),
    ]
    return [
        beside(
            nn.einsum_linear(equation, kernel, bias=bias is not None),
            pure(module(nnx.Einsum, equation, kernel, bias), same),
            numbers(*x),
        )
        for equation, kernel, bias, x in cases
    ]


@pairs("embedding", "flax")
def embedding():
    make = module(nnx.Embed, 7, 5)
    layer = nn.embedding(7, 5)
    attend = pure(make, same, lambda m, x: m.attend(x))
    return [
        beside(layer, pure(make, same), integers(7, 3, 4)),
        beside(layer, attend, numbers(3, 4, 5), call=lambda f, x: f(x, attend=True)),
    ]


@pairs("conv", "flax")
def conv():
    def one(image, size, ours=None, features=(4, 6), batch=(2,), **options):
        theirs = {"strides": options.get("stride", 1)}
        theirs["kernel_dilation"] = options.get("dilation", 1)
        theirs["feature_group_count"] = options.get("groups", 1)
        theirs["padding"] = options.get("padding", "SAME")
        make = module(nnx.Conv, *features, size, **theirs)
        layer = nn.conv(features[0], features[1], size, **(options if ours is None else ours))
        return beside(layer, pure(make, same), numbers(*batch, *image, features[0]))

    return [
        one((9,), (3,), padding="SAME", stride=2),
        one((9,), (4,), padding="CAUSAL", dilation=2),
        one((7, 9), (3, 2), padding="VALID", stride=(2, 3)),
        one((8, 7), (3, 4), padding="SAME", stride=2, groups=2, batch=(2, 3)),
        one((8, 7), (3, 2), padding=((1, 0), (2, 1)), dilation=2),
        one((5, 6, 4), (3, 2, 3), padding="SAME", dilation=(1, 2, 1)),
        one((7, 6), (3, 4), {"padding_mode": "circular"}, padding="CIRCULAR"),
        one((7, 6), (3, 4), {"padding_mode": "reflect"}, padding="REFLECT"),
    ]


@pairs("masked_conv", "flax")
def masked_conv():
    layer = nn.masked_conv(4, 6, 3, centre=False)
    mask = jnp.ones((3, 3, 4, 6)).at[1, 1:].set(0).at[2].set(0)
    make = module(nnx.Conv, 4, 6, (3, 3), mask=mask)
    return [beside(layer, pure(make, same), numbers(2, 5, 6, 4))]


@pairs("depthwise_conv", "flax")
def depthwise_conv():
    make = module(nnx.Conv, 4, 8, (3, 3), strides=2, feature_group_count=4)
    layer = nn.depthwise_conv(4, 3, multiplier=2, stride=2)
    return [beside(layer, pure(make, same), numbers(2, 7, 6, 4))]


@pairs("conv_transpose", "flax", "the kernel's spatial axes reversed, or transpose_kernel=True")
def conv_transpose():
    def one(image, size, transpose_kernel=False, **options):
        theirs = {"strides": options.get("stride", 1), "padding": options.get("padding", "SAME")}
        theirs["kernel_dilation"] = options.get("dilation", 1)
        make = module(nnx.ConvTranspose, 4, 3, size, transpose_kernel=transpose_kernel, **theirs)

        def convert(p):
            kernel = p["kernel"]
            if transpose_kernel:
                return p | {"kernel": kernel.swapaxes(-1, -2)}
            return p | {"kernel": jnp.flip(kernel, tuple(range(len(size))))}

        layer = nn.conv_transpose(4, 3, size, **options)
        return beside(layer, pure(make, convert), numbers(2, *image, 4))

    return [
        one((7,), (3,), stride=2),
        one((5, 4), (3, 2), stride=(2, 3), padding="VALID"),
        one((5, 4), (4, 3), stride=2, transpose_kernel=True),
        one((5, 6), (3, 3), dilation=2),
        one((3, 4, 2), (2, 3, 2), stride=2),
    ]


@pairs("batch_norm", "flax", "Flax's running variance divides by n, ours by n - 1, as PyTorch's")
def batch_norm():
    state = {"mean": numbers(4, seed=3), "var": jnp.exp(numbers(4, seed=4))}

    def one(x, train):
        n = x.size // 4

        def call(m, x):
            y = m(x, use_running_average=not train)
            if not train:
                return y
            mean, var = m.mean[...], m.var[...]
            old = 0.7 * state["var"]  # what is new is of n values, or of n - 1
            return y, {"mean": mean, "var": old + (var - old) * n / (n - 1)}

        make = module(nnx.BatchNorm, 4, momentum=0.7, epsilon=1e-3, use_fast_variance=False)
        layer = nn.batch_norm(4, decay=0.7, eps=1e-3)
        theirs = pure(make, lambda p: p | state, call)
        return beside(layer, theirs, x, train=train, state=state, with_state=train)

    return [
        one(numbers(3, 5, 6, 4, mean=10), True),
        one(numbers(5, 4), True),
        one(numbers(3, 5, 4), False),
    ]


@pairs("layer_norm", "flax")
def layer_norm():
    options = {"epsilon": 1e-5, "use_fast_variance": False}
    make = module(nnx.LayerNorm, 5, **options)
    plain = module(nnx.LayerNorm, 5, use_scale=False, use_bias=False, **options)
    return [
        beside(nn.layer_norm(5), pure(make, same), numbers(2, 7, 5, mean=10)),
        beside(nn.layer_norm(5, scale=False, bias=False), pure(plain, same), numbers(7, 5)),
    ]


@pairs("rms_norm", "flax")
def rms_norm():
    make = module(nnx.RMSNorm, 5, epsilon=1e-6, use_fast_variance=False)
    return [
        beside(nn.rms_norm(5), pure(make, same), numbers(2, 7, 5, mean=mean)) for mean in (0, 10)
    ]


@pairs("group_norm", "flax")
def group_norm():
    options = {"epsilon": 1e-5, "use_fast_variance": False}
    make = module(nnx.GroupNorm, 6, 3, **options)
    line = module(nnx.GroupNorm, 6, 1, use_bias=False, **options)
    return [
        beside(nn.group_norm(6, 3), pure(make, same), numbers(2, 5, 7, 6, mean=10)),
        beside(nn.group_norm(6, 1, axes=1, bias=False), pure(line, same), numbers(2, 5, 6)),
    ]


@pairs("instance_norm", "flax")
def instance_norm():
    make = module(nnx.InstanceNorm, 4, epsilon=1e-5, use_fast_variance=False)
    layer = nn.instance_norm(4, scale=True, bias=True)
    return [beside(layer, pure(make, same), numbers(2, 5, 7, 4, mean=10))]


@pairs("weight_norm", "flax")
def weight_norm():
    def make(rngs):
        return nnx.WeightNorm(nnx.Linear(5, 3, rngs=rngs), rngs=rngs)

    def convert(p):
        inner = {"kernel": p["kernel"], "bias": p["bias"]}
        return {"layer_instance": inner, "scales": {("kernel",): p["kernel_scale"]}}

    return [beside(nn.weight_norm(nn.linear(5, 3)), pure(make, convert), numbers(2, 7, 5))]


@pairs(
    "spectral_norm",
    "flax",
    "Flax iterates in evaluation, too; equal once the singular vectors have converged",
)
def spectral_norm():
    def make(rngs):
        return nnx.SpectralNorm(nnx.Linear(5, 3, rngs=rngs), update_stats=False, rngs=rngs)

    first = beside(nn.spectral_norm(nn.linear(5, 3)), same)
    u, _, v = jnp.linalg.svd(first.params["kernel"].T, full_matrices=False)
    state = {"kernel_u": u[:, 0], "kernel_v": v[0]}

    def convert(p):
        return {"layer_instance": p, "batch_stats": {("kernel", "u"): state["kernel_u"][None]}}

    layer = nn.spectral_norm(nn.linear(5, 3))
    return [beside(layer, pure(make, convert), numbers(2, 7, 5), state=state)]


@pairs("attention", "flax")
def attention():
    def one(call, theirs_call, *inputs, heads=2, key_heads=None, norm=False, **options):
        more = {"num_kv_heads": key_heads, "normalize_qk": norm, "decode": False}
        make = module(nnx.MultiHeadAttention, heads, 8, deterministic=True, **more)
        size = 8 // heads

        def convert(p):
            parts = {}
            for name in ("query", "key", "value"):
                kernel, bias = p[name]["kernel"], p[name]["bias"]
                split = (kernel.shape[1] // size, size)
                parts[name] = {"kernel": kernel.reshape(8, *split), "bias": bias.reshape(split)}
            out = p["out"] | {"kernel": p["out"]["kernel"].reshape(heads, size, 8)}
            norms = {"query_ln": p["query_norm"], "key_ln": p["key_norm"]} if norm else {}
            return parts | {"out": out} | norms

        if norm:
            options["qk_norm"] = lambda size: nn.layer_norm(size, eps=1e-6, bias=False)
        layer = nn.attention(8, heads, key_heads=key_heads, **options)
        return one_bias(beside(layer, pure(make, convert, theirs_call), *inputs, call=call))

    x, context = numbers(2, 5, 8), numbers(2, 6, 8, seed=1)
    mask = padded([6, 2], 6)[:, None, None]
    plain = lambda f, *inputs: f(*inputs)
    masked = lambda f, x, context, mask: f(x, context, mask=mask)
    causal = lambda m, x: m(x, mask=nnx.make_causal_mask(x[..., 0]))
    return [
        one(plain, causal, x, causal=True),
        one(masked, masked, x, context, mask),
        one(plain, causal, x, causal=True, norm=True),
        one(plain, plain, x, heads=4, key_heads=2),
    ]


@pairs("prelu", "flax")
def prelu():
    make = lambda rngs: nnx.PReLU()
    theirs = pure(make, lambda p: {"negative_slope": p["slope"]})
    return [beside(nn.prelu(), theirs, numbers(2, 7, 5))]


@pairs("dropout", "flax", "in evaluation: in training random numbers differ")
def dropout():
    theirs = pure(module(nnx.Dropout, 0.5, deterministic=True), same)
    return [beside(nn.dropout(0.5), theirs, numbers(2, 7, 5))]


def lstm_params(p):
    return {
        "dense_i": {"kernel": p["kernel"]},
        "dense_h": {"kernel": p["recurrent"], "bias": p["bias"]},
    }


def simple_params(p):
    input = {"kernel": p["kernel"], "bias": p["bias"]}
    return {"dense_i": input, "dense_h": {"kernel": p["recurrent"]}}


def recurrent_call(m, x, h, c):
    (c, h), y = m((c, h), x)
    return y, (h, c)


@pairs("lstm_cell", "flax")
def lstm_cell():
    def split(p):
        parts = {}
        for i, gate in enumerate(("i", "f", "g", "o")):
            own = slice(4 * i, 4 * i + 4)
            name = "if_" if gate == "f" else f"i{gate}"
            parts[name] = {"kernel": p["kernel"][:, own]}
            parts[f"h{gate}"] = {"kernel": p["recurrent"][:, own], "bias": p["bias"][own]}
        return parts

    inputs = numbers(3, 5), numbers(3, 4, seed=1), numbers(3, 4, seed=2)
    call = lambda f, x, h, c: f(x, (h, c))
    one = lambda kind, convert: beside(
        nn.lstm_cell(5, 4), pure(module(kind, 5, 4), convert, recurrent_call), *inputs, call=call
    )
    return [one(nnx.LSTMCell, split), one(nnx.OptimizedLSTMCell, lstm_params)]


@pairs("gru_cell", "flax", "Flax has no recurrent_bias: ours is set to zero")
def gru_cell():
    def call(m, x, h):
        h, y = m(h, x)
        return y, h

    theirs = pure(module(nnx.GRUCell, 5, 4), simple_params, call)
    pair = beside(nn.gru_cell(5, 4), theirs, numbers(3, 5), numbers(3, 4, seed=1))
    params = {name: a for name, a in pair.params.items() if name != "recurrent_bias"}
    ours = lambda p, *inputs: pair.ours(p | {"recurrent_bias": jnp.zeros(4)}, *inputs)
    return [dataclasses.replace(pair, ours=ours, params=params)]


@pairs("elman_cell", "flax")
def elman_cell():
    def call(m, x, h):
        h, y = m(h, x)
        return y, h

    theirs = pure(module(nnx.SimpleCell, 5, 4), simple_params, call)
    return [beside(nn.elman_cell(5, 4), theirs, numbers(3, 5), numbers(3, 4, seed=1))]


def unrolled(cell, **options):
    return lambda rngs: nnx.RNN(cell(5, 4, rngs=rngs), rngs=rngs, **options)


@pairs("lstm", "flax")
def lstm():
    def both(rngs):
        cells = (unrolled(nnx.OptimizedLSTMCell)(rngs) for _ in range(2))
        return nnx.Bidirectional(*cells, rngs=rngs)

    convert = lambda p: {"cell": lstm_params(p)}
    double = lambda p: {
        "forward_rnn": convert(p["forward"]),
        "backward_rnn": convert(p["backward"]),
    }
    x, y = numbers(3, 6, 5), lambda f, x: f(x)[0]
    single = pure(unrolled(nnx.OptimizedLSTMCell), convert)
    lengths = jnp.asarray([6, 1, 4])
    last = lambda f, x, lengths: f(x, lengths=lengths)[1]

    def carried(m, x, lengths):
        (c, h), _ = m(x, seq_lengths=lengths, return_carry=True)
        return h, c

    return [
        beside(nn.lstm(5, 4), single, x, call=y),
        beside(nn.lstm(5, 4, bidirectional=True), pure(both, double), x, call=y),
        beside(
            nn.lstm(5, 4),
            pure(unrolled(nnx.OptimizedLSTMCell), convert, carried),
            x,
            lengths,
            call=last,
        ),
    ]


@pairs("rnn", "flax")
def rnn():
    theirs = pure(unrolled(nnx.SimpleCell), lambda p: {"cell": simple_params(p)})
    return [beside(nn.rnn(5, 4), theirs, numbers(3, 6, 5), call=lambda f, x: f(x)[0])]


def pools(ours, theirs, **options):
    def one(x, window, stride, padding):
        call = lambda p, x: theirs(x, window, strides=stride, padding=padding, **options)
        layer = ours(window, stride=stride, padding=padding)
        return beside(layer, call, x)

    return [
        one(numbers(2, 7, 9, 3), (2, 3), (2, 2), "VALID"),
        one(numbers(2, 7, 9, 3), (3, 2), (2, 1), "SAME"),
        one(numbers(2, 9, 3), (3,), (2,), ((1, 1),)),
    ]


@pairs("max_pool", "flax")
def max_pool():
    return pools(nn.max_pool, nnx.max_pool)


@pairs("min_pool", "flax")
def min_pool():
    return pools(nn.min_pool, nnx.min_pool)


@pairs("avg_pool", "flax")
def avg_pool():
    count = lambda *args, **options: nn.avg_pool(*args, **options, count_include_pad=True)
    return pools(nn.avg_pool, nnx.avg_pool, count_include_pad=False) + pools(count, nnx.avg_pool)
