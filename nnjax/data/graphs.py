"""Batches of graphs as one large graph of a fixed, padded size. NumPy on the host."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.core import check_positive


class Graph(NamedTuple):
    """One or more graphs side by side, with the fields of ``jraph.GraphsTuple``, in their order.

    Whatever takes a Graph here takes a GraphsTuple, and gives back what it was given. ``nodes``,
    ``edges`` and ``globals`` may be trees of arrays, or None.

    Shapes: nodes [N, ...], edges [E, ...], receivers and senders [E], globals [G, ...], n_node and
        n_edge [G], which sum to N and E: the graphs lie one after the other.
    """

    nodes: Any
    edges: Any
    receivers: Any
    senders: Any
    globals: Any
    n_node: Any
    n_edge: Any


class GraphMasks(NamedTuple):
    """What is real in a padded Graph: nodes [N], edges [E], graphs [G]."""

    nodes: jax.Array
    edges: jax.Array
    graphs: jax.Array


def graph(
    nodes: Any, senders: Any, receivers: Any, edges: Any = None, globals: Any = None
) -> Graph:
    """A single graph; globals without the leading axis of graphs.

    Raises: ValueError, for senders and receivers that are not two lists of node numbers.
    """
    senders, receivers = np.asarray(senders), np.asarray(receivers)
    counts = [len(a) for a in jax.tree.leaves(nodes)]
    for argument, ids in (("senders", senders), ("receivers", receivers)):
        if not ids.size:
            ids = ids.astype(np.int32)  # an empty list is one of floats
        if ids.ndim != 1 or len(ids) != len(senders) or not np.issubdtype(ids.dtype, np.integer):
            got = f"got {argument} of shape {ids.shape} and dtype {ids.dtype}"
            raise ValueError(f"graph: {got}, expected [{len(senders)}] integers, one an edge.")
        if counts and ids.size and not 0 <= ids.min() <= ids.max() < counts[0]:
            got = f"got {argument} from {ids.min()} to {ids.max()}"
            raise ValueError(f"graph: {got}, expected numbers of its {counts[0]} nodes, from 0.")
    if not counts:
        raise ValueError("graph: got nodes without an array, expected one row a node.")
    for argument, tree, length in (("nodes", nodes, counts[0]), ("edges", edges, len(senders))):
        if any(len(a) != length for a in jax.tree.leaves(tree)):
            raise ValueError(f"graph: got {argument} of unequal lengths, expected {length} rows.")
    return Graph(
        nodes=jax.tree.map(np.asarray, nodes),
        edges=jax.tree.map(np.asarray, edges),
        receivers=receivers.astype(np.int32),
        senders=senders.astype(np.int32),
        globals=jax.tree.map(lambda a: np.asarray(a)[None], globals),
        n_node=np.array([counts[0]], np.int32),
        n_edge=np.array([len(senders)], np.int32),
    )


def batch_graphs(graphs: Sequence[Any]) -> Any:
    """Graphs side by side as one: node numbers are moved, everything else concatenated.

    Raises: ValueError, for no graphs, or features that some have and others have not.
    """
    if not graphs:
        raise ValueError("batch_graphs: got no graphs, expected at least one.")
    shape = lambda g: jax.tree.structure((g.nodes, g.edges, g.globals))
    if any(shape(g) != shape(graphs[0]) for g in graphs):
        got = "got graphs of different features"
        raise ValueError(f"batch_graphs: {got}, expected nodes, edges and globals alike in all.")
    starts = np.cumsum([0] + [int(np.sum(g.n_node)) for g in graphs[:-1]])
    join = lambda *arrays: np.concatenate([np.asarray(a) for a in arrays])
    moved = lambda part: join(
        *(np.asarray(getattr(g, part)) + start for g, start in zip(graphs, starts, strict=True))
    ).astype(np.int32)
    every = lambda part: jax.tree.map(join, *(getattr(g, part) for g in graphs))
    return graphs[0]._replace(
        nodes=every("nodes"),
        edges=every("edges"),
        receivers=moved("receivers"),
        senders=moved("senders"),
        globals=every("globals"),
        n_node=join(*(g.n_node for g in graphs)),
        n_edge=join(*(g.n_edge for g in graphs)),
    )


def unbatch_graphs(graph: Any) -> list[Any]:
    """The single graphs of a batch, padding graphs included: the inverse of ``batch_graphs``."""
    node_ends, edge_ends = np.cumsum(graph.n_node), np.cumsum(graph.n_edge)
    graphs = []
    for i, (n, e) in enumerate(zip(node_ends, edge_ends, strict=True)):
        node_start = n - int(graph.n_node[i])
        nodes, edges = slice(node_start, n), slice(e - int(graph.n_edge[i]), e)
        cut = lambda tree, rows: jax.tree.map(lambda a: np.asarray(a)[rows], tree)
        graphs.append(
            graph._replace(
                nodes=cut(graph.nodes, nodes),
                edges=cut(graph.edges, edges),
                receivers=cut(graph.receivers, edges) - np.int32(node_start),
                senders=cut(graph.senders, edges) - np.int32(node_start),
                globals=cut(graph.globals, slice(i, i + 1)),
                n_node=cut(graph.n_node, slice(i, i + 1)),
                n_edge=cut(graph.n_edge, slice(i, i + 1)),
            )
        )
    return graphs


def pad_graphs(graph: Any, nodes: int, edges: int, graphs: int) -> Any:
    """The batch with zeros appended up to these sizes, so that no shape ever changes.

    The first padding graph holds all padding nodes and edges, the others are empty; padding edges
    are loops at the first padding node. So there must be room for one node and one graph more than
    the batch has. ``graph_masks`` tells the padding from the rest.

    Raises: ValueError, if there is less room.
    """
    n, e, g = int(np.sum(graph.n_node)), int(np.sum(graph.n_edge)), len(graph.n_node)
    for argument, size, least in (
        ("nodes", nodes, n + 1),
        ("edges", edges, e),
        ("graphs", graphs, g + 1),
    ):
        if size < least:
            raise ValueError(
                f"pad_graphs: got {argument}={size}, expected at least {least} for {g} graphs of "
                f"{n} nodes and {e} edges. Padding takes one node and one graph at least."
            )

    def fill(tree, size, value=0):
        def one(a):
            a = np.asarray(a)
            rest = np.full((size - len(a), *a.shape[1:]), value, a.dtype)
            return np.concatenate([a, rest])

        return jax.tree.map(one, tree)

    counts = lambda sizes, total: fill(np.append(sizes, total).astype(np.int32), graphs)
    return graph._replace(
        nodes=fill(graph.nodes, nodes),
        edges=fill(graph.edges, edges),
        receivers=fill(graph.receivers, edges, n),
        senders=fill(graph.senders, edges, n),
        globals=fill(graph.globals, graphs),
        n_node=counts(graph.n_node, nodes - n),
        n_edge=counts(graph.n_edge, edges - e),
    )


def unpad_graphs(graph: Any) -> Any:
    """The batch without the padding of ``pad_graphs``."""
    real = len(graph.n_node) - _padding_graphs(np, np.asarray(graph.n_node))
    n, e = int(np.sum(graph.n_node[:real])), int(np.sum(graph.n_edge[:real]))
    cut = lambda tree, size: jax.tree.map(lambda a: np.asarray(a)[:size], tree)
    return graph._replace(
        nodes=cut(graph.nodes, n),
        edges=cut(graph.edges, e),
        receivers=cut(graph.receivers, e),
        senders=cut(graph.senders, e),
        globals=cut(graph.globals, real),
        n_node=cut(graph.n_node, real),
        n_edge=cut(graph.n_edge, real),
    )


def graph_masks(graph: Any) -> GraphMasks:
    """What is real in a batch from ``pad_graphs`` (or jraph's ``pad_with_graphs``); runs in jit.

    The padding graphs are the last one that has nodes, and those after it.
    """
    n_node, n_edge = jnp.asarray(graph.n_node), jnp.asarray(graph.n_edge)
    size, rows = n_node.shape[0], jax.tree.leaves(graph.nodes)[0].shape[0]
    real = jnp.arange(size) < size - _padding_graphs(jnp, n_node)
    count = lambda sizes: jnp.where(real, sizes, 0).sum()
    return GraphMasks(
        nodes=jnp.arange(rows) < count(n_node),
        edges=jnp.arange(graph.senders.shape[0]) < count(n_edge),
        graphs=real,
    )


def graph_batches(examples: Iterable[Any], *, nodes: int, edges: int, graphs: int) -> Iterator[Any]:
    """Padded batches, all of these sizes, each of as many single graphs in order as have room.

    Raises: ValueError, for a graph that has no room in a batch of its own.
    """
    check_positive("graph_batches", nodes=nodes, graphs=graphs)
    held: list[Any] = []
    room = (nodes - 1, edges, graphs - 1)
    for example in examples:
        sizes = [int(np.sum(example.n_node)), int(np.sum(example.n_edge)), len(example.n_node)]
        left = tuple(a - b for a, b in zip(room, sizes, strict=True))
        if held and min(left) < 0:
            yield pad_graphs(batch_graphs(held), nodes, edges, graphs)
            held = []
            left = tuple(a - b for a, b in zip((nodes - 1, edges, graphs - 1), sizes, strict=True))
        held, room = [*held, example], left
    if held:
        yield pad_graphs(batch_graphs(held), nodes, edges, graphs)


def _padding_graphs(xp: Any, n_node: Any) -> Any:
    """How many graphs at the end are padding: the last with nodes, and those after it."""
    return xp.argmax(n_node[::-1] > 0) + 1
