"""Pooling, norm and sets: parity graph by graph, padding, order, empty graphs, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.layers.test_graph import np_linear, np_mlp, reduce
from tests.numerics import check_gradients, close, f64, moved, numbers

SIZES = [3, 0, 4, 1]  # then two nodes of no graph
N, D = 10, 4
MASK = np.array([1, 1, 0, 1, 1, 1, 1, 0, 1, 1], bool)  # the last graph is all padding
KINDS = ("sum", "mean", "max", "min", "std")
NODES = numbers(N, D, seed=5)
GARBAGE = jnp.where(jnp.asarray(MASK)[:, None], NODES, jnp.nan)


def graphs(x, mask=MASK):
    """The rows that each graph keeps."""
    ends = np.cumsum([0, *SIZES])
    return [
        np.flatnonzero(mask & (np.arange(N) >= a) & (np.arange(N) < b))
        for a, b in zip(ends, ends[1:], strict=False)
    ]


def all_calls(layer, params, nodes, garbage):
    sizes, mask = jnp.array(SIZES), jnp.asarray(MASK)
    run = lambda params, nodes, garbage: (
        layer(params, nodes),
        layer(params, garbage, sizes, node_mask=mask),
        layer(params, jnp.stack([nodes, 2 * nodes]), jnp.stack([sizes, sizes])),
    )
    return jax.jit(run)(params, nodes, garbage)


@pytest.mark.parametrize("kind", KINDS)
def test_graph_pool(kind):
    whole, by_graph, batch = all_calls(nn.graph_pool(kind), {}, NODES, GARBAGE)
    x = f64(NODES)
    close(whole, reduce(kind, x))
    close(by_graph, np.stack([reduce(kind, x[rows]) for rows in graphs(x)]))
    every = graphs(x, np.ones(N, bool))
    close(batch, np.stack([[reduce(kind, a * x[rows]) for rows in every] for a in (1, 2)]))


@pytest.mark.parametrize("size", [1, 3])
def test_graph_attention_pool(size):
    layer = nn.graph_attention_pool(nn.linear(D, size), nn.mlp(D, 5, 3, activation=jnp.tanh))
    params = moved(layer.init(jax.random.key(0))[0])
    p = f64(params)

    def reference(x):
        logits = np_linear(p["gate"], x)
        part = np.exp(logits - logits.max(0, initial=-np.inf)) if len(x) else logits
        return (part / part.sum(0) * np_mlp(p["value"], x)).sum(0)

    whole, by_graph, _ = all_calls(layer, params, 50 * NODES, 50 * GARBAGE)
    x = 50 * f64(NODES)
    close(whole, reference(x), rtol=1e-4)
    close(by_graph, np.stack([reference(x[rows]) for rows in graphs(x)]), rtol=1e-4)


@pytest.mark.parametrize("mean", [0.0, 1e3])
def test_graph_norm(mean):
    layer = nn.graph_norm(D)
    params = moved(layer.init(jax.random.key(0))[0])
    params["shift"] = jnp.ones(D) if mean else params["shift"]
    p = f64(params)

    def reference(x, rows):
        h = x[rows] - p["shift"] * x[rows].mean(0)
        return h / np.sqrt((h**2).mean(0) + 1e-5) * p["scale"] + p["bias"]

    whole, by_graph, _ = all_calls(layer, params, NODES + mean, GARBAGE + mean)
    x = f64(NODES + mean)
    atol = 1e-6 * (1 + mean)
    close(whole, reference(x, np.arange(N)), atol=atol)
    want = np.zeros((N, D))
    for rows in graphs(x):
        if len(rows) > 1:
            want[rows] = reference(x, rows)
    alone = [rows[0] for rows in graphs(x) if len(rows) == 1]
    kept = np.isin(np.arange(N), alone, invert=True)
    close(by_graph[kept], want[kept], atol=atol)
    assert not by_graph[np.array([2, 7, 8, 9])].any()  # padding, and nodes of no graph


@pytest.mark.parametrize("kind", ["sum", "max"])
def test_deep_sets(kind):
    layer = nn.deep_sets(nn.mlp(D, 5, 3, activation=jnp.tanh), nn.linear(3, 2), aggregate=kind)
    params, mask = moved(layer.init(jax.random.key(0))[0]), jnp.asarray(MASK)

    @jax.jit
    def run(params):
        masked = layer(params, GARBAGE, mask=mask)
        return layer(params, NODES), layer(params, NODES[::-1]), masked, layer(params, NODES[:0])

    p, x = f64(params), f64(NODES)
    f = lambda x: np_linear(p["readout"], reduce(kind, np_mlp(p["element"], x)))
    whole, turned, masked, empty = run(params)
    close((whole, turned), (f(x), f(x)))
    close(masked, f(x[MASK]))
    close(empty, np_linear(p["readout"], np.zeros(3)))


def test_set_linear():
    layer = nn.set_linear(D, 3)
    params, order = (
        moved(layer.init(jax.random.key(0))[0]),
        np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7]),
    )
    run = jax.jit(lambda x, mask: layer(params, x, mask=mask))
    p, x = f64(params), f64(NODES)[MASK]
    y = run(GARBAGE, jnp.asarray(MASK))
    close(y[MASK], np_linear(p["own"], x) + np_linear(p["whole"], x.mean(0)))
    assert not y[~MASK].any()
    close(run(GARBAGE[order], jnp.asarray(MASK)[order]), y[order])


def kept_and_pooled(x, score, rows, ratio):
    """What stays of one graph, in float64 NumPy: the rows, and their values."""
    best = rows[np.argsort(-score[rows], kind="stable")][: int(np.ceil(ratio * len(rows)))]
    return best, x[best] * np.tanh(score[best])[:, None]


@pytest.mark.parametrize("ratio", [0.5, 0.2, 1.0])
def test_top_k_pool(ratio):
    layer = nn.top_k_pool(D, ratio)
    params, _ = layer.init(jax.random.key(1))
    kernel = f64(params)["kernel"]
    whole, by_graph, batch = all_calls(layer, params, NODES, GARBAGE)
    x, every = f64(NODES), graphs(NODES, np.ones(N, bool))
    score = lambda x: (x @ kernel)[:, 0] / np.linalg.norm(kernel)
    expected = [(whole, x, [np.arange(N)]), (by_graph, x, graphs(x))]
    expected += [([part[i] for part in batch], (i + 1) * x, every) for i in range(2)]
    for (y, mask), x, groups in expected:
        want, there = np.zeros((N, D)), np.zeros(N, bool)
        for rows in groups:
            best, values = kept_and_pooled(x, score(x), rows, ratio)
            want[best], there[best] = values, True
        close(y, want)
        np.testing.assert_array_equal(mask, there)


def test_sag_pool_hides_what_goes_from_the_next_layer():
    """A second convolution over what is left equals one over the graph cut down by hand."""
    layer, after = nn.sag_pool(nn.gcn(D, 1)), nn.gcn(D, 3)
    params, last = moved(layer.init(jax.random.key(1))[0]), after.init(jax.random.key(2))[0]
    sizes, mask = jnp.array(SIZES), jnp.asarray(MASK)
    senders, receivers = jnp.array([[0, 1, 3, 4, 4, 5, 6, 2], [1, 0, 4, 3, 5, 4, 3, 0]])
    y, kept = jax.jit(lambda p, x: layer(p, x, senders, receivers, sizes, node_mask=mask))(
        params, GARBAGE
    )
    real = np.arange(N) < sum(SIZES)
    scores = nn.gcn(D, 1)(params["score"], NODES, senders, receivers, node_mask=mask & real)
    there = []
    for rows in graphs(NODES):
        best, values = kept_and_pooled(f64(NODES), f64(scores)[:, 0], rows, 0.5)
        close(y[best], values)
        there += best.tolist()
    assert np.flatnonzero(kept).tolist() == sorted(there)
    left = np.flatnonzero(kept)
    place = {node: i for i, node in enumerate(left)}
    ends = np.stack([senders, receivers])
    ends = ends[:, np.isin(ends, left).all(0)]
    assert 0 < ends.shape[1] < len(senders)
    small = np.vectorize(place.get)(ends).astype(np.int32)
    z = after(last, y, senders, receivers, node_mask=kept)
    close(z[left], f64(after(last, y[left], *small)))


@pytest.mark.slow
def test_gradients():
    pool, norm = nn.graph_attention_pool(nn.linear(D, 1)), nn.graph_norm(D, eps=0.1)
    params = [moved(layer.init(jax.random.key(0))[0]) for layer in (pool, norm)]
    sizes, mask = jnp.array(SIZES), jnp.asarray(MASK)

    def f(params, nodes):
        h = norm(params[1], nodes, sizes, node_mask=mask)
        return jnp.sin(pool(params[0], h, sizes, node_mask=mask)).sum()

    check_gradients(f, params, NODES, order=1)


def test_messages():
    gate = nn.graph_attention_pool(nn.linear(D, 2), nn.linear(D, 3))
    with pytest.raises(ValueError, match=r"got gate output of shape \(10, 2\), expected \[10, 1\]"):
        gate(gate.init(jax.random.key(0))[0], NODES)
    with pytest.raises(ValueError, match=r"sag_pool.*: got score of shape"):
        nn.sag_pool(lambda x, senders, receivers: x)(
            {}, NODES, jnp.zeros(1, int), jnp.zeros(1, int)
        )
    with pytest.raises(ValueError, match=r"top_k_pool\(4, 0\): got ratio=0, expected a share"):
        nn.top_k_pool(4, 0)
    with pytest.raises(ValueError, match=r"deep_sets.*got mask of shape \(4,\), expected \[10\]"):
        nn.deep_sets(jnp.tanh)({}, NODES, mask=jnp.ones(4, bool))
