"""Layers, one file a family."""

from nnjax.layers.attention import attention as attention
from nnjax.layers.convolution import (
    conv as conv,
    conv_transpose as conv_transpose,
    depthwise_conv as depthwise_conv,
    masked_conv as masked_conv,
    separable_conv as separable_conv,
)
from nnjax.layers.dropout import dropout as dropout
from nnjax.layers.embedding import embedding as embedding
from nnjax.layers.linear import linear as linear, mlp as mlp
from nnjax.layers.normalization import batch_norm as batch_norm, layer_norm as layer_norm
from nnjax.layers.padding import crop as crop, pad as pad
from nnjax.layers.pooling import (
    avg_pool as avg_pool,
    global_avg_pool as global_avg_pool,
    max_pool as max_pool,
)
from nnjax.layers.recurrent import lstm as lstm
from nnjax.layers.resample import (
    affine_grid as affine_grid,
    channel_shuffle as channel_shuffle,
    fold as fold,
    grid_sample as grid_sample,
    pixel_shuffle as pixel_shuffle,
    pixel_unshuffle as pixel_unshuffle,
    resize as resize,
    unfold as unfold,
    upsample as upsample,
)
from nnjax.layers.shape import flatten as flatten

__all__ = [
    "affine_grid",
    "attention",
    "avg_pool",
    "batch_norm",
    "channel_shuffle",
    "conv",
    "conv_transpose",
    "crop",
    "depthwise_conv",
    "dropout",
    "embedding",
    "flatten",
    "fold",
    "global_avg_pool",
    "grid_sample",
    "layer_norm",
    "linear",
    "lstm",
    "masked_conv",
    "max_pool",
    "mlp",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "resize",
    "separable_conv",
    "unfold",
    "upsample",
]
