"""Laws over random configurations: blocks of attention, padding of graphs, means of dropout."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, strategies as st

import nnjax as nn
from nnjax.ops.attention import dot_product_attention
from tests.properties.family import booleans, flags, integers, numbers

pytestmark = pytest.mark.filterwarnings("ignore:Do not use the .random. module")


@pytest.mark.slow
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([(1, 1), (2, 1), (4, 2)]),
    st.fixed_dictionaries(
        {
            "causal": flags,
            "window": st.none() | st.integers(1, 9),
            "softcap": st.none() | st.just(2.0),
        }
    ),
    flags,
    flags,
)
@hypothesis.settings(max_examples=8)
def test_attention_in_blocks_is_attention(lengths, heads, settings, masked, biased):
    (t, s), (n, k) = lengths, heads
    q, key, value = (
        jnp.asarray(numbers(2, length, count, 4, seed=seed))
        for seed, (length, count) in enumerate(((t, n), (s, k), (s, k)))
    )
    mask = jnp.asarray(booleans(2, 1, t, s)) if masked else None
    bias = jnp.asarray(numbers(1, n, t, s)) if biased else None
    call = jax.jit(dot_product_attention, static_argnames=["implementation", "block", *settings])
    settings |= {"bias": bias, "block": 4}
    plain, blocks = (
        call(q, key, value, mask, implementation=kind, **settings) for kind in ("xla", "chunked")
    )
    np.testing.assert_allclose(plain, blocks, rtol=1e-5, atol=1e-6)


N, E, D = 5, 8, 3  # one shape, so that each layer compiles once
GRAPH_LAYERS = {
    "gcn": nn.gcn(D, 2),
    "graph_sage": nn.graph_sage(D, 2),
    "graph_sage max": nn.graph_sage(D, 2, aggregate="max", normalize=True),
    "gin": nn.gin(nn.linear(D, 2)),
    "gat": nn.gat(D, 4, heads=2),
    "gatv2": nn.gatv2(D, 4, heads=2, merge="mean"),
    "pna": nn.pna(D, 2, mean_log_degree=1.0),
}
ends = st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)), min_size=E, max_size=E)


def params_of(layer):
    params, _ = layer.init(jax.random.key(0))
    return jax.tree.map(lambda a: a + 0.1, params)


RUN = {name: jax.jit(layer.__call__) for name, layer in GRAPH_LAYERS.items()}


@pytest.mark.parametrize("name", list(GRAPH_LAYERS))
@given(ends, st.lists(flags, min_size=E, max_size=E), st.permutations(range(N)), st.integers(1, N))
@hypothesis.settings(max_examples=15)
def test_padding_and_order_mean_nothing_to_a_graph(name, ends, real, order, count):
    """Nodes in another order, and other numbers wherever a mask is False: the same outputs."""
    params = params_of(GRAPH_LAYERS[name])
    nodes, (senders, receivers) = numbers(N, D), np.array(ends, np.int32).T
    node_mask, edge_mask = np.arange(N) < count, np.array(real)
    y = RUN[name](params, nodes, senders, receivers, node_mask=node_mask, edge_mask=edge_mask)
    assert not np.asarray(y)[~node_mask].any()

    order = np.array(order)
    place = np.argsort(order).astype(np.int32)  # where each node went
    other = np.where(node_mask[:, None], nodes, 100)[order]
    elsewhere = lambda ids: place[np.where(edge_mask, ids, integers(0, N, E))]
    moved = RUN[name](
        params,
        other,
        elsewhere(senders),
        elsewhere(receivers),
        node_mask=node_mask[order],
        edge_mask=edge_mask,
    )
    np.testing.assert_allclose(moved, np.asarray(y)[order], rtol=1e-5, atol=1e-5)


def dense(kind, p, x, adjacency):
    """The matrix formulas of the papers, in float64; adjacency[i, j] edges lead from j to i."""
    linear = lambda q, x: x @ q["kernel"] + q.get("bias", 0)
    if kind == "gin":
        return linear(p["update"], (1 + p["centre"]["eps"]) * x + adjacency @ x)
    if kind == "graph_sage":
        degree = np.maximum(adjacency.sum(1, keepdims=True), 1)
        return linear(p["own"], x) + linear(p["neighbours"], adjacency @ x / degree)
    a = adjacency + np.eye(N)
    scale = a.sum(1) ** -0.5
    return linear(p, scale[:, None] * a * scale @ x)


@pytest.mark.parametrize("name", ["gcn", "graph_sage", "gin"])
@given(ends, st.lists(flags, min_size=E, max_size=E))
@hypothesis.settings(max_examples=15)
def test_graph_layers_are_their_matrix_formulas(name, ends, real):
    params = params_of(GRAPH_LAYERS[name])
    nodes, (senders, receivers), real = numbers(N, D), np.array(ends, np.int32).T, np.array(real)
    masks = {"node_mask": np.ones(N, bool), "edge_mask": real}
    y = RUN[name](params, nodes, senders, receivers, **masks)
    adjacency = np.zeros((N, N))
    np.add.at(adjacency, (receivers[real], senders[real]), 1)
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    want = dense(name, wide, nodes.astype(np.float64), adjacency)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)


NOISE = {
    "dropout": nn.dropout,
    "gaussian_dropout": nn.gaussian_dropout,
    "stochastic_depth": nn.stochastic_depth,
}


@pytest.mark.parametrize("name", list(NOISE))
@given(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8]), st.integers(0, 100))
@hypothesis.settings(max_examples=8)
def test_noise_keeps_the_mean(name, rate, seed):
    rows = 4096
    layer, x = NOISE[name](rate), jnp.ones((rows, 1))
    y = np.asarray(layer({}, x, key=jax.random.key(seed), train=True))
    deviation = (rate / (1 - rate)) ** 0.5
    assert abs(y.mean() - 1) <= 5 * deviation / rows**0.5
    assert abs(y.std() - deviation) <= 0.1 * deviation
    if name != "gaussian_dropout":
        assert set(np.unique(y)) <= {0.0, np.float32(1 / (1 - rate))}
    np.testing.assert_array_equal(layer({}, x), x)
