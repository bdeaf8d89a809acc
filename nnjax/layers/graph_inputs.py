"""What graph layers are given: nodes, edges as two lists of node numbers, and masks; checked."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from nnjax.core import check_dtype, check_floating, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.ops import segment


class GraphInputs(NamedTuple):
    """One graph for each entry of the batch axes, padding set to zero.

    Edge e leads from node ``senders[e]`` to node ``receivers[e]``. Masks are None where all takes
    part.
    """

    nodes: jax.Array  # [*batch, N, D]
    senders: jax.Array  # [*batch, E]
    receivers: jax.Array  # [*batch, E]
    edges: jax.Array | None  # [*batch, E] or [*batch, E, F]
    node_mask: jax.Array | None  # [*batch, N]
    edge_mask: jax.Array | None  # [*batch, E]

    def at_senders(self, h: jax.Array) -> jax.Array:
        """h [*batch, N, ...] of each edge's sender: [*batch, E, ...]."""
        return segment.take_rows(h, self.senders)

    def at_receivers(self, h: jax.Array) -> jax.Array:
        """h [*batch, N, ...] of each edge's receiver: [*batch, E, ...]."""
        return segment.take_rows(h, self.receivers)

    def aggregate(self, kind: str, messages: jax.Array) -> jax.Array:
        """Messages [*batch, E, ...] gathered at their receivers: [*batch, N, ...]."""
        nodes = self.nodes.shape[-2]
        return segment.AGGREGATES[kind](messages, self.receivers, nodes, mask=self.edge_mask)

    def degrees(self) -> jax.Array:
        """How many edges arrive at each node: [*batch, N]."""
        return segment.segment_count(self.receivers, self.nodes.shape[-2], mask=self.edge_mask)

    def attention(self, logits: jax.Array) -> jax.Array:
        """Softmax of logits [*batch, E, ...] over the edges that share a receiver."""
        nodes = self.nodes.shape[-2]
        return segment.segment_softmax(logits, self.receivers, nodes, mask=self.edge_mask)

    def only_real(self, h: jax.Array) -> jax.Array:
        """h [*batch, N, ...] with zeros at the nodes that are padding."""
        return keep(h, self.node_mask)

    def with_self_loops(self) -> "GraphInputs":
        """Each node in its own neighbourhood, once: loops among the edges are replaced.

        A loop's features are the mean of those of the edges that arrive at its node.
        """
        *batch, nodes, _ = self.nodes.shape
        loops = jnp.broadcast_to(jnp.arange(nodes, dtype=self.senders.dtype), (*batch, nodes))
        real = jnp.ones((*batch, nodes), bool) if self.node_mask is None else self.node_mask
        proper = self.senders != self.receivers
        proper = proper if self.edge_mask is None else proper & self.edge_mask
        edges = self.edges
        if edges is not None:
            mean = self._replace(edge_mask=proper).aggregate("mean", edges)
            edges = jnp.concatenate([edges, mean], self.senders.ndim - 1)
        join = lambda a, b: jnp.concatenate([a, b.astype(a.dtype)], -1)
        return self._replace(
            senders=join(self.senders, loops),
            receivers=join(self.receivers, loops),
            edges=edges,
            edge_mask=join(proper, real),
        )


class GraphRows(NamedTuple):
    """Nodes with the graph of each, ``n_node`` of them to a graph; padding is zero."""

    nodes: jax.Array  # [*batch, N, D]
    ids: jax.Array  # [*batch, N], graphs or more where a node is in none
    graphs: int
    mask: jax.Array | None  # [*batch, N]
    single: bool  # n_node was not given

    def aggregate(self, kind: str, h: jax.Array) -> jax.Array:
        """h [*batch, N, ...] -> [*batch, G, ...]."""
        return segment.AGGREGATES[kind](h, self.ids, self.graphs, mask=self.mask, sorted=True)

    def pooled(self, y: jax.Array) -> jax.Array:
        return y[..., 0, :] if self.single else y

    def real(self) -> jax.Array | None:
        """Which nodes are of a graph."""
        if self.single:
            return self.mask
        inside = self.ids < self.graphs
        return inside if self.mask is None else inside & self.mask


def check_graph(
    name: str,
    nodes: jax.Array,
    senders: jax.Array,
    receivers: jax.Array,
    node_mask: jax.Array | None,
    edge_mask: jax.Array | None,
    features: int | None = None,
    edges: jax.Array | None = None,
    edge_shape: tuple[int | None, ...] = (),
) -> GraphInputs:
    """The inputs of a graph layer, refused where they do not fit each other.

    Senders, receivers and masks without batch axes serve all graphs of the batch. An edge at a node
    that is padding is padding.
    """
    check_floating(name, "nodes", nodes)
    check_shape(name, "nodes", nodes, (..., None, features))
    batch, count = nodes.shape[:-2], nodes.shape[-2]
    ends = []
    for argument, ids in (("senders", senders), ("receivers", receivers)):
        fix = "Number the nodes from 0: an integer an edge."
        check_dtype(name, argument, ids, jnp.integer, fix)
        length = ends[0].shape[-1] if ends else None
        ids = jnp.asarray(ids, jnp.int32) if jnp.result_type(ids).itemsize < 4 else ids
        fix = "Give one an edge, with the batch axes of nodes or none."
        ends.append(_batched(name, argument, ids, batch, length, fix))
    senders, receivers = ends
    if edges is not None:
        check_floating(name, "edges", edges)
        fix = "Give one row an edge, with the batch axes of nodes."
        check_shape(name, "edges", edges, (*senders.shape, *edge_shape), fix)
        edges = edges.astype(nodes.dtype) if edge_shape else edges  # weights stay as they are
    if node_mask is not None:
        node_mask = check_mask(name, "node_mask", node_mask, batch, count)
        nodes = keep(nodes, node_mask)
    if edge_mask is not None:
        edge_mask = check_mask(name, "edge_mask", edge_mask, batch, senders.shape[-1])
    if node_mask is not None:
        real = segment.take_rows(node_mask, senders) & segment.take_rows(node_mask, receivers)
        edge_mask = real if edge_mask is None else real & edge_mask
    edges = None if edges is None else keep(edges, edge_mask)
    return GraphInputs(nodes, senders, receivers, edges, node_mask, edge_mask)


def check_rows(name, nodes, features, n_node, mask, words=("nodes", "node_mask")) -> GraphRows:
    """The inputs of a layer that knows no edges, refused where they do not fit each other."""
    check_floating(name, words[0], nodes)
    check_shape(name, words[0], nodes, (..., None, features))
    *batch, count, _ = nodes.shape
    if mask is not None:
        mask = check_mask(name, words[1], mask, tuple(batch), count)
    if n_node is None:
        ids, graphs = jnp.zeros((*batch, count), jnp.int32), 1
    else:
        check_dtype(name, "n_node", n_node, jnp.integer, "Count the nodes of each graph.")
        fix = "Give one number a graph, with the batch axes of nodes."
        check_shape(name, "n_node", n_node, (*batch, None), fix)
        n_node, graphs = jnp.asarray(n_node, jnp.int32), n_node.shape[-1]
        ids = segment.ids_of_sizes(n_node, count)
    return GraphRows(keep(nodes, mask), ids, graphs, mask, n_node is None)


def check_edges(name: str, edges: jax.Array | None, edge_features: int) -> None:
    """Refuse features of edges where none are expected, and their absence where some are."""
    if (edges is None) != (edge_features == 0):
        raise LayerValueError(
            f"{name}: got edges={'None' if edges is None else 'an array'}, expected "
            f"edge_features={edge_features} features an edge."
        )


def check_mask(name, argument, mask, batch, length) -> jax.Array:
    """A boolean mask [*batch, length], given with the batch axes or without."""
    check_dtype(name, argument, mask, jnp.bool_, "Make it boolean, True = takes part.")
    fix = "Give one entry a row, with the batch axes of nodes or none."
    return _batched(name, argument, mask, batch, length, fix)


def keep(h: jax.Array, mask: jax.Array | None) -> jax.Array:
    """h [*batch, N, ...] with zeros where mask [*batch, N] is False."""
    if mask is None:
        return h
    return jnp.where(mask.reshape(mask.shape + (1,) * (h.ndim - mask.ndim)), h, 0)


def _batched(name, argument, a, batch, length, fix):
    if jnp.ndim(a) != 1 or not batch:
        check_shape(name, argument, a, (*batch, length), fix)
        return jnp.asarray(a)
    check_shape(name, argument, a, (length,), fix)
    return jnp.broadcast_to(a, (*batch, *jnp.shape(a)))
