"""Layers, one file a family."""

from nnjax.layers.adaptive_softmax import adaptive_log_softmax as adaptive_log_softmax
from nnjax.layers.attention import attention as attention
from nnjax.layers.convolution import conv as conv
from nnjax.layers.dropout import dropout as dropout
from nnjax.layers.embedding import embedding as embedding
from nnjax.layers.linear import linear as linear, mlp as mlp
from nnjax.layers.normalization import batch_norm as batch_norm, layer_norm as layer_norm
from nnjax.layers.pooling import (
    avg_pool as avg_pool,
    global_avg_pool as global_avg_pool,
    max_pool as max_pool,
)
from nnjax.layers.recurrent import lstm as lstm
from nnjax.layers.shape import flatten as flatten

__all__ = [
    "adaptive_log_softmax",
    "attention",
    "avg_pool",
    "batch_norm",
    "conv",
    "dropout",
    "embedding",
    "flatten",
    "global_avg_pool",
    "layer_norm",
    "linear",
    "lstm",
    "max_pool",
    "mlp",
]
