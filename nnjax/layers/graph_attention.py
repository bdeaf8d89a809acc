"""Attention over the neighbours in a graph: gat and gatv2."""

import math
from collections.abc import Callable

import jax

from nnjax.core import Layer, check_choice, check_entries, check_positive, check_rate
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, draw, glorot_uniform, zeros
from nnjax.layers.dropout import dropout
from nnjax.layers.graph_inputs import GraphInputs, check_edges, check_graph
from nnjax.ops.precision import widen


def gat(
    in_features: int,
    out_features: int,
    *,
    heads: int = 1,
    merge: str = "concat",
    self_loops: bool = True,
    edge_features: int = 0,
    slope: float = 0.2,
    dropout_rate: float = 0.0,
    bias: bool = True,
    kernel_init: Initializer = glorot_uniform(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Graph attention over the neighbours j of each node i, in each head::

        h = nodes @ kernel
        weight_ij = softmax over j of leaky_relu(receiver . h_i + sender . h_j)
        y_i = sum over j of weight_ij h_j, + bias

    ``merge`` joins the heads by "concat" (each makes out / heads features) or "mean" (each makes
    out). ``self_loops`` puts each node among its own neighbours, once. Dropout is on the weights.
    With ``edge_features``, ``edge . (edges @ edge_kernel)_ij`` is added in the leaky_relu; a self
    loop has the mean of the edges that arrive at its node.

    Shapes: nodes [..., N, in], senders and receivers [..., E] -> y [..., N, out]; kernel
        [in, heads * F], sender and receiver [heads, F], bias [out], with F features a head; edges
        [..., E, edge_features], edge_kernel [edge_features, heads * F], edge [heads, F].
    Dtypes: params are made in float32; softmax and sums in float32 or wider; y has the dtype that
        nodes and params promote to.
    Raises: ValueError, if heads does not divide out_features, or shapes do not fit; TypeError, for
        nodes that are not floating or senders that are not integers.
    Source: Velickovic et al. 2018, https://arxiv.org/abs/1710.10903, equations 3 to 6; out_features
        is the size of y, not of one head.
    """
    name = f"gat({in_features}, {out_features})"
    size = _head_size(name, in_features, out_features, heads, merge)
    if edge_features != 0:
        check_positive(name, edge_features=edge_features)
    shapes = {"kernel": (in_features, heads * size), "sender": (heads, size)}
    shapes |= {"receiver": shapes["sender"]}
    if edge_features:
        shapes |= {"edge_kernel": (edge_features, heads * size), "edge": (heads, size)}

    def split(h):
        return h.reshape(*h.shape[:-1], heads, size)

    def scores(g, p):
        h = split(g.nodes @ p["kernel"])
        score = lambda h, vector: (widen(h) * widen(p[vector])).sum(-1)
        logits = g.at_receivers(score(h, "receiver")) + g.at_senders(score(h, "sender"))
        if edge_features:
            logits = logits + score(split(g.edges @ p["edge_kernel"]), "edge")
        return jax.nn.leaky_relu(logits, slope), h

    shapes |= {"bias": (out_features,)} if bias else {}
    makers = dict.fromkeys(shapes, kernel_init) | {"bias": bias_init}
    options = (merge, self_loops, dropout_rate, edge_features)
    return _attend(name, in_features, shapes, makers, scores, *options)


def gatv2(
    in_features: int,
    out_features: int,
    *,
    heads: int = 1,
    merge: str = "concat",
    self_loops: bool = True,
    edge_features: int = 0,
    slope: float = 0.2,
    dropout_rate: float = 0.0,
    bias: bool = True,
    kernel_init: Initializer = glorot_uniform(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Graph attention whose ranking of the neighbours depends on the node, in each head::

        h = nodes @ sender_kernel, q = nodes @ receiver_kernel
        weight_ij = softmax over j of attention . leaky_relu(q_i + h_j)
        y_i = sum over j of weight_ij h_j, + bias

    In ``gat`` the nonlinearity comes last, so that all nodes rank their neighbours alike. Options
    are those of ``gat``; with ``edge_features``, leaky_relu also gets ``edges @ edge_kernel``.

    Shapes: nodes [..., N, in], senders and receivers [..., E] -> y [..., N, out]; sender_kernel and
        receiver_kernel [in, heads * F], attention [heads, F], bias [out], with F features a head;
        edges [..., E, edge_features], edge_kernel [edge_features, heads * F].
    Dtypes: as in gat.
    Raises: as gat.
    Source: Brody, Alon, Yahav 2022, https://arxiv.org/abs/2105.14491, equation 7.
    """
    name = f"gatv2({in_features}, {out_features})"
    size = _head_size(name, in_features, out_features, heads, merge)
    if edge_features != 0:
        check_positive(name, edge_features=edge_features)
    shapes = {"sender_kernel": (in_features, heads * size), "attention": (heads, size)}
    shapes |= {"receiver_kernel": shapes["sender_kernel"]}
    if edge_features:
        shapes |= {"edge_kernel": (edge_features, heads * size)}

    def split(h):
        return h.reshape(*h.shape[:-1], heads, size)

    def scores(g, p):
        h, q = (split(g.nodes @ p[f"{end}_kernel"]) for end in ("sender", "receiver"))
        pairs = g.at_receivers(q) + g.at_senders(h)
        if edge_features:
            pairs = pairs + split(g.edges @ p["edge_kernel"])
        pairs = jax.nn.leaky_relu(pairs, slope)
        return (widen(pairs) * widen(p["attention"])).sum(-1), h

    shapes |= {"bias": (out_features,)} if bias else {}
    makers = dict.fromkeys(shapes, kernel_init) | {"bias": bias_init}
    options = (merge, self_loops, dropout_rate, edge_features)
    return _attend(name, in_features, shapes, makers, scores, *options)


def _head_size(name: str, in_features: int, out_features: int, heads: int, merge: str) -> int:
    check_positive(name, in_features=in_features, out_features=out_features, heads=heads)
    check_choice(name, "merge", merge, ("concat", "mean"))
    if merge == "mean":
        return out_features
    if out_features % heads:
        raise LayerValueError(
            f"{name}: got heads={heads}, expected a divisor of out_features={out_features}, which "
            'the heads make side by side. With merge="mean" each makes all of them.'
        )
    return out_features // heads


def _attend(
    name: str,
    in_features: int,
    shapes: dict[str, tuple[int, ...]],
    makers: dict[str, Initializer],
    scores: Callable[[GraphInputs, dict[str, jax.Array]], tuple[jax.Array, jax.Array]],
    merge: str,
    self_loops: bool,
    dropout_rate: float,
    edge_features: int,
) -> Layer:
    """``scores(g, params)`` gives logits [..., E, heads] and values [..., N, heads, F]."""
    check_rate(name, dropout_rate)
    drop = dropout(dropout_rate)

    def init(key):
        return draw(key, shapes, **makers), {}

    def apply(
        params,
        state,
        nodes,
        senders,
        receivers,
        *,
        edges=None,
        node_mask=None,
        edge_mask=None,
        key=None,
        train=False,
    ):
        check_edges(name, edges, edge_features)
        masks, shape = (node_mask, edge_mask), (edge_features,)
        g = check_graph(name, nodes, senders, receivers, *masks, in_features, edges, shape)
        g = g.with_self_loops() if self_loops else g
        p = dict(zip(shapes, check_entries(name, "params", params, **shapes), strict=True))
        logits, h = scores(g, p)
        weights = drop({}, g.attention(logits), key=key, train=train)
        y = g.aggregate("sum", weights[..., None] * g.at_senders(widen(h)))
        y = y.mean(-2) if merge == "mean" else y.reshape(*y.shape[:-2], math.prod(y.shape[-2:]))
        y = y.astype(h.dtype)
        return g.only_real(y + p["bias"] if "bias" in p else y), state

    return Layer(init, apply, name, random=drop.random)
