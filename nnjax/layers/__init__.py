"""Layers, one file a family."""

from nnjax.layers.attention import attention as attention
from nnjax.layers.conditional import (
    adaln_zero as adaln_zero,
    adaptive_instance_norm as adaptive_instance_norm,
    conditional_norm as conditional_norm,
    film as film,
)
from nnjax.layers.convolution import conv as conv
from nnjax.layers.dropout import (
    alpha_dropout as alpha_dropout,
    drop_block as drop_block,
    dropout as dropout,
    gaussian_dropout as gaussian_dropout,
    gaussian_noise as gaussian_noise,
    stochastic_depth as stochastic_depth,
)
from nnjax.layers.embedding import embedding as embedding
from nnjax.layers.linear import linear as linear, mlp as mlp
from nnjax.layers.normalization import (
    batch_norm as batch_norm,
    batch_renorm as batch_renorm,
    group_norm as group_norm,
    instance_norm as instance_norm,
    layer_norm as layer_norm,
    rms_norm as rms_norm,
)
from nnjax.layers.pooling import (
    avg_pool as avg_pool,
    global_avg_pool as global_avg_pool,
    max_pool as max_pool,
)
from nnjax.layers.recurrent import lstm as lstm
from nnjax.layers.reparametrization import (
    drop_connect as drop_connect,
    reparametrize as reparametrize,
    spectral_norm as spectral_norm,
    weight_norm as weight_norm,
    weight_standardization as weight_standardization,
)
from nnjax.layers.response import (
    global_response_norm as global_response_norm,
    local_response_norm as local_response_norm,
    unit_norm as unit_norm,
)
from nnjax.layers.shape import flatten as flatten

__all__ = [
    "adaln_zero",
    "adaptive_instance_norm",
    "alpha_dropout",
    "attention",
    "avg_pool",
    "batch_norm",
    "batch_renorm",
    "conditional_norm",
    "conv",
    "drop_block",
    "drop_connect",
    "dropout",
    "embedding",
    "film",
    "flatten",
    "gaussian_dropout",
    "gaussian_noise",
    "global_avg_pool",
    "global_response_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "linear",
    "local_response_norm",
    "lstm",
    "max_pool",
    "mlp",
    "reparametrize",
    "rms_norm",
    "spectral_norm",
    "stochastic_depth",
    "unit_norm",
    "weight_norm",
    "weight_standardization",
]
