"""Layers, one file a family."""

from nnjax.layers.activation import maxout as maxout, prelu as prelu, rrelu as rrelu
from nnjax.layers.attention import attention as attention
from nnjax.layers.convolution import conv as conv
from nnjax.layers.dropout import dropout as dropout
from nnjax.layers.embedding import embedding as embedding, embedding_bag as embedding_bag
from nnjax.layers.linear import (
    bilinear as bilinear,
    einsum_linear as einsum_linear,
    linear as linear,
    mlp as mlp,
)
from nnjax.layers.lora import lora as lora, lora_merge as lora_merge
from nnjax.layers.normalization import batch_norm as batch_norm, layer_norm as layer_norm
from nnjax.layers.pooling import (
    avg_pool as avg_pool,
    global_avg_pool as global_avg_pool,
    max_pool as max_pool,
)
from nnjax.layers.recurrent import lstm as lstm
from nnjax.layers.shape import flatten as flatten, unflatten as unflatten
from nnjax.ops.distances import (
    cosine_similarity as cosine_similarity,
    pairwise_distance as pairwise_distance,
)

__all__ = [
    "attention",
    "avg_pool",
    "batch_norm",
    "bilinear",
    "conv",
    "cosine_similarity",
    "dropout",
    "einsum_linear",
    "embedding",
    "embedding_bag",
    "flatten",
    "global_avg_pool",
    "layer_norm",
    "linear",
    "lora",
    "lora_merge",
    "lstm",
    "max_pool",
    "maxout",
    "mlp",
    "pairwise_distance",
    "prelu",
    "rrelu",
    "unflatten",
]
