"""Pooling that keeps a share of each graph's nodes: top_k_pool and sag_pool.

Nothing is renumbered: the nodes that go are set to zero and taken out of ``node_mask``, which the
next layers get. So the shapes stay, edges at nodes that are gone count as padding, and no number of
nodes compiles anything new.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nnjax.core import Layer, as_layer, check_entries, check_positive, check_shape, compose
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, draw, glorot_uniform
from nnjax.layers.graph_inputs import check_graph, check_rows, keep
from nnjax.ops import segment
from nnjax.ops.precision import widen


def top_k_pool(
    features: int, ratio: float = 0.5, *, kernel_init: Initializer = glorot_uniform()
) -> Layer:
    """Keep the nodes of each graph that lie furthest along a learned direction::

        score = nodes @ kernel / |kernel|
        y = nodes * tanh(score) for the ceil(ratio * n) highest scores of a graph of n nodes

    and zero for the others. Of nodes with one score the first stay.

    Shapes: nodes [..., N, D] -> (y [..., N, D], node_mask [..., N] of those kept); n_node [..., G],
        node_mask [..., N]; kernel [D, 1].
    Dtypes: the kernel is made in float32; scores in float32 or wider; y has nodes' dtype.
    Raises: ValueError, for a ratio outside (0, 1], or shapes that do not fit; TypeError, as in
        graph_pool.
    Source: Gao and Ji 2019, https://arxiv.org/abs/1905.05178, equation 2, with a tanh for the
        sigmoid, and the share for the number, as in Cangea et al. 2018,
        https://arxiv.org/abs/1811.01287.
    """
    name = f"top_k_pool({features}, {ratio})"
    check_positive(name, features=features)
    _check_ratio(name, ratio)
    shapes = {"kernel": (features, 1)}

    def init(key):
        return draw(key, shapes, kernel=kernel_init), {}

    def apply(params, state, nodes, n_node=None, *, node_mask=None, key=None, train=False):
        rows = check_rows(name, nodes, features, n_node, node_mask)
        (kernel,) = (widen(entry) for entry in check_entries(name, "params", params, **shapes))
        score = (widen(rows.nodes) @ kernel)[..., 0] / jnp.linalg.norm(kernel)
        return _highest(rows, score, ratio), state

    return Layer(init, apply, name)


def sag_pool(score: Layer | Callable[..., jax.Array], ratio: float = 0.5) -> Layer:
    """Self-attention graph pooling: ``top_k_pool`` by a score that knows each node's neighbours::

        score = score(nodes, senders, receivers)
        y = nodes * tanh(score) for the ceil(ratio * n) highest scores of a graph of n nodes

    ``sag_pool(nn.gcn(16, 1))`` is the paper's.

    Shapes: nodes [..., N, D], senders and receivers [..., E] -> (y [..., N, D], node_mask [..., N]
        of those kept); score maps to [..., N, 1]; n_node [..., G]; edge_mask [..., E].
    Dtypes: y has nodes' dtype.
    Raises: ValueError, for a ratio outside (0, 1], or shapes that do not fit; what score raises.
    Source: Lee, Lee, Kang 2019, https://arxiv.org/abs/1904.08082, equations 3 to 5.
    """
    score = as_layer(score)
    name = f"sag_pool({score.name}, {ratio})"
    _check_ratio(name, ratio)

    def forward(net, nodes, senders, receivers, n_node=None, *, node_mask=None, edge_mask=None):
        rows = check_rows(name, nodes, None, n_node, node_mask)
        g = check_graph(name, nodes, senders, receivers, rows.real(), edge_mask)
        masks = {"node_mask": g.node_mask, "edge_mask": g.edge_mask}
        given = {word: mask for word, mask in masks.items() if mask is not None}
        scores = net.score(g.nodes, g.senders, g.receivers, **given)
        check_shape(name, "score", scores, (*rows.nodes.shape[:-1], 1), "One number a node.")
        return _highest(rows, widen(scores[..., 0]), ratio)

    return compose(forward, name, score=score)


def _check_ratio(name, ratio):
    if not 0 < ratio <= 1:
        raise LayerValueError(f"{name}: got ratio={ratio}, expected a share above 0, at most 1.")


def _highest(rows, score, ratio):
    """The nodes whose score is among the highest of their graph, times its tanh; and which."""
    *batch, count = score.shape
    there = rows.real()
    there = jnp.ones((*batch, count), bool) if there is None else there
    graph = jnp.where(there, rows.ids, rows.graphs)
    falling = jax.lax.stop_gradient(-score)
    place = jnp.argsort(jnp.lexsort((falling, graph), axis=-1), axis=-1)  # graph by graph
    sizes = segment.segment_count(graph, rows.graphs)
    first = jnp.cumsum(sizes, -1) - sizes
    room = jnp.ceil(ratio * sizes.astype(jnp.float32)).astype(sizes.dtype)
    kept = there & (place - segment.take_rows(first, graph) < segment.take_rows(room, graph))
    y = rows.nodes * jnp.tanh(score)[..., None].astype(rows.nodes.dtype)
    return keep(y, kept), kept
