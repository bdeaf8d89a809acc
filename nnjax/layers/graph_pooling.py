"""What turns nodes into one vector a graph, or normalises them graph by graph.

``n_node [..., G]`` says how many nodes each graph of a batch has, as in ``GraphsTuple``: the graphs
lie one after the other on the node axis. Without it all nodes are one graph.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nnjax.core import (
    Layer,
    as_layer,
    check_choice,
    check_entries,
    check_positive,
    check_shape,
    compose,
)
from nnjax.initializers import draw, ones, zeros
from nnjax.layers.graph_inputs import check_rows, keep
from nnjax.layers.linear import linear
from nnjax.ops import segment
from nnjax.ops.precision import widen


def graph_pool(aggregate: str = "mean") -> Layer:
    """The sum, mean, max, min or std of each graph's nodes, feature by feature.

    Zero for a graph without nodes.

    Shapes: nodes [..., N, D] -> y [..., D], or with n_node [..., G] -> y [..., G, D]; node_mask
        [..., N].
    Dtypes: y has nodes' dtype; sums in float32 or wider. n_node any integer, node_mask boolean.
    Raises: ValueError, for an unknown aggregate, or shapes that do not fit; TypeError, for nodes
        that are not floating or n_node that are not integers.
    """
    name = f"graph_pool({aggregate})"
    check_choice(name, "aggregate", aggregate, segment.AGGREGATES)

    def init(key):
        return {}, {}

    def apply(params, state, nodes, n_node=None, *, node_mask=None, key=None, train=False):
        rows = check_rows(name, nodes, None, n_node, node_mask)
        return rows.pooled(rows.aggregate(aggregate, rows.nodes)), state

    return Layer(init, apply, name)


def graph_attention_pool(
    gate: Layer | Callable[..., jax.Array],
    value: Layer | Callable[..., jax.Array] = lambda x: x,
) -> Layer:
    """``y = sum of softmax(gate(x)) * value(x)`` over the nodes x of each graph.

    ``graph_attention_pool(nn.linear(16, 1))`` weighs the nodes themselves.

    Shapes: nodes [..., N, D] -> y [..., out], or with n_node [..., G] -> y [..., G, out]; gate maps
        [..., N, D] to [..., N, 1] (or [..., N, out], a weight a feature), value to [..., N, out].
    Dtypes: softmax in float32 or wider; y has value's dtype.
    Raises: ValueError, for shapes that do not fit; TypeError, as in graph_pool.
    Source: Li et al. 2016, https://arxiv.org/abs/1511.05493, equation 7, with a softmax for the
        sigmoid as in Vinyals et al. 2016, https://arxiv.org/abs/1511.06391.
    """
    gate, value = as_layer(gate), as_layer(value)
    name = f"graph_attention_pool({gate.name})"

    def forward(net, nodes, n_node=None, *, node_mask=None):
        rows = check_rows(name, nodes, None, n_node, node_mask)
        values = net.value(rows.nodes)
        logits = net.gate(rows.nodes)
        sizes = logits.shape[-1] if logits.shape[-1:] == values.shape[-1:] else 1
        fix = "Give gate one output a node, or one for each output of value."
        check_shape(name, "gate output", logits, (*values.shape[:-1], sizes), fix)
        weights = segment.segment_softmax(widen(logits), rows.ids, rows.graphs, mask=rows.mask)
        y = rows.aggregate("sum", weights * widen(values)).astype(values.dtype)
        return rows.pooled(y)

    return compose(forward, name, gate=gate, value=value.named("value"))


def graph_norm(features: int, *, eps: float = 1e-5) -> Layer:
    """Standardise each feature over the nodes of each graph, less a learned share of its mean::

        h = x - shift * mean(x),  y = h / sqrt(mean(h^2) + eps) * scale + bias

    Shapes: nodes [..., N, D] -> y [..., N, D]; n_node [..., G], node_mask [..., N]; shift, scale
        and bias [D].
    Dtypes: params float32; statistics in float32 or wider; y has nodes' dtype.
    Units:  eps has the units of nodes squared.
    Raises: ValueError, for shapes that do not fit; TypeError, as in graph_pool.
    Source: Cai et al. 2021, https://arxiv.org/abs/2009.03294, equation 9.
    """
    name = f"graph_norm({features})"
    check_positive(name, features=features)
    shapes = {entry: (features,) for entry in ("shift", "scale", "bias")}

    def init(key):
        return draw(key, shapes, shift=ones, scale=ones, bias=zeros), {}

    def apply(params, state, nodes, n_node=None, *, node_mask=None, key=None, train=False):
        rows = check_rows(name, nodes, features, n_node, node_mask)
        entries = check_entries(name, "params", params, **shapes)
        x = widen(rows.nodes)
        shift, scale, bias = (entry.astype(x.dtype) for entry in entries)
        spread = lambda a: segment.take_rows(a, rows.ids)
        # The mean goes first: with shift near 1, shift * mean would cancel against a large mean.
        mean = rows.aggregate("mean", x)
        h = x - spread(mean) + (1 - shift) * spread(mean)
        h = h * jax.lax.rsqrt(spread(rows.aggregate("mean", jnp.square(h))) + eps)
        return keep((h * scale + bias).astype(nodes.dtype), rows.real()), state

    return Layer(init, apply, name)


def deep_sets(
    element: Layer | Callable[..., jax.Array],
    readout: Layer | Callable[..., jax.Array] = lambda x: x,
    *,
    aggregate: str = "sum",
) -> Layer:
    """``readout(sum of element(x) over the set)``: any order of the elements gives the same.

    Shapes: x [..., N, D] -> y [..., out]; mask [..., N], True = belongs to the set.
    Raises: ValueError, for an unknown aggregate, or shapes that do not fit; TypeError, for x that
        is not floating or a mask that is not boolean.
    Source: Zaheer et al. 2017, https://arxiv.org/abs/1703.06114, theorem 2.
    """
    element, readout = as_layer(element), as_layer(readout)
    name = f"deep_sets({element.name}, {readout.name}, {aggregate})"
    check_choice(name, "aggregate", aggregate, segment.AGGREGATES)

    def forward(net, x, *, mask=None):
        rows = check_rows(name, x, None, None, mask, ("x", "mask"))
        return net.readout(rows.pooled(rows.aggregate(aggregate, net.element(rows.nodes))))

    return compose(forward, name, element=element, readout=readout)


def set_linear(in_features: int, out_features: int, *, aggregate: str = "mean") -> Layer:
    """``y_i = own(x_i) + whole(mean of x over the set)``: reordering x reorders y alike.

    Shapes: x [..., N, in] -> y [..., N, out]; mask [..., N], True = belongs to the set.
    Params: own, a linear(in, out), and whole, a linear(in, out) without bias.
    Raises: as deep_sets.
    Source: Zaheer et al. 2017, https://arxiv.org/abs/1703.06114, section 3.1, equation 4 with
        matrices for its two scalars, and the mean for the sum.
    """
    name = f"set_linear({in_features}, {out_features})"
    check_choice(name, "aggregate", aggregate, segment.AGGREGATES)

    def forward(net, x, *, mask=None):
        rows = check_rows(name, x, in_features, None, mask, ("x", "mask"))
        return keep(net.own(rows.nodes) + net.whole(rows.aggregate(aggregate, rows.nodes)), mask)

    whole = linear(in_features, out_features, bias=False)
    return compose(forward, name, own=linear(in_features, out_features), whole=whole)
