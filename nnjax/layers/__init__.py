"""Layers, one file a family."""

from nnjax.layers.attention import attention as attention
from nnjax.layers.convolution import conv as conv
from nnjax.layers.dropout import dropout as dropout
from nnjax.layers.embedding import embedding as embedding
from nnjax.layers.linear import linear as linear, mlp as mlp
from nnjax.layers.linear_recurrence import min_gru as min_gru, rg_lru as rg_lru, s5 as s5
from nnjax.layers.normalization import batch_norm as batch_norm, layer_norm as layer_norm
from nnjax.layers.pooling import (
    avg_pool as avg_pool,
    global_avg_pool as global_avg_pool,
    max_pool as max_pool,
)
from nnjax.layers.recurrent import (
    conv_lstm_cell as conv_lstm_cell,
    elman_cell as elman_cell,
    gru_cell as gru_cell,
    lstm_cell as lstm_cell,
    minimal_gru_cell as minimal_gru_cell,
)
from nnjax.layers.shape import flatten as flatten
from nnjax.layers.unroll import (
    bidirectional as bidirectional,
    gru as gru,
    lstm as lstm,
    rnn as rnn,
    scan_time as scan_time,
    stacked as stacked,
)

__all__ = [
    "attention",
    "avg_pool",
    "batch_norm",
    "bidirectional",
    "conv",
    "conv_lstm_cell",
    "dropout",
    "elman_cell",
    "embedding",
    "flatten",
    "global_avg_pool",
    "gru",
    "gru_cell",
    "layer_norm",
    "linear",
    "lstm",
    "lstm_cell",
    "max_pool",
    "min_gru",
    "minimal_gru_cell",
    "mlp",
    "rg_lru",
    "rnn",
    "s5",
    "scan_time",
    "stacked",
]
