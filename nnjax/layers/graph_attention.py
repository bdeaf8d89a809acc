"""Attention over the neighbours in a graph: gat and gatv2."""

import math

import jax

from nnjax.core import Layer, check_choice, check_entries, check_positive, check_rate
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, draw, glorot_uniform, zeros
from nnjax.layers.dropout import dropout
from nnjax.layers.graph_inputs import GraphInputs, check_graph
from nnjax.ops.precision import widen


def gat(
    in_features: int,
    out_features: int,
    *,
    heads: int = 1,
    merge: str = "concat",
    self_loops: bool = True,
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

    Shapes: nodes [..., N, in], senders and receivers [..., E] -> y [..., N, out]; kernel
        [in, heads * F], sender and receiver [heads, F], bias [out], with F features a head.
    Dtypes: params are made in float32; softmax and sums in float32 or wider; y has the dtype that
        nodes and params promote to.
    Raises: ValueError, if heads does not divide out_features, or shapes do not fit; TypeError, for
        nodes that are not floating or senders that are not integers.
    Source: Velickovic et al. 2018, https://arxiv.org/abs/1710.10903, equations 3 to 6; out_features
        is the size of y, not of one head.
    """
    name = f"gat({in_features}, {out_features})"
    size = _head_size(name, in_features, out_features, heads, merge)
    check_rate(name, dropout_rate)
    shapes = {"kernel": (in_features, heads * size), "sender": (heads, size)}
    shapes |= {"receiver": (heads, size)} | ({"bias": (out_features,)} if bias else {})
    drop = dropout(dropout_rate)

    def init(key):
        vectors = {"sender": kernel_init, "receiver": kernel_init}
        return draw(key, shapes, kernel=kernel_init, bias=bias_init, **vectors), {}

    def apply(
        params,
        state,
        nodes,
        senders,
        receivers,
        *,
        node_mask=None,
        edge_mask=None,
        key=None,
        train=False,
    ):
        g = check_graph(name, nodes, senders, receivers, node_mask, edge_mask, in_features)
        g = g.with_self_loops() if self_loops else g
        kernel, sender, receiver, *shift = check_entries(name, "params", params, **shapes)
        h = (g.nodes @ kernel).reshape(*g.nodes.shape[:-1], heads, size)
        score = lambda vector: (widen(h) * widen(vector)).sum(-1)  # [..., N, heads]
        logits = g.at_receivers(score(receiver)) + g.at_senders(score(sender))
        weights = g.attention(jax.nn.leaky_relu(logits, slope))
        weights = drop({}, weights, key=key, train=train)
        y = _mix(g, weights, h, merge)
        return g.only_real(y + shift[0] if bias else y), state

    return Layer(init, apply, name, random=drop.random)


def gatv2(
    in_features: int,
    out_features: int,
    *,
    heads: int = 1,
    merge: str = "concat",
    self_loops: bool = True,
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
    are those of ``gat``.

    Shapes: nodes [..., N, in], senders and receivers [..., E] -> y [..., N, out]; sender_kernel and
        receiver_kernel [in, heads * F], attention [heads, F], bias [out], with F features a head.
    Dtypes: as in gat.
    Raises: as gat.
    Source: Brody, Alon, Yahav 2022, https://arxiv.org/abs/2105.14491, equation 7.
    """
    name = f"gatv2({in_features}, {out_features})"
    size = _head_size(name, in_features, out_features, heads, merge)
    check_rate(name, dropout_rate)
    shapes = {"sender_kernel": (in_features, heads * size), "attention": (heads, size)}
    shapes |= {"receiver_kernel": shapes["sender_kernel"]}
    shapes |= {"bias": (out_features,)} if bias else {}
    drop = dropout(dropout_rate)

    def init(key):
        makers = dict.fromkeys(shapes, kernel_init) | {"bias": bias_init}
        return draw(key, shapes, **makers), {}

    def apply(
        params,
        state,
        nodes,
        senders,
        receivers,
        *,
        node_mask=None,
        edge_mask=None,
        key=None,
        train=False,
    ):
        g = check_graph(name, nodes, senders, receivers, node_mask, edge_mask, in_features)
        g = g.with_self_loops() if self_loops else g
        entries = check_entries(name, "params", params, **shapes)
        sender_kernel, attention, receiver_kernel, *shift = entries
        project = lambda kernel: (g.nodes @ kernel).reshape(*g.nodes.shape[:-1], heads, size)
        h, q = project(sender_kernel), project(receiver_kernel)
        pairs = jax.nn.leaky_relu(g.at_receivers(q) + g.at_senders(h), slope)
        weights = g.attention((widen(pairs) * widen(attention)).sum(-1))
        weights = drop({}, weights, key=key, train=train)
        y = _mix(g, weights, h, merge)
        return g.only_real(y + shift[0] if bias else y), state

    return Layer(init, apply, name, random=drop.random)


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


def _mix(g: GraphInputs, weights: jax.Array, h: jax.Array, merge: str) -> jax.Array:
    """Weights [..., E, heads] and h [..., N, heads, F] -> [..., N, out]."""
    y = g.aggregate("sum", weights[..., None] * g.at_senders(widen(h)))
    y = y.mean(-2) if merge == "mean" else y.reshape(*y.shape[:-2], math.prod(y.shape[-2:]))
    return y.astype(h.dtype)
