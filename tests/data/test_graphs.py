"""Batches of graphs: batch and unbatch, padding and masks, jraph's tuples, one trace."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import close

PARTS = ("nodes", "edges", "receivers", "senders", "globals", "n_node", "n_edge")


def example(n, e, seed, features=True):
    rng = np.random.default_rng(seed)
    nodes = {"atom": rng.normal(size=(n, 3)).astype(np.float32), "kind": rng.integers(0, 5, n)}
    edges = rng.normal(size=(e, 2)).astype(np.float32) if features else None
    ends = rng.integers(0, max(n, 1), (2, e))
    return nn.data.graph(nodes, ends[0], ends[1], edges, rng.normal(size=4) if features else None)


THREE = [example(4, 6, 0), example(1, 0, 1), example(3, 5, 2)]


def same(a, b):
    chex.assert_trees_all_equal(tuple(a), tuple(b))


def test_batch_and_unbatch_are_inverse():
    batch = nn.data.batch_graphs(THREE)
    assert batch.nodes["atom"].shape == (8, 3) and batch.edges.shape == (11, 2)
    assert batch.n_node.tolist() == [4, 1, 3] and batch.n_edge.tolist() == [6, 0, 5]
    assert batch.senders[6:].min() >= 5 and batch.globals.shape == (3, 4)
    for got, want in zip(nn.data.unbatch_graphs(batch), THREE, strict=True):
        same(got, want)
    again = nn.data.batch_graphs([nn.data.batch_graphs(THREE[:2]), THREE[2]])
    same(again, batch)


def test_padding():
    batch = nn.data.batch_graphs(THREE)
    padded = nn.data.pad_graphs(batch, nodes=12, edges=16, graphs=6)
    assert padded.n_node.tolist() == [4, 1, 3, 4, 0, 0] and padded.n_edge.sum() == 16
    assert padded.nodes["kind"].dtype == batch.nodes["kind"].dtype
    assert set(padded.senders[11:]) == set(padded.receivers[11:]) == {8}
    masks = jax.jit(nn.data.graph_masks)(padded)
    assert [m.sum() for m in masks] == [8, 11, 3] and masks.nodes[:8].all()
    assert masks.edges[:11].all() and masks.graphs[:3].all()
    same(nn.data.unpad_graphs(padded), batch)
    tight = nn.data.pad_graphs(batch, nodes=9, edges=11, graphs=4)
    assert [m.sum() for m in nn.data.graph_masks(tight)] == [8, 11, 3]
    nothing = nn.data.pad_graphs(
        nn.data.unpad_graphs(padded)._replace(
            nodes={k: v[:0] for k, v in batch.nodes.items()},
            edges=batch.edges[:0],
            senders=batch.senders[:0],
            receivers=batch.receivers[:0],
            globals=batch.globals[:0],
            n_node=batch.n_node[:0],
            n_edge=batch.n_edge[:0],
        ),
        nodes=3,
        edges=2,
        graphs=2,
    )
    assert not any(m.any() for m in nn.data.graph_masks(nothing))


def test_graphs_without_nodes_or_features():
    plain = [example(3, 2, 0, features=False), example(0, 0, 1, features=False)]
    batch = nn.data.batch_graphs(plain)
    assert batch.edges is None and batch.globals is None
    padded = nn.data.pad_graphs(batch, nodes=5, edges=3, graphs=3)
    assert nn.data.graph_masks(padded).graphs.tolist() == [True, True, False]
    same(nn.data.unpad_graphs(padded), batch)


def test_batches_of_one_size_hold_every_graph():
    examples = [example(n, 2 * n, n) for n in (5, 3, 4, 1, 6, 2, 2, 2)]
    batches = list(nn.data.graph_batches(examples, nodes=9, edges=20, graphs=4))
    assert all(chex.assert_trees_all_equal_shapes(batches[0], b) is None for b in batches)
    found = [g for b in batches for g in nn.data.unbatch_graphs(nn.data.unpad_graphs(b))]
    assert [len(nn.data.unbatch_graphs(nn.data.unpad_graphs(b))) for b in batches] == [2, 2, 2, 2]
    for got, want in zip(found, examples, strict=True):
        same(got, want)
    with pytest.raises(ValueError, match=r"pad_graphs: got nodes=5, expected at least 6 for 1 gra"):
        list(nn.data.graph_batches(examples, nodes=5, edges=20, graphs=4))


def test_one_trace_serves_all_graphs_of_a_padded_size():
    network = nn.gcn(3, 2), nn.graph_pool("sum")
    params, _ = network[0].init(jax.random.key(0))

    @jax.jit
    @chex.assert_max_traces(n=1)
    def f(graph):
        masks = nn.data.graph_masks(graph)
        h = network[0](
            params, graph.nodes["atom"], graph.senders, graph.receivers, node_mask=masks.nodes
        )
        return network[1]({}, h, graph.n_node, node_mask=masks.nodes)

    for graphs in (THREE, THREE[:1], THREE[1:]):
        y = f(nn.data.pad_graphs(nn.data.batch_graphs(graphs), nodes=12, edges=16, graphs=5))
        for row, g in zip(y, graphs, strict=False):
            ends = jnp.asarray(g.senders), jnp.asarray(g.receivers)
            close(row, network[0](params, jnp.asarray(g.nodes["atom"]), *ends).sum(0), rtol=1e-4)
        assert not y[len(graphs) :].any()
    chex.clear_trace_counter()


def test_jraph():
    jraph = pytest.importorskip("jraph")
    ours = nn.data.batch_graphs(THREE)
    tuples = [jraph.GraphsTuple(**g._asdict()) for g in THREE]
    assert nn.data.Graph._fields == jraph.GraphsTuple._fields
    theirs = jraph.batch_np(tuples)
    batch = nn.data.batch_graphs(tuples)
    assert type(batch) is jraph.GraphsTuple
    same(batch, ours)
    chex.assert_trees_all_close(batch, theirs)
    padded = nn.data.pad_graphs(batch, nodes=12, edges=16, graphs=6)
    with jax.numpy_dtype_promotion("standard"):
        chex.assert_trees_all_close(padded, jraph.pad_with_graphs(theirs, 12, 16, 6))
        masks = nn.data.graph_masks(padded)
        assert (masks.nodes == jraph.get_node_padding_mask(padded)).all()
        assert (masks.edges == jraph.get_edge_padding_mask(padded)).all()
        assert (masks.graphs == jraph.get_graph_padding_mask(padded)).all()
        layer = nn.gcn(3, 2, bias=False)
        params, _ = layer.init(jax.random.key(0))
        both = jnp.concatenate([padded.senders, padded.receivers])
        other = jnp.concatenate([padded.receivers, padded.senders])
        graph = padded._replace(
            nodes=jnp.asarray(padded.nodes["atom"]), senders=both, receivers=other
        )
        conv = jraph.GraphConvolution(
            lambda n: n @ params["kernel"], add_self_edges=True, symmetric_normalization=True
        )
        want = conv(graph._replace(edges=None)).nodes
    close(layer(params, graph.nodes, both, other), want)


def test_messages():
    x = np.ones((3, 2))
    with pytest.raises(
        ValueError, match=r"graph: got receivers from 0 to 3, expected numbers of i"
    ):
        nn.data.graph(x, [0, 1], [0, 3])
    with pytest.raises(
        ValueError, match=r"graph: got receivers of shape \(3,\) and dtype int64, ex"
    ):
        nn.data.graph(x, [0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="graph: got senders of shape .* dtype float64, expected"):
        nn.data.graph(x, [0.5], [1])
    with pytest.raises(ValueError, match="graph: got edges of unequal lengths, expected 2 rows"):
        nn.data.graph(x, [0, 1], [1, 2], np.ones((3, 1)))
    with pytest.raises(
        ValueError, match="pad_graphs: got graphs=3, expected at least 4 for 3 graph"
    ):
        nn.data.pad_graphs(nn.data.batch_graphs(THREE), 20, 20, 3)
    with pytest.raises(ValueError, match="batch_graphs: got graphs of different features"):
        nn.data.batch_graphs([THREE[0], example(2, 2, 0, features=False)])
    with pytest.raises(ValueError, match="batch_graphs: got no graphs"):
        nn.data.batch_graphs([])
