"""Graph layers: parity with dense adjacency matrices; permutations, padding, empty graphs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import check_gradients, close, f64, moved, numbers

N, D, F = 7, 4, 3
rng = np.random.default_rng(0)
ADJACENT = rng.random((N, N)) < 0.4  # [receiver, sender]
ADJACENT[3] = ADJACENT[:, 3] = False  # isolated
ADJACENT[5, 5] = True  # a loop
ENDS = rng.permutation(np.argwhere(ADJACENT))  # in no order
RECEIVERS, SENDERS = jnp.asarray(ENDS.T, jnp.int32)
E = len(ENDS)
NODES = numbers(N, D, seed=2)
WEIGHTS = jnp.asarray(rng.random(E) + 0.2, jnp.float32)
FEATURES = numbers(E, F, seed=3)


def np_mlp(p, x):
    p = {k: v for k, v in p.items()}
    h = np.tanh(x @ p["linear_0"]["kernel"] + p["linear_0"]["bias"])
    return h @ p["linear_1"]["kernel"] + p["linear_1"]["bias"]


def np_linear(p, x):
    return x @ p["kernel"] + p.get("bias", 0)


def dense(e):
    """The edges' numbers as a matrix [receiver, sender, ...]."""
    matrix = np.zeros((N, N, *e.shape[1:]))
    matrix[np.asarray(RECEIVERS), np.asarray(SENDERS)] = e
    return matrix


def np_gcn(p, x, e, loops=True):
    a = (ADJACENT * 1.0 if e is None else dense(e)) + (np.eye(N) if loops else 0)
    degree = a.sum(1)
    root = np.diag([d**-0.5 if d > 0 else 0 for d in degree])
    return root @ a @ root @ x @ p["kernel"] + p.get("bias", 0)


def np_attend(logits, h, loops, merge):
    """Logits [N, N, heads], h [N, heads, F]."""
    seen = (ADJACENT | np.eye(N, dtype=bool) if loops else ADJACENT)[..., None]
    logits = np.where(logits > 0, logits, 0.2 * logits) if merge == "concat" else logits
    part = np.where(seen, np.exp(logits - logits.max()), 0)
    total = part.sum(1, keepdims=True)
    y = np.einsum("ijh,jhf->ihf", part / np.where(total > 0, total, 1), h)
    return y.reshape(N, -1) if merge == "concat" else y.mean(1)


def np_edges(p, e):
    """edges @ edge_kernel as [N, N, heads, 3]; a self loop has the mean of its node's others."""
    matrix = dense((f64(e) @ p["edge_kernel"]).reshape(E, 2, 3))
    for i in range(N):
        others = np.setdiff1d(neighbours(i), i)
        matrix[i, i] = matrix[i, others].mean(0) if len(others) else 0
    return matrix


def np_gat(p, x, e, loops=True):
    h = (x @ p["kernel"]).reshape(N, 2, 3)
    at = {end: (h * p[end]).sum(-1) for end in ("receiver", "sender")}
    of_edge = (np_edges(p, e) * p["edge"]).sum(-1) if "edge" in p else 0
    logits = at["receiver"][:, None] + at["sender"] + of_edge
    return np_attend(logits, h, loops, "concat") + p["bias"]


def np_gatv2(p, x, e):
    h = (x @ p["sender_kernel"]).reshape(N, 2, 3)
    pairs = (x @ p["receiver_kernel"]).reshape(N, 2, 3)[:, None] + h
    pairs = pairs + np_edges(p, e) if "edge_kernel" in p else pairs
    logits = (np.where(pairs > 0, pairs, 0.2 * pairs) * p["attention"]).sum(-1)
    return np_attend(logits, h, True, "mean") + p["bias"]


def neighbours(i):
    return np.flatnonzero(ADJACENT[i])


REDUCE = {
    "sum": lambda rows: rows.sum(0),
    "mean": lambda rows: rows.mean(0),
    "max": lambda rows: rows.max(0),
    "min": lambda rows: rows.min(0),
    "std": lambda rows: np.sqrt(rows.var(0) + 1e-5),
}


def reduce(kind, rows):
    return REDUCE[kind](rows) if len(rows) else np.zeros(rows.shape[1:])


def np_sage(kind):
    def f(p, x, e):
        sent = np.maximum(np_linear(p["pool"], x), 0) if kind == "pool" else x
        name = "max" if kind == "pool" else kind
        around = np.stack([reduce(name, sent[neighbours(i)]) for i in range(N)])
        y = np_linear(p["own"], x) + np_linear(p["neighbours"], around)
        return y / np.linalg.norm(y, axis=1, keepdims=True) if kind == "mean" else y

    return f


def np_gin(p, x, e):
    return np_mlp(p["update"], (1 + p["centre"]["eps"]) * x + ADJACENT @ x)


def np_passing(p, x, e):
    e = dense(e)
    rows = [(x[i] - x[neighbours(i)]) * e[i, neighbours(i)].sum(-1)[:, None] for i in range(N)]
    return x + np.stack([reduce("max", r) for r in rows])


def np_mpnn(p, x, e):
    e, m = dense(e), np.zeros_like(x)
    for i in range(N):
        for j in neighbours(i):
            h = np.maximum(np_linear(p["matrix"]["linear_0"], e[i, j]), 0)
            m[i] += np_linear(p["matrix"]["linear_1"], h).reshape(D, D) @ x[j]
    kernels, recurrents = (
        np.split(p["update"]["kernel"], 3, 1),
        np.split(p["update"]["recurrent"], 3, 1),
    )
    bias = np.split(p["update"]["bias"], 3)
    sigmoid = lambda a: 1 / (1 + np.exp(-a))
    r, z = (sigmoid(m @ kernels[k] + x @ recurrents[k] + bias[k]) for k in (0, 1))
    return z * x + (1 - z) * np.tanh(m @ kernels[2] + (r * x) @ recurrents[2] + bias[2])


def np_pna(p, x, e):
    e, rows = dense(e), []
    for i in range(N):
        js = neighbours(i)
        pairs = np.concatenate([np.tile(x[i], (len(js), 1)), x[js], e[i, js]], 1)
        m = np_linear(p["message"], pairs)
        parts = np.concatenate([reduce(kind, m) for kind in ("mean", "max", "min", "std")])
        log = np.log(len(js) + 1)
        scales = (1, log / 1.3, 1.3 / log if log else 1)
        rows.append(np.concatenate([x[i], *(scale * parts for scale in scales)]))
    return np_linear(p["update"], np.stack(rows))


tanh_mlp = nn.mlp(D, 5, 3, activation=jnp.tanh)
passing = nn.message_passing(
    lambda x_i, x_j, e: (x_i - x_j) * e.sum(-1, keepdims=True), jnp.add, aggregate="max"
)

LAYERS = {  # name: (layer, edges, reference)
    "gcn": (nn.gcn(D, 3), None, np_gcn),
    "gcn weighted": (nn.gcn(D, 3, bias=False), WEIGHTS, np_gcn),
    "gcn bare": (nn.gcn(D, 3, self_loops=False), WEIGHTS, functools.partial(np_gcn, loops=False)),
    "gat": (nn.gat(D, 6, heads=2), None, np_gat),
    "gat bare": (
        nn.gat(D, 6, heads=2, self_loops=False),
        None,
        functools.partial(np_gat, loops=False),
    ),
    "gat of edges": (nn.gat(D, 6, heads=2, edge_features=F), FEATURES, np_gat),
    "gatv2": (nn.gatv2(D, 3, heads=2, merge="mean"), None, np_gatv2),
    "gatv2 of edges": (
        nn.gatv2(D, 3, heads=2, merge="mean", edge_features=F),
        FEATURES,
        np_gatv2,
    ),
    "sage mean": (nn.graph_sage(D, 3, normalize=True), None, np_sage("mean")),
    "sage sum": (nn.graph_sage(D, 3, aggregate="sum"), None, np_sage("sum")),
    "sage pool": (nn.graph_sage(D, 3, aggregate="pool"), None, np_sage("pool")),
    "gin": (nn.gin(tanh_mlp, eps=0.5), None, np_gin),
    "message_passing": (passing, FEATURES, np_passing),
    "mpnn": (nn.mpnn(D, F, hidden=(5,)), FEATURES, np_mpnn),
    "pna": (nn.pna(D, 3, mean_log_degree=1.3, edge_features=F), FEATURES, np_pna),
}
ORDER, SHUFFLE = rng.permutation(N), rng.permutation(E)
PADDED = jnp.concatenate([NODES, jnp.full((3, D), jnp.nan)])
SPOT = np.sort(rng.permutation(E + 4)[:E])  # padding edges stand between the others


def params_of(name):
    return moved(LAYERS[name][0].init(jax.random.key(0))[0])


@functools.cache
def results(name):
    """All that is asked of a layer, in one program: outputs by question."""
    layer, edges, _ = LAYERS[name]
    given = lambda edges, **masks: masks if edges is None else {"edges": edges, **masks}

    def spread(a, fill):  # with four more edges
        return None if a is None else jnp.full((E + 4, *a.shape[1:]), fill, a.dtype).at[SPOT].set(a)

    def ask(params, nodes):
        plain = lambda *ends: layer(params, *ends, **given(edges))
        back = jnp.zeros(N, jnp.int32).at[ORDER].set(jnp.arange(N, dtype=jnp.int32))
        weights = jnp.cos(jnp.arange(N * 10.0)).reshape(N, 10)
        objective = lambda y: (y[:N] * weights[:, : y.shape[1]]).sum()

        def padded(params, nodes, all_nodes=PADDED):
            all_nodes = all_nodes.at[:N].set(nodes)
            ends = spread(SENDERS, 2), spread(RECEIVERS, 1)  # at real nodes: the mask alone counts
            masks = {
                "node_mask": jnp.arange(N + 3) < N,
                "edge_mask": spread(jnp.ones(E, bool), False),
            }
            return layer(params, all_nodes, *ends, **given(spread(edges, jnp.nan), **masks))

        def padded_by_nodes(params, nodes):
            ends = spread(SENDERS, N), spread(RECEIVERS, 1)  # at a padding node
            masks = {"node_mask": jnp.arange(N + 3) < N}
            all_nodes = PADDED.at[:N].set(nodes)
            return layer(params, all_nodes, *ends, **given(spread(edges, jnp.nan), **masks))

        none = jnp.zeros(0, jnp.int32)
        no_edges = None if edges is None else edges[:0]
        pair = jnp.stack([nodes, -nodes])
        twice = None if edges is None else jnp.stack([edges, edges])
        gradient = lambda f: jax.grad(lambda p, x: objective(f(p, x)), (0, 1))(params, nodes)
        return {
            "plain": plain(nodes, SENDERS, RECEIVERS),
            "permuted": plain(nodes[ORDER], back[SENDERS], back[RECEIVERS])[back],
            "shuffled": layer(
                params,
                nodes,
                SENDERS[SHUFFLE],
                RECEIVERS[SHUFFLE],
                **given(None if edges is None else edges[SHUFFLE]),
            ),
            "padded": padded(params, nodes),
            "padded by nodes": padded_by_nodes(params, nodes),
            "no edges": layer(params, nodes, none, none, **given(no_edges)),
            "all padding": layer(
                params, nodes, SENDERS, RECEIVERS, **given(edges, node_mask=jnp.zeros(N, bool))
            ),
            "no nodes": layer(params, nodes[:0], none, none, **given(no_edges)),
            "pair": layer(params, pair, SENDERS, RECEIVERS, **given(twice)),
            "minus": plain(-nodes, SENDERS, RECEIVERS),
            "gradient": gradient(lambda p, x: layer(p, x, SENDERS, RECEIVERS, **given(edges))),
            "padded gradient": gradient(padded),
        }

    return jax.jit(ask)(params_of(name), NODES)


each = pytest.mark.parametrize("name", LAYERS)


@each
def test_parity(name):
    _, edges, reference = LAYERS[name]
    close(results(name)["plain"], reference(f64(params_of(name)), f64(NODES), edges))


@each
def test_numbers_of_nodes_and_order_of_edges_mean_nothing(name):
    for question in ("permuted", "shuffled"):
        close(results(name)[question], results(name)["plain"], rtol=1e-4)


@each
def test_padding_changes_no_value_and_no_gradient(name):
    r = results(name)
    for question in ("padded", "padded by nodes"):
        close(r[question][:N], r["plain"])
        assert not r[question][N:].any()
    close(r["padded gradient"], r["gradient"], rtol=1e-4)
    assert not r["all padding"].any()


@each
def test_without_edges_every_node_is_isolated(name):
    r = results(name)
    close(r["no edges"][3], r["plain"][3])
    assert r["no nodes"].shape == (0, r["plain"].shape[1])


@each
def test_one_topology_serves_a_batch(name):
    r = results(name)
    close(r["pair"], np.stack([r["plain"], r["minus"]]), rtol=1e-4)


@pytest.mark.slow
def test_gradients():
    names = ["gcn weighted", "gat", "gatv2", "sage mean", "gin", "mpnn", "pna"]

    def f(params, nodes, weights, features):
        edges = {"gcn weighted": weights, "mpnn": features, "pna": features}
        total = jnp.zeros((), nodes.dtype)
        for name in names:
            named = {"edges": edges[name]} if name in edges else {}
            y = LAYERS[name][0](params[name], nodes, SENDERS, RECEIVERS, **named)
            total += jnp.sin(y).sum()
        return total

    params = {name: params_of(name) for name in names}
    check_gradients(f, params, NODES, WEIGHTS, FEATURES, order=1)


def test_attention_of_huge_logits_picks_one():
    layer = nn.gat(1, 1)
    params = {"kernel": [[1e4]], "sender": [[1.0]], "receiver": [[0.0]], "bias": [0.0]}
    params = jax.tree.map(jnp.float32, params, is_leaf=lambda a: isinstance(a, list))
    nodes = jnp.array([[1.0], [3.0], [2.0]])
    y = layer(params, nodes, jnp.array([1, 2]), jnp.array([0, 0]))
    close(y[0, 0], np.array(3e4))


def test_dropout_acts_on_the_weights_of_attention():
    layer = nn.gat(D, D, dropout_rate=0.5)
    params = {"kernel": jnp.eye(D), "bias": jnp.zeros(D)}
    params |= {end: jnp.zeros((1, D)) for end in ("sender", "receiver")}
    none = jnp.zeros(0, jnp.int32)
    y = layer(params, NODES, none, none, key=jax.random.key(0), train=True)  # one weight a node: 1
    kept = jnp.abs(y).sum(-1) > 0
    assert 0 < kept.sum() < N
    close(y, 2 * f64(NODES) * np.asarray(kept)[:, None])


def test_the_way_to_lower_precision():
    ones = jnp.ones((2001, 1), jnp.bfloat16)
    params = {"kernel": jnp.ones((1, 1), jnp.bfloat16)}
    star = jnp.arange(1, 2001, dtype=jnp.int32), jnp.zeros(2000, jnp.int32)
    y = nn.gcn(1, 1, bias=False)(params, ones, *star)
    assert y.dtype == jnp.bfloat16  # a sum in bfloat16 sticks at 256
    close(y[0, 0], np.array(1 / 2001 + 2000 / 2001**0.5), rtol=2.0**-8)


def test_narrow_ids_are_widened():
    nodes, ends = numbers(200, 2), np.array([[199, 3], [0, 199]])
    layer = nn.graph_sage(2, 2)
    params, _ = layer.init(jax.random.key(0))
    want = layer(params, nodes, *jnp.asarray(ends, jnp.int32))
    close(layer(params, nodes, *jnp.asarray(ends, jnp.uint8)), want)


def test_messages():
    ids = jnp.zeros(9, jnp.int32)
    layer = nn.gcn(D, 3)
    params, _ = layer.init(jax.random.key(0))
    x = jnp.ones((2, 5, D))
    with pytest.raises(ValueError, match=r"got senders of shape \(3, 9\), expected \[2, \*\]. Giv"):
        layer(params, x, jnp.zeros((3, 9), int), ids)
    with pytest.raises(
        TypeError, match="got edge_mask of dtype int32, expected bool.*True = takes"
    ):
        layer(params, x, ids, ids, edge_mask=ids)
    with pytest.raises(ValueError, match="got aggregate='middle', expected one of sum, mean, max"):
        nn.graph_sage(4, 3, aggregate="middle")
    with pytest.raises(ValueError, match="got merge='sum', expected one of concat, mean"):
        nn.gat(4, 3, merge="sum")
    with pytest.raises(ValueError, match=r"pna\(4, 3\): got no scalers, expected some of"):
        nn.pna(4, 3, mean_log_degree=1.0, scalers=())
    with pytest.raises(ValueError, match="update: .*got params"):
        nn.gin(nn.linear(4, 2))({"centre": {"eps": jnp.zeros(())}}, x, ids, ids)
