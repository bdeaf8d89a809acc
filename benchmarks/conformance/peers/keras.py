"""Keras 3 on JAX: layers built once, and called without state, ``layer.stateless_call``."""

from typing import Any

import jax
import jax.numpy as jnp
import keras

import nnjax as nn
from benchmarks.conformance.peers.pair import (
    beside,
    integers,
    numbers,
    one_bias,
    padded,
    pairs,
)

layers: Any = keras.layers


def pure(layer, shape, convert, call=lambda f, *inputs: f(*inputs), rest=None):
    """The layer as a function of our parameters; ``convert`` lists the peer's.

    ``shape`` is of an input with its batch, or a list of arguments for ``build``; ``rest`` are the
    parameters that are not trained.
    """
    layer.build(*shape) if isinstance(shape, list) else layer.build(shape)
    rest = [v.value for v in layer.non_trainable_variables] if rest is None else rest

    def theirs(params, *inputs):
        arrays = convert(params)
        f = lambda *inputs, **named: layer.stateless_call(arrays, rest, *inputs, **named)[0]
        return call(f, *inputs)

    return theirs


def listed(*names):
    return lambda p: [p[name] for name in names if name in p]


kernel_bias = listed("kernel", "bias")
nothing = listed()


@pairs("linear", "keras")
def linear():
    def one(bias, *shape):
        theirs = pure(layers.Dense(3, use_bias=bias), shape, kernel_bias)
        return beside(nn.linear(5, 3, bias=bias), theirs, numbers(*shape, mean=10))

    return [one(True, 2, 7, 5), one(False, 4, 5)]


@pairs("einsum_linear", "keras")
def einsum_linear():
    def one(equation, theirs, kernel, output, bias, x):
        other = layers.EinsumDense(theirs, output, bias_axes=bias)
        layer = nn.einsum_linear(equation, kernel, bias=bias is not None)
        return beside(layer, pure(other, x, kernel_bias), numbers(*x))

    return [
        one("...d,dhk->...hk", "abd,dhk->abhk", (5, 2, 3), (7, 2, 3), "hk", (2, 7, 5)),
        one("...gi,gio->...go", "bgi,gio->bgo", (2, 5, 3), (2, 3), "go", (4, 2, 5)),
        one("bti,io->bto", "bti,io->bto", (5, 3), (7, 3), None, (2, 7, 5)),
    ]


@pairs("embedding", "keras")
def embedding():
    theirs = pure(layers.Embedding(7, 5), (3, 4), listed("embedding"))
    return [beside(nn.embedding(7, 5), theirs, integers(7, 3, 4))]


@pairs("conv", "keras")
def conv():
    def one(image, size, *, features=(4, 6), padding: Any = "SAME", **options):
        kind = getattr(layers, f"Conv{len(size)}D")
        theirs = {"strides": options.get("stride", 1), "padding": padding.lower()}
        theirs |= {"dilation_rate": options.get("dilation", 1), "groups": options.get("groups", 1)}
        shape = (2, *image, features[0])
        call = pure(kind(features[1], size, **theirs), shape, kernel_bias)
        return beside(
            nn.conv(features[0], features[1], size, padding=padding, **options),
            call,
            numbers(*shape),
        )

    return [
        one((9,), (3,), stride=2),
        one((9,), (4,), padding="CAUSAL", dilation=2),
        one((7, 9), (3, 2), padding="VALID", stride=(2, 3)),
        one((8, 7), (3, 4), stride=2, groups=2),
        one((8, 7), (3, 2), dilation=2),
        one((5, 6, 4), (3, 2, 3), stride=2),
    ]


@pairs("depthwise_conv", "keras")
def depthwise_conv():
    def one(shape, size, stride, padding: Any, multiplier):
        theirs = layers.DepthwiseConv2D(
            size, strides=stride, padding=padding.lower(), depth_multiplier=multiplier
        )
        split = lambda p: [p["kernel"].reshape(*size, shape[-1], multiplier), p["bias"]]
        layer = nn.depthwise_conv(
            shape[-1], size, stride=stride, padding=padding, multiplier=multiplier
        )
        return beside(layer, pure(theirs, shape, split), numbers(*shape))

    return [
        one((2, 7, 6, 4), (3, 3), 2, "SAME", 2),
        one((2, 7, 6, 3), (2, 3), 1, "VALID", 1),
    ]


@pairs("separable_conv", "keras")
def separable_conv():
    shape = (2, 7, 6, 4)
    theirs = layers.SeparableConv2D(3, 3, strides=2, padding="same", depth_multiplier=2)

    def convert(p):
        depthwise = p["depthwise"]["kernel"].reshape(3, 3, 4, 2)
        return [depthwise, p["pointwise"]["kernel"], p["pointwise"]["bias"]]

    layer = nn.separable_conv(4, 3, 3, stride=2, multiplier=2)
    return [beside(layer, pure(theirs, shape, convert), numbers(*shape))]


@pairs("conv_transpose", "keras")
def conv_transpose():
    def one(image, size, padding: Any = "SAME", **options):
        kind = getattr(layers, f"Conv{len(size)}DTranspose")
        theirs = kind(
            3,
            size,
            strides=options.get("stride", 1),
            padding=padding.lower(),
            dilation_rate=options.get("dilation", 1),
        )
        shape = (2, *image, 4)
        convert = lambda p: [p["kernel"].swapaxes(-1, -2), p["bias"]]
        layer = nn.conv_transpose(4, 3, size, padding=padding, **options)
        return beside(layer, pure(theirs, shape, convert), numbers(*shape))

    return [
        one((7,), (3,), stride=2),
        one((5, 4), (3, 2), "VALID", stride=(2, 3)),
        one((5, 4), (4, 3), stride=2),
        one((5, 6), (3, 3), "VALID", dilation=2),
        one((3, 4, 2), (2, 3, 2), stride=2),
    ]


def pools(kind, ours):
    def one(image, window, stride, padding):
        theirs = getattr(layers, f"{kind}Pooling{len(window)}D")
        theirs = theirs(window, strides=stride, padding=padding.lower())
        shape = (2, *image, 3)
        layer = ours(window, stride=stride, padding=padding)
        return beside(layer, pure(theirs, shape, nothing), numbers(*shape))

    return [
        one((9,), (3,), 2, "SAME"),
        one((7, 9), (2, 3), None, "VALID"),
        one((7, 9), (3, 2), 2, "SAME"),
        one((5, 6, 4), (3, 2, 2), 2, "SAME"),
    ]


@pairs("max_pool", "keras")
def max_pool():
    return pools("Max", nn.max_pool)


@pairs("avg_pool", "keras")
def avg_pool():
    return pools("Average", nn.avg_pool)


def whole(kind, ours):
    one = lambda *image: beside(
        ours(len(image)),
        pure(getattr(layers, f"{kind}Pooling{len(image)}D")(), (2, *image, 3), nothing),
        numbers(2, *image, 3),
    )
    return [one(9), one(7, 5), one(3, 4, 2)]


@pairs("global_max_pool", "keras")
def global_max_pool():
    return whole("GlobalMax", nn.global_max_pool)


@pairs("global_avg_pool", "keras")
def global_avg_pool():
    return whole("GlobalAverage", nn.global_avg_pool)


def adaptive(kind, ours):
    def one(image, size):
        theirs = getattr(layers, f"{kind}Pooling{len(size)}D")(size)
        return beside(ours(size), pure(theirs, (2, *image, 3), nothing), numbers(2, *image, 3))

    return [one((9,), (4,)), one((7, 8), (3, 5))]


@pairs("adaptive_max_pool", "keras")
def adaptive_max_pool():
    return adaptive("AdaptiveMax", nn.adaptive_max_pool)


@pairs("adaptive_avg_pool", "keras")
def adaptive_avg_pool():
    return adaptive("AdaptiveAverage", nn.adaptive_avg_pool)


scale_bias = listed("scale", "bias")


@pairs("batch_norm", "keras", "Keras' running variance divides by n, ours by n - 1")
def batch_norm():
    state = {"mean": numbers(4, seed=3), "var": jnp.exp(numbers(4, seed=4))}

    def one(x, train):
        other = layers.BatchNormalization(momentum=0.7, epsilon=1e-3)
        other.build(x.shape)
        n = x.size // 4

        def theirs(params, x):
            y, (mean, var) = other.stateless_call(
                scale_bias(params), [state["mean"], state["var"]], x, training=train
            )
            if not train:
                return y
            old = 0.7 * state["var"]  # what is new is of n values, or of n - 1
            new = {"mean": mean, "var": old + (var - old) * n / (n - 1)}
            return y, jax.lax.stop_gradient(new)  # as ours and Flax's do

        layer = nn.batch_norm(4, decay=0.7, eps=1e-3)
        return beside(layer, theirs, x, train=train, state=state, with_state=train)

    return [
        one(numbers(3, 5, 6, 4, mean=10), True),
        one(numbers(5, 4), True),
        one(numbers(3, 5, 4), False),
    ]


@pairs("layer_norm", "keras")
def layer_norm():
    def one(features, axis, *shape, **options):
        theirs = layers.LayerNormalization(
            axis=axis, epsilon=1e-5, center=options.get("bias", True)
        )
        layer = nn.layer_norm(features, **options)
        return beside(layer, pure(theirs, shape, scale_bias), numbers(*shape, mean=10))

    return [
        one(5, -1, 2, 7, 5),
        one((3, 5), (-2, -1), 2, 3, 5),
        one(5, -1, 7, 5, bias=False),
    ]


@pairs("rms_norm", "keras")
def rms_norm():
    theirs = pure(layers.RMSNormalization(), (2, 7, 5), scale_bias)
    return [beside(nn.rms_norm(5), theirs, numbers(2, 7, 5, mean=mean)) for mean in (0, 10)]


@pairs("group_norm", "keras")
def group_norm():
    def one(groups, *image):
        shape = (2, *image, 6)
        theirs = pure(layers.GroupNormalization(groups, epsilon=1e-5), shape, scale_bias)
        return beside(nn.group_norm(6, groups, axes=len(image)), theirs, numbers(*shape))

    return [one(3, 5, 7), one(1, 9)]


@pairs("instance_norm", "keras", "Keras' GroupNormalization of as many groups as channels")
def instance_norm():
    theirs = layers.GroupNormalization(-1, epsilon=1e-5)
    layer = nn.instance_norm(4, scale=True, bias=True)
    call = pure(theirs, (2, 5, 7, 4), scale_bias)
    return [beside(layer, call, numbers(2, 5, 7, 4))]


@pairs("unit_norm", "keras")
def unit_norm():
    def one(axis, *shape):
        theirs = pure(layers.UnitNormalization(axis=axis), shape, nothing)
        return beside(nn.unit_norm(axis), theirs, numbers(*shape, mean=10))

    return [one(-1, 2, 7, 5), one((1, 2), 2, 7, 5)]


def z_r_n(a):
    """Gates of a GRU from our order r, z, n to theirs, and back."""
    r, z, n = jnp.split(a, 3, -1)
    return jnp.concatenate([z, r, n], -1)


def gru_list(p):
    bias = z_r_n(p["bias"])
    if "recurrent_bias" in p:
        hidden = p["recurrent_bias"]
        bias = jnp.stack([bias, jnp.concatenate([jnp.zeros(2 * hidden.size), hidden])])
    return [z_r_n(p["kernel"]), z_r_n(p["recurrent"]), bias]


cell_list = listed("kernel", "recurrent", "bias")
first = lambda f, x: f(x)[0]


def sequences(kind, ours, convert, **options):
    """All outputs of a sequence; the last carry; a padded sequence."""
    shape = (3, 6, 5)
    make = lambda **more: kind(4, **options, **more)
    all_of = pure(make(return_sequences=True), shape, convert)
    mask = padded([6, 1, 4], 6)
    masked = make(return_sequences=True)
    masked.zero_output_for_mask = True
    hidden = pure(
        masked, shape, convert, lambda f, x, mask: jnp.where(mask[..., None], f(x, mask=mask), 0)
    )
    state = lambda f, x: tuple(f(x)[1:]) if kind is layers.LSTM else f(x)[1]
    last = pure(make(return_state=True), shape, convert, state)
    return [
        beside(ours, all_of, numbers(*shape), call=first),
        beside(ours, last, numbers(*shape), call=lambda f, x: f(x)[1]),
        beside(ours, hidden, numbers(*shape), mask, call=lambda f, x, mask: f(x, mask=mask)[0]),
    ]


@pairs("lstm", "keras")
def lstm():
    return sequences(layers.LSTM, nn.lstm(5, 4), cell_list)


@pairs("gru", "keras")
def gru():
    before = nn.gru(5, 4, reset_after=False)
    return sequences(layers.GRU, nn.gru(5, 4), gru_list) + sequences(
        layers.GRU, before, gru_list, reset_after=False
    )


@pairs("rnn", "keras")
def rnn():
    return sequences(layers.SimpleRNN, nn.rnn(5, 4), cell_list)


def cells(kind, ours, theirs, convert):
    """One step of a cell with a given carry."""
    step = lambda f, x, *carry: f(x, list(carry))
    width = 2 if kind == "lstm" else 1

    def call(f, x, *carry):
        y, new = step(f, x, *carry)
        return y, tuple(new) if width == 2 else jax.tree.leaves(new)[0]

    carry = [numbers(3, 4, seed=i + 1) for i in range(width)]
    mine = lambda f, x, *carry: f(x, carry if width == 2 else carry[0])
    return [beside(ours, pure(theirs, (3, 5), convert, call), numbers(3, 5), *carry, call=mine)]


@pairs("lstm_cell", "keras")
def lstm_cell():
    return cells("lstm", nn.lstm_cell(5, 4), layers.LSTMCell(4), cell_list)


@pairs("gru_cell", "keras")
def gru_cell():
    return cells("gru", nn.gru_cell(5, 4), layers.GRUCell(4), gru_list)


@pairs("elman_cell", "keras")
def elman_cell():
    return cells("rnn", nn.elman_cell(5, 4), layers.SimpleRNNCell(4), cell_list)


@pairs("bidirectional", "keras")
def bidirectional():
    both = lambda convert: lambda p: convert(p["forward"]) + convert(p["backward"])
    shape = (3, 6, 5)

    def one(kind, ours, convert, merge, mode):
        theirs = layers.Bidirectional(kind(4, return_sequences=True), merge_mode=mode)
        layer = nn.bidirectional(ours, **merge)
        return beside(layer, pure(theirs, shape, both(convert)), numbers(*shape), call=first)

    return [
        one(layers.LSTM, nn.lstm(5, 4), cell_list, {}, "concat"),
        one(layers.GRU, nn.gru(5, 4), gru_list, {"merge": lambda a, b: a + b}, "sum"),
    ]


@pairs("conv_lstm_cell", "keras", "Keras' recurrent activation set to sigmoid")
def conv_lstm_cell():
    shape = (2, 3, 4, 5, 2)
    options = {"padding": "same", "recurrent_activation": "sigmoid", "return_sequences": True}

    def convert(p):
        return [p["input"]["kernel"], p["recurrent"]["kernel"], p["input"]["bias"]]

    def one(size):
        theirs = pure(layers.ConvLSTM2D(3, size, **options), shape, convert)
        layer = nn.scan_time(nn.conv_lstm_cell(2, 3, size), time_axis=-4)
        return beside(layer, theirs, numbers(*shape), call=first)

    return [one((3, 3)), one((2, 3))]


@pairs("attention", "keras")
def attention():
    def one(theirs, call, ours_call, *inputs, heads=2, key_heads=2, **options):
        size = 8 // heads

        def convert(p):
            arrays = []
            for name in ("query", "key", "value"):
                kernel, bias = p[name]["kernel"], p[name]["bias"]
                split = (kernel.shape[1] // size, size)
                arrays += [kernel.reshape(8, *split), bias.reshape(split)]
            return [*arrays, p["out"]["kernel"].reshape(heads, size, 8), p["out"]["bias"]]

        shapes = [inputs[0].shape, (2, inputs[min(1, len(inputs) - 1)].shape[1], 8)]
        layer = nn.attention(8, heads, key_heads=key_heads, **options)
        return one_bias(beside(layer, pure(theirs, shapes, convert, call), *inputs, call=ours_call))

    x, context = numbers(2, 5, 8), numbers(2, 6, 8, seed=1)
    mask = padded([6, 2], 6)[:, None]
    itself = lambda f, x: f(x)
    causal = lambda f, x: f(x, x, use_causal_mask=True)
    masked = lambda f, x, c, mask: f(x, c, attention_mask=mask)
    ours_masked = lambda f, x, c, mask: f(x, c, mask=mask[:, None])
    multi = lambda: layers.MultiHeadAttention(2, 4)
    grouped = lambda: layers.GroupQueryAttention(2, 4, 2)
    some = {"heads": 4, "key_heads": 2}
    return [
        one(multi(), causal, itself, x, causal=True),
        one(multi(), masked, ours_masked, x, context, mask),
        one(grouped(), causal, itself, x, causal=True, **some),
        one(grouped(), masked, ours_masked, x, context, mask, **some),
    ]


@pairs("additive_attention", "keras", "Keras has no projections: ours are put before it")
def additive_attention():
    theirs = layers.AdditiveAttention()
    theirs.build([(2, 5, 7)] * 2 + [(2, 6, 4)])

    def call(p, x, context, mask):
        query = x @ p["query"]["kernel"]
        key = context @ p["key"]["kernel"] + p["key"]["bias"]
        inputs, masks = [query, context, key], [jnp.ones(x.shape[:2], bool), mask]
        return theirs.stateless_call([p["score"]["kernel"][:, 0]], [], inputs, mask=masks)[0]

    inputs = numbers(2, 5, 3), numbers(2, 6, 4, seed=1), padded([6, 2], 6)
    ours_call = lambda f, x, c, mask: f(x, c, mask=mask[:, None])
    return [beside(nn.additive_attention(3, 4, 7), call, *inputs, call=ours_call)]


def images(ours, theirs):
    shape = (2, 5, 6, 3)
    return beside(ours, pure(theirs, shape, nothing), numbers(*shape))


@pairs("upsample", "keras")
def upsample():
    return [
        images(nn.upsample((2, 3)), layers.UpSampling2D((2, 3))),
        images(nn.upsample(2, method="linear"), layers.UpSampling2D(2, interpolation="bilinear")),
    ]


@pairs("pad", "keras")
def pad():
    sides = [(1, 0), (2, 3)]
    line = pure(layers.ZeroPadding1D((2, 1)), (2, 5, 3), nothing)
    return [
        images(nn.pad(sides), layers.ZeroPadding2D(tuple(sides))),
        beside(nn.pad([(2, 1)]), line, numbers(2, 5, 3)),
    ]


@pairs("crop", "keras")
def crop():
    sides = [(1, 0), (2, 3)]
    return [images(nn.crop(sides), layers.Cropping2D(tuple(sides)))]


@pairs("prelu", "keras")
def prelu():
    theirs = layers.PReLU(shared_axes=[1, 2])
    call = pure(theirs, (2, 5, 6, 3), lambda p: [p["slope"].reshape(1, 1, 3)])
    return [beside(nn.prelu(3), call, numbers(2, 5, 6, 3))]


@pairs("dropout", "keras", "in evaluation: in training random numbers differ")
def dropout():
    theirs = pure(layers.Dropout(0.5), (2, 7, 5), nothing)
    return [beside(nn.dropout(0.5), theirs, numbers(2, 7, 5))]
