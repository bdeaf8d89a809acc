"""Random graphs, padded or not, through each graph layer."""

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
    integers,
    mistake,
    numbers,
    sizes,
    spec,
)

AGGREGATES = ("sum", "mean", "max", "min", "std")
aggregates = st.sampled_from(AGGREGATES)


@st.composite
def layers(draw, ins: int, outs: int, edge_features: int):
    """A layer, how many features it makes, and what edges it wants: none, weights, features."""
    kind = draw(
        st.sampled_from(["gcn", "graph_sage", "gin", "gat", "gatv2", "mpnn", "pna", "message"])
    )
    match kind:
        case "gcn":
            layer = nn.gcn(ins, outs, self_loops=draw(flags), bias=draw(flags))
            return layer, outs, draw(st.sampled_from(["none", "weights"]))
        case "graph_sage":
            aggregate = draw(aggregates | st.just("pool"))
            options: Any = {"normalize": draw(flags), "bias": draw(flags)}
            return nn.graph_sage(ins, outs, aggregate=aggregate, **options), outs, "none"
        case "gin":
            return nn.gin(nn.linear(ins, outs), learn_eps=draw(flags)), outs, "none"
        case "gat" | "gatv2":
            heads, merge = draw(st.integers(1, 2)), draw(st.sampled_from(["concat", "mean"]))
            options = {"merge": merge, "self_loops": draw(flags), "bias": draw(flags)}
            wide, made = edge_features if draw(flags) else 0, heads * outs
            layer = getattr(nn, kind)(ins, made, heads=heads, edge_features=wide, **options)
            return layer, made, "rows" if wide else "none"
        case "mpnn":
            return nn.mpnn(ins, edge_features, hidden=(3,), aggregate=draw(aggregates)), ins, "rows"
        case "pna":
            wanted = draw(flags)
            some = st.lists(aggregates, min_size=1, max_size=2, unique=True)
            layer = nn.pna(
                ins,
                outs,
                mean_log_degree=1.5,
                edge_features=edge_features if wanted else 0,
                aggregators=draw(some),
            )
            return layer, outs, "rows" if wanted else "none"
        case _:
            message = lambda own, other, edge: (own - other) * edge.sum(-1, keepdims=True)
            layer = nn.message_passing(message, jnp.add, aggregate=draw(aggregates))
            return layer, ins, "rows"


@st.composite
def graph(draw) -> Case:
    ins, outs, wide = draw(sizes), draw(sizes), draw(sizes)
    layer, made, wanted = draw(layers(ins, outs, wide))
    batch, nodes, edges = draw(batches), draw(sizes), draw(st.integers(0, 6))
    shared = draw(flags)  # one set of edges for all graphs of the batch
    lead = () if shared and wanted == "none" else batch
    ends = [integers(0, nodes, *lead, edges, seed=seed) for seed in (1, 2)]
    named: dict[str, Any] = {}
    if draw(flags):
        named["node_mask"] = booleans(*batch, nodes)
    if draw(flags):
        named["edge_mask"] = booleans(*lead, edges, seed=3)
    if wanted == "weights":
        named["edges"] = np.abs(numbers(*batch, edges, seed=4))
    elif wanted == "rows":
        named["edges"] = numbers(*batch, edges, wide, seed=4)
    inputs = (numbers(*batch, nodes, ins), *ends)
    return Case(layer, inputs, spec(*batch, nodes, made), named)


@st.composite
def pooled(draw) -> Case:
    width, batch, nodes = draw(sizes), draw(batches), draw(sizes)
    kind = draw(st.sampled_from(["pool", "attention", "norm", "sets", "set_linear", "top_k"]))
    x, outs = numbers(*batch, nodes, width), draw(sizes)
    argument = "mask" if kind in ("sets", "set_linear") else "node_mask"
    named = {argument: booleans(*batch, nodes)} if draw(flags) else {}
    layer, made = {
        "pool": (nn.graph_pool(draw(aggregates)), width),
        "attention": (nn.graph_attention_pool(nn.linear(width, 1), nn.linear(width, outs)), outs),
        "norm": (nn.graph_norm(width, eps=0.1), width),
        "sets": (nn.deep_sets(nn.linear(width, outs), aggregate=draw(aggregates)), outs),
        "set_linear": (nn.set_linear(width, outs), outs),
        "top_k": (nn.top_k_pool(width, draw(st.floats(0.01, 1))), width),
    }[kind]
    if kind == "top_k":
        kept = spec(*batch, nodes, dtype=jnp.bool_)
        return Case(layer, (x,), (spec(*batch, nodes, made), kept), named)
    if kind in ("norm", "set_linear"):
        return Case(layer, (x,), spec(*batch, nodes, made), named)
    inputs = (x,)
    if kind in ("pool", "attention") and draw(flags):
        graphs = draw(st.integers(1, 3))
        inputs = (x, integers(0, nodes // graphs + 1, *batch, graphs))
        return Case(layer, inputs, spec(*batch, graphs, made), named)
    return Case(layer, inputs, spec(*batch, made), named)


@st.composite
def mistakes(draw):
    ins, outs, extra = draw(sizes), draw(sizes), draw(st.integers(1, 3))
    wrong = draw(st.integers(-2, 0))
    make = draw(st.sampled_from([nn.gcn, nn.graph_sage, nn.gat, nn.gatv2]))
    name, plain = make.__name__, {"in_features": ins, "out_features": outs}
    nodes, ids = numbers(5, ins), np.zeros(9, np.int32)
    layer = make(**plain)
    named = lambda message, **inputs: Mistake(
        called(layer, nodes, ids, ids, **inputs), f"{name}.*: {message}", f"{inputs}"
    )
    return [
        mistake(make, f"{name}.*: got nodes of shape", numbers(5, ins + extra), ids, ids, **plain),
        mistake(make, f"{name}.*: got nodes of shape", numbers(ins), ids, ids, **plain),
        mistake(make, f"{name}.*: got nodes of dtype", nodes.astype(int), ids, ids, **plain),
        mistake(make, f"{name}.*: got senders of dtype", nodes, ids * 1.0, ids, **plain),
        mistake(make, f"{name}.*: got receivers of shape", nodes, ids, ids[extra:], **plain),
        mistake(make, f"(?:{name}|linear).*: got out_features=", **plain | {"out_features": wrong}),
        named("got node_mask of shape", node_mask=np.ones(5 + extra, bool)),
        named("got node_mask of dtype", node_mask=np.ones(5)),
        named("got edge_mask of shape", edge_mask=np.ones(9 + extra, bool)),
        mistake(nn.graph_sage, "graph_sage.*: got aggregate=", **plain, aggregate="best"),
        mistake(nn.gat, "gat.*: got heads=", **plain, heads=outs + extra),
        mistake(nn.gat, "gat.*: got heads=", **plain, heads=wrong),
        mistake(nn.gat, "gat.*: got edge_features=", **plain, edge_features=-extra),
        mistake(nn.gat, "gat.*: got edges=None", nodes, ids, ids, **plain, edge_features=extra),
        mistake(nn.gatv2, "gatv2.*: got merge=", **plain, merge="sum"),
        mistake(nn.gatv2, "gatv2.*: got dropout_rate=", **plain, dropout_rate=1.0),
        mistake(nn.pna, "pna.*: got mean_log_degree=", **plain, mean_log_degree=float(wrong)),
        mistake(nn.pna, "pna.*: got no scalers", **plain, mean_log_degree=1.0, scalers=()),
        mistake(
            nn.pna, "pna.*: got edge_features=", **plain, mean_log_degree=1.0, edge_features=-extra
        ),
        mistake(nn.mpnn, "mpnn.*: got edge_features=", dim=ins, edge_features=wrong),
        mistake(nn.graph_pool, "graph_pool.*: got aggregate=", aggregate="best"),
        mistake(nn.graph_pool, "graph_pool.*: got n_node of dtype", nodes, np.ones(2)),
        mistake(nn.graph_pool, "graph_pool.*: got n_node of shape", nodes, ids.reshape(3, 3)),
        mistake(nn.top_k_pool, "top_k_pool.*: got ratio=", features=ins, ratio=float(wrong)),
        mistake(nn.top_k_pool, "top_k_pool.*: got nodes of sh", nodes, features=ins + extra),
        mistake(nn.sag_pool, "sag_pool.*: got ratio=", score=nn.gcn(ins, 1), ratio=1.0 + extra),
        mistake(nn.graph_norm, "graph_norm.*: got nodes of shape", nodes, features=ins + extra),
    ]


FAMILIES = {"graph": Family(graph(), mistakes()), "graph_pool": Family(pooled(), mistakes())}
