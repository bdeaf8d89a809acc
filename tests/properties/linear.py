"""Random linear layers and tables."""

import math

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import nnjax as nn
from tests.properties.family import (
    Case,
    Family,
    batches,
    flags,
    integers,
    mistake,
    numbers,
    per_axis,
    sizes,
    spec,
)

features = sizes | st.integers(1, 3).flatmap(lambda n: per_axis(n, sizes))
as_tuple = lambda f: f if isinstance(f, tuple) else (f,)


@st.composite
def linear(draw) -> Case:
    ins, outs, bias, batch = draw(features), draw(features), draw(flags), draw(batches)
    settings = {"in_features": ins, "out_features": outs, "bias": bias}
    x = numbers(*batch, *as_tuple(ins))
    return Case(nn.linear(**settings), (x,), spec(*batch, *as_tuple(outs)), settings=settings)


EQUATIONS = [
    # the equation, the letters of x without "..." and of y
    ("...d,dhk->...hk", "d", "hk"),
    ("...hk,hkd->...d", "hk", "d"),
    ("...gi,gio->...go", "gi", "go"),
    ("...ti,io->...to", "ti", "to"),
    ("...ts,tu->...us", "ts", "us"),
    ("...d,d->...d", "d", "d"),
]


@st.composite
def einsum_linear(draw) -> Case:
    equation, given_letters, output = draw(st.sampled_from(EQUATIONS))
    letters = equation.partition(",")[2].partition("->")[0]
    size = {letter: draw(sizes) for letter in given_letters + letters}
    batch, bias = draw(batches), draw(flags)
    kernel = tuple(size[letter] for letter in letters)
    layer = nn.einsum_linear(equation, kernel, bias=bias)
    x = numbers(*batch, *(size[letter] for letter in given_letters))
    settings = {"equation": equation, "bias": bias}
    return Case(layer, (x,), spec(*batch, *(size[o] for o in output)), settings=settings)


@st.composite
def bilinear(draw) -> Case:
    names = ("in1_features", "in2_features", "out_features")
    settings = {name: draw(sizes) for name in names} | {"bias": draw(flags)}
    batch, (one, two, out) = draw(batches), (settings[name] for name in names)
    x = numbers(*batch, one), numbers(*batch, two, seed=1)
    return Case(nn.bilinear(**settings), x, spec(*batch, out), settings=settings)


@st.composite
def tables(draw) -> dict:
    vocabulary, dim = draw(sizes), draw(sizes)
    padding = draw(st.none() | st.integers(-vocabulary, vocabulary - 1))
    norm = draw(st.none() | st.sampled_from([0.01, 1.0]))
    return {"vocabulary": vocabulary, "dim": dim, "padding_id": padding, "max_norm": norm}


@st.composite
def embedding(draw) -> Case:
    settings, batch = draw(tables()), draw(batches)
    ids = integers(0, settings["vocabulary"], *batch)
    ids = ids.astype(draw(st.sampled_from([np.int32, np.int8, np.uint8])))
    outputs = spec(*batch, settings["dim"])
    return Case(nn.embedding(**settings), (ids,), outputs, settings=settings)


@st.composite
def embedding_bag(draw) -> Case:
    settings, named = draw(tables()), {}
    settings["reduce"] = reduce = draw(st.sampled_from(["sum", "mean", "max"]))
    batch = draw(batches)
    ids = integers(0, settings["vocabulary"], *batch, draw(sizes))
    if draw(flags):
        ids = integers(0, settings["vocabulary"], draw(sizes))
        cuts = draw(st.lists(st.integers(0, len(ids)), max_size=3).map(sorted))
        named["offsets"] = np.array([0, *cuts], np.int32)
        batch = named["offsets"].shape
    if reduce == "sum" and draw(flags):
        named["weights"] = numbers(*ids.shape, seed=1)
    outputs = spec(*batch, settings["dim"])
    return Case(nn.embedding_bag(**settings), (ids,), outputs, named, settings)


@st.composite
def prelu(draw) -> Case:
    batch, width = draw(batches), draw(sizes)
    layer = nn.prelu(width) if draw(flags) else nn.prelu()
    return Case(layer, (numbers(*batch, width),), spec(*batch, width))


@st.composite
def maxout(draw) -> Case:
    ins, outs, pieces, batch = draw(sizes), draw(sizes), draw(sizes), draw(batches)
    layer = nn.maxout(ins, outs, pieces=pieces)
    return Case(layer, (numbers(*batch, ins),), spec(*batch, outs))


@st.composite
def mlp(draw) -> Case:
    widths, batch = draw(st.lists(sizes, min_size=2, max_size=4)), draw(batches)
    layer = nn.mlp(*widths, activation=jnp.tanh)
    return Case(layer, (numbers(*batch, widths[0]),), spec(*batch, widths[-1]))


@st.composite
def flatten(draw) -> Case:
    shape = draw(st.lists(sizes, min_size=1, max_size=4))
    count = draw(st.integers(1, len(shape)))
    kept, joined = shape[: len(shape) - count], shape[len(shape) - count :]
    if draw(flags):
        x = numbers(*kept, math.prod(joined))
        return Case(nn.unflatten(*joined), (x,), spec(*shape))
    return Case(nn.flatten(count), (numbers(*shape),), spec(*kept, math.prod(joined)))


@st.composite
def mistakes(draw):
    ins, outs, extra = draw(sizes), draw(sizes), draw(st.integers(1, 3))
    wrong = draw(st.integers(-2, 0))
    table = {"vocabulary": ins, "dim": outs}
    ids = jnp.zeros(2, jnp.int32)
    return [
        mistake(
            nn.linear,
            rf"linear\({ins}, {outs}\): got x of shape .*, expected \[..., {ins}\]",
            numbers(2, ins + extra),
            in_features=ins,
            out_features=outs,
        ),
        mistake(nn.linear, "linear.*: got in_features=", in_features=wrong, out_features=outs),
        mistake(nn.linear, "linear.*: got out_features=", in_features=ins, out_features=()),
        mistake(
            nn.bilinear,
            "bilinear.*: got x2 of shape .*, expected",
            numbers(2, ins),
            numbers(3, outs),
            in1_features=ins,
            in2_features=outs,
            out_features=extra,
        ),
        mistake(
            nn.einsum_linear,
            "einsum_linear.*: got kernel_shape=.*, expected 2 sizes",
            equation="...i,io->...o",
            kernel_shape=(ins,) * (2 + extra),
        ),
        mistake(nn.embedding, "embedding.*: got padding_id=", **table, padding_id=ins + extra),
        mistake(nn.embedding, "embedding.*: got max_norm=", **table, max_norm=float(wrong)),
        mistake(nn.embedding, "embedding.*: got ids of dtype", numbers(2), **table),
        mistake(nn.embedding_bag, "embedding_bag.*: got reduce=", **table, reduce="min"),
        mistake(nn.embedding_bag, r"embedding_bag.*: got ids of shape \(\)", ids[0], **table),
        mistake(nn.flatten, "flatten.*: got x of shape", numbers(2), axes=1 + extra),
    ]


FAMILIES = {
    "linear": Family(linear() | einsum_linear() | bilinear() | prelu() | maxout(), mistakes()),
    "shape": Family(mlp() | flatten(), mistakes()),
    "embedding": Family(embedding() | embedding_bag(), mistakes()),
}
