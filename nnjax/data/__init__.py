"""Data: small real data sets, checked by checksum, and batches. NumPy on the host throughout."""

from nnjax.data.datasets import (
    NAMES as NAMES,
    Dataset as Dataset,
    Split as Split,
    digits as digits,
    fashion_mnist as fashion_mnist,
    load as load,
    mnist as mnist,
)
from nnjax.data.files import DataError as DataError
from nnjax.data.graphs import (
    Graph as Graph,
    GraphMasks as GraphMasks,
    batch_graphs as batch_graphs,
    graph as graph,
    graph_batches as graph_batches,
    graph_masks as graph_masks,
    pad_graphs as pad_graphs,
    unbatch_graphs as unbatch_graphs,
    unpad_graphs as unpad_graphs,
)
from nnjax.data.loader import batches as batches, count_batches as count_batches

__all__ = [
    "NAMES",
    "DataError",
    "Dataset",
    "Graph",
    "GraphMasks",
    "Split",
    "batch_graphs",
    "batches",
    "count_batches",
    "digits",
    "fashion_mnist",
    "graph",
    "graph_batches",
    "graph_masks",
    "load",
    "mnist",
    "pad_graphs",
    "unbatch_graphs",
    "unpad_graphs",
]
