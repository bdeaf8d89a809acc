"""Random layers of vectors: experts, splines, bumps, codes, updates, couplings, capsules."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import nnjax as nn
from tests.properties.family import (
    Case,
    Family,
    Mistake,
    batches,
    booleans,
    called,
    flags,
    mistake,
    numbers,
    sizes,
    spec,
)

dtypes = st.sampled_from([jnp.float32, jnp.bfloat16, jnp.float16])


@st.composite
def hidden(draw) -> Case:
    """Linear layers about hidden units: an MLP, a mixture of them, updates of low rank."""
    kind = draw(st.sampled_from(["gated_mlp", "mixture_of_experts", "lora"]))
    ins, width, outs, batch = draw(sizes), draw(sizes), draw(sizes), draw(batches)
    x = numbers(*batch, ins)
    activation: Any = draw(st.sampled_from([jnp.tanh, nn.silu]))
    if kind == "gated_mlp":
        layer = nn.gated_mlp(ins, width, outs, activation=activation, bias=draw(flags))
        return Case(layer, (x,), spec(*batch, outs))
    if kind == "lora":
        model = nn.mlp(ins, width, outs, activation=activation)
        match = draw(st.sampled_from(["**", "linear_0", "*_1"]))
        alpha = draw(st.none() | st.floats(0, 4))
        layer = nn.lora(model, draw(sizes), match=match, alpha=alpha)
        return Case(layer, (x,), spec(*batch, outs))
    experts = draw(sizes)
    settings: dict[str, Any] = {"top_k": draw(st.integers(1, experts)), "activation": activation}
    settings["capacity_factor"] = draw(st.none() | st.floats(0.01, 2))
    settings["implementation"] = draw(st.sampled_from(["blocks", "ragged"]))
    layer = nn.mixture_of_experts(ins, width, experts, **settings)
    return Case(layer, (x,), spec(*batch, ins), train=draw(flags))


@st.composite
def measured(draw) -> Case:
    """Layers that compute as wide as float32 and give back the dtype of x."""
    ins, count, batch, dtype = draw(sizes), draw(sizes), draw(batches), draw(dtypes)
    kind = draw(st.sampled_from(["kan", "rbf", "vector_quantizer", "ema_vector_quantizer"]))
    x, made = numbers(*batch, ins).astype(dtype), spec(*batch, count, dtype=dtype)
    if kind == "kan":
        low, wide = draw(st.floats(-3, 3)), draw(st.floats(0.1, 3))
        intervals, degree = draw(sizes), draw(st.integers(1, 3))
        cut: Any = {"intervals": intervals, "degree": degree, "low": low, "high": low + wide}
        return Case(nn.kan(ins, count, **cut), (x,), made)
    if kind == "rbf":
        return Case(nn.rbf(ins, count, gamma=draw(st.floats(0.01, 3))), (x,), made)
    layer = getattr(nn, kind)(count, ins, commitment=draw(st.floats(0, 2)))
    found = spec(*batch, dtype=jnp.int32), spec(*batch, dtype=dtype)
    return Case(layer, (x,), (spec(*x.shape, dtype=dtype), *found), train=draw(flags))


@st.composite
def couplings(draw, features: int) -> nn.Layer:
    kind, swap = draw(st.sampled_from(["additive_coupling", "affine_coupling"])), draw(flags)
    parts = features // 2, features - features // 2
    kept, changed = reversed(parts) if swap else parts
    outs = changed if kind == "additive_coupling" else 2 * changed
    network = draw(st.sampled_from([nn.linear(kept, outs), nn.mlp(kept, 3, outs)]))
    return getattr(nn, kind)(features, network, swap=swap)


@st.composite
def coupling(draw) -> Case:
    features, batch = draw(st.integers(2, 6)), draw(batches)
    steps = draw(st.lists(couplings(features), min_size=1, max_size=3))
    layer = nn.flow(*steps) if len(steps) > 1 or draw(flags) else steps[0]
    if draw(flags):
        undo = lambda net, y: net.layer(y, inverse=True)
        layer = nn.compose(undo, "inverse", layer=layer)
    outputs = spec(*batch, features), spec(*batch)
    return Case(layer, (numbers(*batch, features),), outputs)


@st.composite
def capsule(draw) -> Case:
    ins, in_dim, outs, out_dim, count = (draw(sizes) for _ in range(5))
    batch, dtype = draw(batches), draw(dtypes)
    layer = nn.capsule(ins, in_dim, outs, out_dim, iterations=count)
    x = numbers(*batch, ins, in_dim).astype(dtype)
    return Case(layer, (x,), spec(*batch, outs, out_dim, dtype=dtype))


@st.composite
def hopfield(draw) -> Case:
    heads, batch, length = draw(st.integers(1, 3)), draw(batches), draw(sizes)
    dim, beta = heads * draw(st.integers(1, 3)), draw(st.none() | st.floats(0.01, 4))
    inputs, patterns = [numbers(*batch, length, dim)], length
    if draw(flags):
        patterns = draw(sizes)
        inputs.append(numbers(*batch, patterns, dim, seed=1))
    named = {"mask": booleans(*batch, patterns)} if draw(flags) else {}
    layer = nn.hopfield(dim, heads, beta=beta, updates=draw(st.integers(1, 3)))
    return Case(layer, tuple(inputs), spec(*batch, length, dim), named)


@st.composite
def of_hidden(draw):
    ins, outs, extra = draw(sizes), draw(sizes), draw(st.integers(1, 3))
    wrong, x, whole = draw(st.integers(-2, 0)), numbers(2, ins + extra), np.ones((2, ins), int)
    gated = {"in_features": ins, "hidden_features": extra, "out_features": outs}
    mixed = {"dim": ins, "hidden_features": outs, "experts": 1 + extra}
    model, experts = nn.mlp(ins, extra, outs), nn.mixture_of_experts
    return [
        mistake(nn.gated_mlp, ".*: got x of shape", x, **gated),
        mistake(nn.gated_mlp, ".*: got (in|out)_features=", **gated | {"hidden_features": wrong}),
        mistake(experts, "mixture.*: got x of shape", x, **mixed),
        mistake(experts, "mixture.*: got x of dtype", whole, **mixed),
        mistake(experts, "mixture.*: got experts=", **mixed | {"experts": wrong}),
        mistake(experts, "mixture.*: got top_k=", **mixed, top_k=2 + extra),
        mistake(experts, "mixture.*: got top_k=", **mixed, top_k=wrong),
        mistake(experts, "mixture.*: got capacity", **mixed, capacity_factor=1.0 * wrong),
        mistake(experts, "mixture.*: got impl", **mixed, implementation="fast"),
        mistake(nn.lora, "lora: got rank=", model=model, rank=wrong),
        mistake(nn.lora, "lora: got match=.*linear_1", model=model, rank=1, match="dense"),
        mistake(nn.lora, ".*: got x of shape", x, model=model, rank=extra),
        mistake(nn.lora_merge, "lora_merge: got mlp", model=model, params={}),
    ]


@st.composite
def of_measured(draw):
    ins, outs, extra = draw(sizes), draw(sizes), draw(st.integers(1, 3))
    wrong, x, whole = draw(st.integers(-2, 0)), numbers(2, ins + extra), np.ones((2, ins), int)
    plain, bumps = {"in_features": ins, "out_features": outs}, {"in_features": ins, "centers": outs}
    codes, running = {"codes": outs, "dim": ins}, nn.ema_vector_quantizer
    return [
        mistake(nn.kan, "kan.*: got x of shape", x, **plain),
        mistake(nn.kan, "kan.*: got x of dtype", whole, **plain),
        mistake(nn.kan, "kan.*: got degree=", **plain, degree=wrong),
        mistake(nn.kan, "kan.*: got low=", **plain, low=1.0 * extra, high=1.0 * wrong),
        mistake(nn.kan, "kan.*: got low=", **plain, high=np.inf),
        mistake(nn.rbf, "rbf.*: got x of shape", x, **bumps),
        mistake(nn.rbf, "rbf.*: got centers=", **bumps | {"centers": wrong}),
        mistake(nn.rbf, "rbf.*: got gamma=", **bumps, gamma=1.0 * wrong),
        mistake(nn.vector_quantizer, "vector_quantizer.*: got x of shape", x, **codes),
        mistake(nn.vector_quantizer, "vector.*: got codes=", **codes | {"codes": wrong}),
        mistake(running, "ema_vector_quantizer.*: got x of dtype", whole, **codes),
        mistake(running, "ema_vector_quantizer.*: got decay=", **codes, decay=1.0 + extra),
    ]


@st.composite
def of_couplings(draw):
    make = draw(st.sampled_from([nn.additive_coupling, nn.affine_coupling]))
    name, half, extra = make.__name__, draw(st.integers(2, 4)), draw(st.integers(1, 3))
    outs = half if make is nn.additive_coupling else 2 * half
    plain = {"features": 2 * half, "network": nn.linear(half, outs)}
    broad = plain | {"network": nn.linear(half, 1)}  # its sum would broadcast
    x = numbers(3, 2 * half)
    return [
        mistake(make, f"{name}.*: got features=", **plain | {"features": 1}),
        mistake(make, f"{name}.*: got features=", **plain | {"features": -extra}),
        mistake(make, f"{name}.*: got x of shape", numbers(3, 2 * half + extra), **plain),
        mistake(make, f"{name}.*: got x of dtype", x.astype(int), **plain),
        mistake(make, rf"{name}.*: got network\(a\) of shape", x, **broad),
        mistake(make, ".*: got x of shape", x, **plain | {"network": nn.linear(half + extra, 1)}),
        mistake(nn.flow, "flow: got no layer"),
    ]


@st.composite
def of_capsules(draw):
    ins, dim, extra = draw(sizes), draw(sizes), draw(st.integers(1, 3))
    wrong, x = draw(st.integers(-2, 0)), numbers(2, ins, dim)
    plain = {"in_capsules": ins, "in_dim": dim, "out_capsules": extra, "out_dim": 2}
    return [
        mistake(nn.capsule, "capsule.*: got x of shape", numbers(2, ins, dim + extra), **plain),
        mistake(nn.capsule, "capsule.*: got x of shape", numbers(2, ins + extra, dim), **plain),
        mistake(nn.capsule, "capsule.*: got x of shape", x[0, 0], **plain),
        mistake(nn.capsule, "capsule.*: got x of dtype", x.astype(int), **plain),
        mistake(nn.capsule, "capsule.*: got iterations=", **plain, iterations=wrong),
        mistake(nn.capsule, "capsule.*: got out_dim=", **plain | {"out_dim": wrong}),
    ]


@st.composite
def of_patterns(draw):
    heads, extra, wrong = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(-2, 0))
    dim = 2 * heads
    layer, x = nn.hopfield(dim, heads), numbers(2, 4, dim)
    named = lambda message, *inputs, **named: Mistake(
        called(layer, *inputs, **named), f"hopfield.*: {message}", f"{named}"
    )
    return [
        mistake(nn.hopfield, "hopfield.*: got heads=", dim=dim, heads=dim + extra),
        mistake(nn.hopfield, "hopfield.*: got heads=", dim=dim, heads=wrong),
        mistake(nn.hopfield, "hopfield.*: got beta=", dim=dim, heads=heads, beta=1.0 * wrong),
        mistake(nn.hopfield, "hopfield.*: got updates=", dim=dim, updates=wrong),
        named("got x of shape", numbers(2, 4, dim + extra)),
        named("got x of shape", numbers(dim)),
        named("got x of dtype", x.astype(int)),
        named("got stored of shape", x, numbers(2, 4, dim + extra)),
        named("got stored of shape", x, numbers(2 + extra, 4, dim)),
        named("got mask of shape", x, mask=np.ones((2, 4 + extra), bool)),
        named("got mask of shape", x, numbers(2, 4 + extra, dim), mask=np.ones((2, 4), bool)),
        named("got mask of dtype", x, mask=np.ones((2, 4))),
    ]


FAMILIES = {
    "hidden": Family(hidden(), of_hidden()),
    "measured": Family(measured(), of_measured()),
    "coupling": Family(coupling(), of_couplings()),
    "capsule": Family(capsule(), of_capsules()),
    "hopfield": Family(hopfield(), of_patterns()),
}
