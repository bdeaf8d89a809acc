"""Layers, one file a family."""

from nnjax.layers.attention import attention as attention
from nnjax.layers.convolution import conv as conv
from nnjax.layers.dropout import dropout as dropout
from nnjax.layers.embedding import embedding as embedding
from nnjax.layers.graph import (
    gcn as gcn,
    gin as gin,
    graph_sage as graph_sage,
    message_passing as message_passing,
)
from nnjax.layers.graph_attention import gat as gat, gatv2 as gatv2
from nnjax.layers.graph_messages import mpnn as mpnn, pna as pna
from nnjax.layers.graph_pooling import (
    deep_sets as deep_sets,
    graph_attention_pool as graph_attention_pool,
    graph_norm as graph_norm,
    graph_pool as graph_pool,
    set_linear as set_linear,
)
from nnjax.layers.linear import linear as linear, mlp as mlp
from nnjax.layers.mixture import (
    gated_mlp as gated_mlp,
    mixture_of_experts as mixture_of_experts,
)
from nnjax.layers.normalization import batch_norm as batch_norm, layer_norm as layer_norm
from nnjax.layers.pooling import (
    avg_pool as avg_pool,
    global_avg_pool as global_avg_pool,
    max_pool as max_pool,
)
from nnjax.layers.recurrent import lstm as lstm
from nnjax.layers.shape import flatten as flatten

__all__ = [
    "attention",
    "avg_pool",
    "batch_norm",
    "conv",
    "deep_sets",
    "dropout",
    "embedding",
    "flatten",
    "gat",
    "gated_mlp",
    "gatv2",
    "gcn",
    "gin",
    "global_avg_pool",
    "graph_attention_pool",
    "graph_norm",
    "graph_pool",
    "graph_sage",
    "layer_norm",
    "linear",
    "lstm",
    "max_pool",
    "message_passing",
    "mixture_of_experts",
    "mlp",
    "mpnn",
    "pna",
    "set_linear",
]
