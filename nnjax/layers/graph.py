"""Graph convolutions: gcn, graph_sage, gin, and message passing in general.

They take ``nodes [..., N, D]`` and edges as two lists of node numbers, ``senders [..., E]`` and
``receivers [..., E]``: edge e carries from senders[e] to receivers[e], so an undirected graph lists
each edge in both directions. Plain arrays of static sizes: pad with ``node_mask`` and ``edge_mask``
(see ``nnjax.data.pad_graphs``), and no graph of the same padded sizes compiles anything new.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nnjax.core import Layer, as_layer, check_choice, check_entries, check_positive, compose
from nnjax.initializers import Initializer, constant, draw, glorot_uniform, zeros
from nnjax.layers.graph_inputs import check_graph
from nnjax.layers.linear import linear
from nnjax.ops.precision import widen
from nnjax.ops.product import tensordot
from nnjax.ops.segment import AGGREGATES


def gcn(
    in_features: int,
    out_features: int,
    *,
    self_loops: bool = True,
    bias: bool = True,
    kernel_init: Initializer = glorot_uniform(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Graph convolution, ``y = D^(-1/2) (A + I) D^(-1/2) nodes @ kernel + bias``.

    A[i, j] is the weight of the edge from j to i, 1 unless ``edges`` gives weights; D is the
    diagonal of the row sums of A + I. ``self_loops=False`` leaves out I; a node that nothing
    reaches then gets the bias alone.

    Shapes: nodes [..., N, in], senders and receivers [..., E] -> y [..., N, out]; edges [..., E];
        kernel [in, out], bias [out]; node_mask [..., N], edge_mask [..., E].
    Dtypes: params are made in float32; y has the dtype that nodes and params promote to; sums and
        degrees in float32 or wider. senders and receivers any integer, masks boolean.
    Raises: ValueError, for shapes that do not fit; TypeError, for nodes that are not floating or
        senders that are not integers.
    Source: Kipf and Welling 2017, https://arxiv.org/abs/1609.02907, equation 2.
    """
    name = f"gcn({in_features}, {out_features})"
    check_positive(name, in_features=in_features, out_features=out_features)
    shapes = {"kernel": (in_features, out_features)} | ({"bias": (out_features,)} if bias else {})

    def init(key):
        return draw(key, shapes, kernel=kernel_init, bias=bias_init), {}

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
        g = check_graph(name, nodes, senders, receivers, node_mask, edge_mask, in_features, edges)
        kernel, *shift = check_entries(name, "params", params, **shapes)
        h = tensordot(g.nodes, kernel)
        x = widen(h)
        weight = jnp.ones(g.senders.shape, x.dtype) if g.edges is None else g.edges.astype(x.dtype)
        degree = g.aggregate("sum", weight) + float(self_loops)
        scale = jax.lax.rsqrt(jnp.where(degree > 0, degree, jnp.inf))[..., None]
        x = scale * x  # normalised node by node, before and after the sum, not edge by edge
        y = g.aggregate("sum", weight[..., None] * g.at_senders(x))
        y = (scale * (y + x if self_loops else y)).astype(h.dtype)
        return g.only_real(y + shift[0] if bias else y), state

    return Layer(init, apply, name)


def graph_sage(
    in_features: int,
    out_features: int,
    *,
    aggregate: str = "mean",
    normalize: bool = False,
    bias: bool = True,
) -> Layer:
    """Sample and aggregate, ``y_i = own(x_i) + neighbours(aggregate of x_j over edges j to i)``.

    ``aggregate`` is mean, sum, max, min or std of the neighbours' features, or "pool": the maximum
    of ``relu(pool(x_j))``. ``normalize`` scales each y_i to length one. A node that nothing reaches
    has neighbours of zero.

    Shapes: nodes [..., N, in], senders and receivers [..., E] -> y [..., N, out].
    Params: own linear(in, out), neighbours linear(in, out) without bias (the two halves of the
        paper's matrix on the concatenation), and pool linear(in, in).
    Raises: ValueError, for an unknown aggregate, or shapes that do not fit; TypeError, as in gcn.
    Source: Hamilton, Ying, Leskovec 2017, https://arxiv.org/abs/1706.02216, algorithm 1 and section
        3.3; neighbours are given as edges, not sampled.
    """
    name = f"graph_sage({in_features}, {out_features}, {aggregate})"
    check_choice(name, "aggregate", aggregate, (*AGGREGATES, "pool"))

    def forward(net, nodes, senders, receivers, *, node_mask=None, edge_mask=None):
        g = check_graph(name, nodes, senders, receivers, node_mask, edge_mask, in_features)
        if aggregate == "pool":
            around = g.aggregate("max", g.at_senders(jax.nn.relu(net.pool(g.nodes))))
        else:
            around = g.aggregate(aggregate, g.at_senders(g.nodes))
        y = net.own(g.nodes) + net.neighbours(around)
        if normalize:
            x = widen(y)
            square = jnp.square(x).sum(-1, keepdims=True)
            y = (x * jax.lax.rsqrt(jnp.maximum(square, 1e-24))).astype(y.dtype)
        return g.only_real(y)

    layers = {
        "own": linear(in_features, out_features, bias=bias),
        "neighbours": linear(in_features, out_features, bias=False),
    }
    if aggregate == "pool":
        layers["pool"] = linear(in_features, in_features)
    return compose(forward, name, **layers)


def gin(
    update: Layer | Callable[..., jax.Array], *, eps: float = 0.0, learn_eps: bool = True
) -> Layer:
    """Graph isomorphism network, ``y_i = update((1 + eps) x_i + sum of x_j over edges j to i)``.

    ``gin(nn.mlp(16, 32, 32))``: with an MLP for update it tells apart what the Weisfeiler-Lehman
    test does.

    Shapes: nodes [..., N, D], senders and receivers [..., E] -> y [..., N, out]; centre/eps [].
    Params: update's, and eps in centre, unless learn_eps is False.
    Raises: ValueError, for shapes that do not fit; TypeError, as in gcn.
    Source: Xu, Hu, Leskovec, Jegelka 2019, https://arxiv.org/abs/1810.00826, equation 4.1.
    """
    update = as_layer(update)
    name = f"gin({update.name})"

    def forward(net, nodes, senders, receivers, *, node_mask=None, edge_mask=None):
        g = check_graph(name, nodes, senders, receivers, node_mask, edge_mask)
        around = g.aggregate("sum", g.at_senders(g.nodes))
        return g.only_real(net.update(net.centre(g.nodes) + around))

    centre = _grown(eps) if learn_eps else as_layer(lambda x: (1 + eps) * x)
    return compose(forward, name, centre=centre.named(f"(1 + {eps}) x"), update=update)


def message_passing(
    message: Layer | Callable[..., jax.Array],
    update: Layer | Callable[..., jax.Array],
    *,
    aggregate: str = "sum",
) -> Layer:
    """``y_i = update(x_i, aggregate of message(x_i, x_j, e_ij) over edges j to i)``.

    Both are layers or plain functions, called once on all edges and once on all nodes. Without
    ``edges``, message is called with x_i and x_j alone.

    Shapes: nodes [..., N, D], senders and receivers [..., E], edges [..., E, F] -> y [..., N, out];
        message maps [..., E, D], [..., E, D] and [..., E, F] to [..., E, M], update maps
        [..., N, D] and [..., N, M] to [..., N, out].
    Raises: ValueError, for an unknown aggregate, or shapes that do not fit; TypeError, as in gcn.
    Source: Gilmer et al. 2017, https://arxiv.org/abs/1704.01212, equations 1 and 2.
    """
    message, update = as_layer(message), as_layer(update)
    name = f"message_passing({message.name}, {update.name}, {aggregate})"
    check_choice(name, "aggregate", aggregate, AGGREGATES)

    def forward(net, nodes, senders, receivers, *, edges=None, node_mask=None, edge_mask=None):
        masks = (node_mask, edge_mask)
        g = check_graph(name, nodes, senders, receivers, *masks, None, edges, (None,))
        ends = g.at_receivers(g.nodes), g.at_senders(g.nodes)
        messages = net.message(*ends) if edges is None else net.message(*ends, g.edges)
        return g.only_real(net.update(g.nodes, g.aggregate(aggregate, messages)))

    return compose(forward, name, message=message, update=update)


def _grown(eps: float) -> Layer:
    """``(1 + eps) x`` with eps a parameter."""

    def init(key):
        return {"eps": constant(eps)(key, ())}, {}

    def apply(params, state, x, *, key=None, train=False):
        (share,) = check_entries("gin", "params", params, eps=())
        return (1 + share).astype(x.dtype) * x, state

    return Layer(init, apply, "centre")
