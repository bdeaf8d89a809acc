"""Cases: graph."""

from typing import Any

import jax.numpy as jnp
import numpy as np

import nnjax as nn
from tests.catalogue.case import BATCH, Case, call, normal

NODES = (normal(5, 4),)
ends = np.random.default_rng(0).integers(0, 5, (2, BATCH, 9)).astype(np.int32)
EDGES = {
    "senders": jnp.asarray(ends[0]),
    "receivers": jnp.asarray(ends[1]),
    "node_mask": jnp.arange(5) < jnp.array([5, 5, 4, 3, 1, 0, 5, 4])[:, None],
}
WEIGHTS = {"edges": jnp.abs(normal(9)) + 0.1}
FEATURES = {"edges": normal(9, 3)}
SIZES = {
    "n_node": jnp.array([[2, 3], [5, 0], [0, 5], [1, 2], [0, 0], [4, 1], [3, 2], [1, 4]]),
    "node_mask": EDGES["node_mask"],
}


def graph_mistakes(layer, name, size, **edges):
    ids = jnp.zeros(9, int)
    one = {name: a[0] for name, a in edges.items()}
    sizes = {
        "size": (call(layer, jnp.ones((5, 5)), ids, ids, **one), rf"{name}.*: got nodes of sh")
    }
    return {
        "rank": (
            call(layer, jnp.ones(4), ids, ids, **one),
            rf"{name}.*: got nodes of shape \(4,\)",
        ),
        **(sizes if size else {}),
        "dtype": (call(layer, jnp.ones((5, 4), int), ids, ids, **one), f"{name}.*: got nodes of d"),
        "senders": (
            call(layer, jnp.ones((5, 4)), ids.astype(float), ids, **one),
            f"{name}.*: got senders of dtype float32, expected integer. Number the nodes",
        ),
        "receivers": (
            call(layer, jnp.ones((5, 4)), ids, ids[:8], **one),
            rf"{name}.*: got receivers of shape \(8,\), expected \[9\]",
        ),
        "node_mask": (
            call(layer, jnp.ones((5, 4)), ids, ids, **one, node_mask=jnp.ones(4, bool)),
            rf"{name}.*: got node_mask of shape \(4,\), expected \[5\]",
        ),
    }


def graph_case(layer, name, edges: dict[str, Any] | None = None, size=True, wrong=None) -> Case:
    edges = edges or {}
    mistakes = {**graph_mistakes(layer, name, size, **edges), **(wrong or {})}
    return Case(layer, NODES, mistakes, EDGES | edges)


def pool_case(layer: nn.Layer, name: str, argument="nodes", named=SIZES, wrong=None) -> Case:
    mistakes = {
        "rank": (call(layer, jnp.ones(4)), rf"{name}.*: got {argument} of shape \(4,\), expected"),
        "dtype": (call(layer, jnp.ones((5, 4), int)), f"{name}.*: got {argument} of dtype int32"),
    }
    return Case(layer, NODES, {**mistakes, **(wrong or {})}, named)


n_node = {
    "n_node": (
        call(nn.graph_pool(), jnp.ones((5, 4)), jnp.ones(2)),
        "graph_pool.*: got n_node of dtype float32, expected integer",
    ),
    "batch": (
        call(nn.graph_pool(), jnp.ones((3, 5, 4)), jnp.ones(2, int)),
        r"graph_pool.*: got n_node of shape \(2,\), expected \[3, \*\]",
    ),
    "aggregate": (lambda: nn.graph_pool("best"), r"graph_pool\(best\): got aggregate='best', exp"),
}
heads = {"heads": (lambda: nn.gat(4, 6, heads=4), r"gat\(4, 6\): got heads=4, expected a divisor")}
edges = {
    "edges": (
        call(
            nn.gcn(4, 3),
            jnp.ones((5, 4)),
            jnp.ones(9, int),
            jnp.ones(9, int),
            edges=jnp.ones((9, 1)),
        ),
        r"gcn\(4, 3\): got edges of shape \(9, 1\), expected \[9\]",
    ),
}
unused = {
    "edges": (
        call(
            nn.pna(4, 3, mean_log_degree=1.0),
            jnp.ones((5, 4)),
            jnp.ones(9, int),
            jnp.ones(9, int),
            edges=jnp.ones((9, 1)),
        ),
        r"pna\(4, 3\): got edges=an array, expected edge_features=0",
    ),
    "delta": (lambda: nn.pna(4, 3, mean_log_degree=0.0), r"pna\(4, 3\): got mean_log_degree=0.0"),
}
gate = nn.graph_attention_pool(nn.linear(4, 1), nn.linear(4, 3))
passing = nn.message_passing(lambda x_i, x_j, e: (x_i - x_j) * e.sum(-1, keepdims=True), jnp.add)

CASES: dict[str, Case] = {
    "deep_sets": pool_case(
        nn.deep_sets(nn.mlp(4, 6, 3, activation=jnp.tanh), nn.linear(3, 2)),
        "deep_sets",
        "x",
        {"mask": EDGES["node_mask"]},
    ),
    "gat": graph_case(nn.gat(4, 6, heads=2, dropout_rate=0.3), r"gat\(4, 6\)", wrong=heads),
    "gatv2": graph_case(
        nn.gatv2(4, 3, heads=2, merge="mean", edge_features=3), r"gatv2\(4, 3\)", FEATURES
    ),
    "gcn": graph_case(nn.gcn(4, 3), r"gcn\(4, 3\)", wrong=edges),
    "gin": graph_case(nn.gin(nn.mlp(4, 5, 3, activation=jnp.tanh)), "gin", size=False),
    "graph_attention_pool": pool_case(gate, "graph_attention_pool"),
    "graph_norm": pool_case(nn.graph_norm(4, eps=0.1), r"graph_norm\(4\)"),
    "graph_pool": pool_case(nn.graph_pool("std"), "graph_pool", wrong=n_node),
    "graph_sage": graph_case(nn.graph_sage(4, 3, aggregate="pool"), r"graph_sage\(4, 3, pool\)"),
    "message_passing": graph_case(passing, "message_passing", FEATURES, size=False),
    "mpnn": graph_case(nn.mpnn(4, 3, hidden=(5,)), r"mpnn\(4, 3\)", FEATURES),
    "pna": graph_case(
        nn.pna(4, 3, mean_log_degree=1.0, edge_features=3), r"pna\(4, 3\)", FEATURES, wrong=unused
    ),
    "sag_pool": graph_case(
        nn.sag_pool(nn.gcn(4, 1), 0.6),
        "sag_pool",
        size=False,
        wrong={"ratio": (lambda: nn.sag_pool(nn.gcn(4, 1), 1.5), "sag_pool.*: got ratio=1.5")},
    ),
    "set_linear": pool_case(
        nn.set_linear(4, 3), r"set_linear\(4, 3\)", "x", {"mask": EDGES["node_mask"]}
    ),
    "top_k_pool": pool_case(
        nn.top_k_pool(4, 0.6),
        r"top_k_pool\(4, 0.6\)",
        wrong={"ratio": (lambda: nn.top_k_pool(4, 0.0), r"top_k_pool\(4, 0.0\): got ratio=0.0")},
    ),
}
