"""Layers, one file a family."""

from nnjax.layers.attention import (
    additive_attention as additive_attention,
    attention as attention,
    attention_sink as attention_sink,
)
from nnjax.layers.cache import cached as cached
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
from nnjax.layers.positions import (
    alibi as alibi,
    learned_positions as learned_positions,
    rope as rope,
    sinusoidal_positions as sinusoidal_positions,
    t5_bias as t5_bias,
)
from nnjax.layers.recurrent import lstm as lstm
from nnjax.layers.shape import flatten as flatten
from nnjax.layers.transformer import (
    decoder_block as decoder_block,
    encoder_block as encoder_block,
    transformer_block as transformer_block,
)
from nnjax.ops.positions import (
    linear_scaling as linear_scaling,
    llama3_scaling as llama3_scaling,
    ntk_scaling as ntk_scaling,
    yarn_scaling as yarn_scaling,
)

__all__ = [
    "additive_attention",
    "alibi",
    "attention",
    "attention_sink",
    "avg_pool",
    "batch_norm",
    "cached",
    "conv",
    "decoder_block",
    "dropout",
    "embedding",
    "encoder_block",
    "flatten",
    "global_avg_pool",
    "layer_norm",
    "learned_positions",
    "linear",
    "linear_scaling",
    "llama3_scaling",
    "lstm",
    "max_pool",
    "mlp",
    "ntk_scaling",
    "rope",
    "sinusoidal_positions",
    "t5_bias",
    "transformer_block",
    "yarn_scaling",
]
