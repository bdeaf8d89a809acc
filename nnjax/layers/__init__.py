"""Layers, one file a family."""

from nnjax.layers.activation import (
    maxout as maxout,
    prelu as prelu,
    rrelu as rrelu,
)
from nnjax.layers.adaptive_pooling import (
    adaptive_avg_pool as adaptive_avg_pool,
    adaptive_max_pool as adaptive_max_pool,
    attention_pool as attention_pool,
    fractional_max_pool as fractional_max_pool,
    gem_pool as gem_pool,
    global_avg_pool as global_avg_pool,
    global_max_pool as global_max_pool,
)
from nnjax.layers.adaptive_softmax import (
    adaptive_log_softmax as adaptive_log_softmax,
)
from nnjax.layers.attention import (
    additive_attention as additive_attention,
    attention as attention,
    attention_sink as attention_sink,
)
from nnjax.layers.cache import (
    cached as cached,
)
from nnjax.layers.capsule import (
    capsule as capsule,
)
from nnjax.layers.conditional import (
    adaln_zero as adaln_zero,
    adaptive_instance_norm as adaptive_instance_norm,
    conditional_norm as conditional_norm,
    film as film,
)
from nnjax.layers.convolution import (
    conv as conv,
    conv_transpose as conv_transpose,
    depthwise_conv as depthwise_conv,
    masked_conv as masked_conv,
    separable_conv as separable_conv,
)
from nnjax.layers.coupling import (
    additive_coupling as additive_coupling,
    affine_coupling as affine_coupling,
    flow as flow,
)
from nnjax.layers.dropout import (
    alpha_dropout as alpha_dropout,
    drop_block as drop_block,
    dropout as dropout,
    gaussian_dropout as gaussian_dropout,
    gaussian_noise as gaussian_noise,
    stochastic_depth as stochastic_depth,
)
from nnjax.layers.embedding import (
    embedding as embedding,
    embedding_bag as embedding_bag,
)
from nnjax.layers.graph import (
    gcn as gcn,
    gin as gin,
    graph_sage as graph_sage,
    message_passing as message_passing,
)
from nnjax.layers.graph_attention import (
    gat as gat,
    gatv2 as gatv2,
)
from nnjax.layers.graph_messages import (
    mpnn as mpnn,
    pna as pna,
)
from nnjax.layers.graph_pooling import (
    deep_sets as deep_sets,
    graph_attention_pool as graph_attention_pool,
    graph_norm as graph_norm,
    graph_pool as graph_pool,
    set_linear as set_linear,
)
from nnjax.layers.graph_top_k import sag_pool as sag_pool, top_k_pool as top_k_pool
from nnjax.layers.hopfield import (
    hopfield as hopfield,
)
from nnjax.layers.kan import (
    kan as kan,
)
from nnjax.layers.linear import (
    bilinear as bilinear,
    einsum_linear as einsum_linear,
    linear as linear,
    mlp as mlp,
)
from nnjax.layers.linear_recurrence import (
    min_gru as min_gru,
    rg_lru as rg_lru,
    s5 as s5,
)
from nnjax.layers.lora import (
    lora as lora,
    lora_merge as lora_merge,
)
from nnjax.layers.mixture import (
    gated_mlp as gated_mlp,
    mixture_of_experts as mixture_of_experts,
)
from nnjax.layers.normalization import (
    batch_norm as batch_norm,
    batch_renorm as batch_renorm,
    group_norm as group_norm,
    instance_norm as instance_norm,
    layer_norm as layer_norm,
    rms_norm as rms_norm,
)
from nnjax.layers.padding import (
    crop as crop,
    pad as pad,
)
from nnjax.layers.pooling import (
    avg_pool as avg_pool,
    blur_pool as blur_pool,
    lp_pool as lp_pool,
    max_pool as max_pool,
    max_unpool as max_unpool,
    min_pool as min_pool,
    sum_pool as sum_pool,
)
from nnjax.layers.positions import (
    alibi as alibi,
    learned_positions as learned_positions,
    rope as rope,
    sinusoidal_positions as sinusoidal_positions,
    t5_bias as t5_bias,
)
from nnjax.layers.quantizer import (
    ema_vector_quantizer as ema_vector_quantizer,
    vector_quantizer as vector_quantizer,
)
from nnjax.layers.rbf import (
    rbf as rbf,
)
from nnjax.layers.recurrent import (
    conv_lstm_cell as conv_lstm_cell,
    elman_cell as elman_cell,
    gru_cell as gru_cell,
    lstm_cell as lstm_cell,
    minimal_gru_cell as minimal_gru_cell,
)
from nnjax.layers.reparametrization import (
    drop_connect as drop_connect,
    reparametrize as reparametrize,
    spectral_norm as spectral_norm,
    weight_norm as weight_norm,
    weight_standardization as weight_standardization,
)
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
from nnjax.layers.response import (
    global_response_norm as global_response_norm,
    local_response_norm as local_response_norm,
    unit_norm as unit_norm,
)
from nnjax.layers.shape import (
    flatten as flatten,
    unflatten as unflatten,
)
from nnjax.layers.transformer import (
    decoder_block as decoder_block,
    encoder_block as encoder_block,
    transformer_block as transformer_block,
)
from nnjax.layers.unroll import (
    bidirectional as bidirectional,
    gru as gru,
    lstm as lstm,
    rnn as rnn,
    scan_time as scan_time,
    stacked as stacked,
)
from nnjax.ops.capsule import (
    squash as squash,
)
from nnjax.ops.distances import (
    cosine_similarity as cosine_similarity,
    pairwise_distance as pairwise_distance,
)
from nnjax.ops.positions import (
    linear_scaling as linear_scaling,
    llama3_scaling as llama3_scaling,
    ntk_scaling as ntk_scaling,
    yarn_scaling as yarn_scaling,
)

__all__ = [
    "adaln_zero",
    "adaptive_avg_pool",
    "adaptive_instance_norm",
    "adaptive_log_softmax",
    "adaptive_max_pool",
    "additive_attention",
    "additive_coupling",
    "affine_coupling",
    "affine_grid",
    "alibi",
    "alpha_dropout",
    "attention",
    "attention_pool",
    "attention_sink",
    "avg_pool",
    "batch_norm",
    "batch_renorm",
    "bidirectional",
    "bilinear",
    "blur_pool",
    "cached",
    "capsule",
    "channel_shuffle",
    "conditional_norm",
    "conv",
    "conv_lstm_cell",
    "conv_transpose",
    "cosine_similarity",
    "crop",
    "decoder_block",
    "deep_sets",
    "depthwise_conv",
    "drop_block",
    "drop_connect",
    "dropout",
    "einsum_linear",
    "elman_cell",
    "ema_vector_quantizer",
    "embedding",
    "embedding_bag",
    "encoder_block",
    "film",
    "flatten",
    "flow",
    "fold",
    "fractional_max_pool",
    "gat",
    "gated_mlp",
    "gatv2",
    "gaussian_dropout",
    "gaussian_noise",
    "gcn",
    "gem_pool",
    "gin",
    "global_avg_pool",
    "global_max_pool",
    "global_response_norm",
    "graph_attention_pool",
    "graph_norm",
    "graph_pool",
    "graph_sage",
    "grid_sample",
    "group_norm",
    "gru",
    "gru_cell",
    "hopfield",
    "instance_norm",
    "kan",
    "layer_norm",
    "learned_positions",
    "linear",
    "linear_scaling",
    "llama3_scaling",
    "local_response_norm",
    "lora",
    "lora_merge",
    "lp_pool",
    "lstm",
    "lstm_cell",
    "masked_conv",
    "max_pool",
    "max_unpool",
    "maxout",
    "message_passing",
    "min_gru",
    "min_pool",
    "minimal_gru_cell",
    "mixture_of_experts",
    "mlp",
    "mpnn",
    "ntk_scaling",
    "pad",
    "pairwise_distance",
    "pixel_shuffle",
    "pixel_unshuffle",
    "pna",
    "prelu",
    "rbf",
    "reparametrize",
    "resize",
    "rg_lru",
    "rms_norm",
    "rnn",
    "rope",
    "rrelu",
    "s5",
    "sag_pool",
    "scan_time",
    "separable_conv",
    "set_linear",
    "sinusoidal_positions",
    "spectral_norm",
    "squash",
    "stacked",
    "stochastic_depth",
    "sum_pool",
    "t5_bias",
    "top_k_pool",
    "transformer_block",
    "unflatten",
    "unfold",
    "unit_norm",
    "upsample",
    "vector_quantizer",
    "weight_norm",
    "weight_standardization",
    "yarn_scaling",
]
