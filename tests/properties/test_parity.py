"""Random configurations against PyTorch in float32: outputs, gradients of parameters and inputs."""

from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

torch: Any = pytest.importorskip("torch", reason="needs `pip install torch==2.13.0`")

from tests.parity.test_torch import check  # noqa: E402  # it imports torch
from tests.properties import (  # noqa: E402
    attention,
    convolution,
    functions,
    linear,
    losses,
    normalization,
    peers,
    peers_of_functions,
    peers_of_sequences,
    pooling,
    recurrent,
    resample,
)

pytestmark = [
    pytest.mark.parity,
    # beartype looks at a random entry of each sequence that it checks
    pytest.mark.filterwarnings("ignore:Do not use the .random. module"),
]

PEERS = {
    # random cases and their peer, how many examples, and the tolerance where it is not 1e-6
    "linear": (linear.linear() | linear.einsum_linear() | linear.bilinear(), peers.linear),
    "embedding": (linear.embedding(), peers.embedding),
    "embedding_bag": (linear.embedding_bag(), peers.embedding_bag),
    "conv": (convolution.conv() | convolution.depthwise(), peers.conv),
    "conv_transpose": (convolution.conv_transpose(), peers.conv_transpose),
    "pool": (pooling.pool(), peers.pool),
    "unpool": (pooling.unpool(), peers.unpool),
    "adaptive_pool": (pooling.adaptive(), peers.adaptive),
    "norm": (
        normalization.over_features() | normalization.group() | normalization.response(),
        peers.norm,
    ),
    "running_norm": (normalization.instance() | normalization.batch(), peers.running_norm),
    "recurrent": (recurrent.network(), peers_of_sequences.recurrent),
    "attention": (attention.attention(plain=True), peers_of_sequences.attention),
    "resample": (
        resample.resize() | resample.upsample() | resample.grid_sample() | resample.affine_grid(),
        peers.resample,
    ),
    "rearrange": (
        resample.shuffle() | resample.channel_shuffle() | resample.borders() | resample.folds(),
        peers.rearrange,
    ),
    "activation": (functions.activation(), peers_of_functions.activation),
    "loss": (functions.loss(), peers_of_functions.loss),
    "loss of embeddings": (
        losses.embeddings(("triplet_margin_loss", *losses.PAIRS)),
        peers_of_functions.loss,
    ),
    "loss of sequences": (losses.ctc(), peers_of_functions.loss),
}
POSITIVE = {"lp_pool"}  # PyTorch raises x and not |x| to a power


@pytest.mark.parametrize("name", list(PEERS))
@settings(max_examples=15)
@given(st.data())
def test_agrees_with_pytorch(name, data):
    cases, peer = PEERS[name]
    case = data.draw(cases)
    hypothesis.assume(all(x.size for x in case.inputs))
    theirs, params = peer(case)
    inputs = case.inputs
    if case.settings.get("kind") in POSITIVE:
        inputs = tuple(np.abs(x) for x in inputs)
    if case.settings.get("kind") in peers_of_functions.CONSTANT:
        inputs = inputs[0], inputs[1].astype(int)
    named = jax.tree.map(jnp.asarray, case.named)
    _, state = case.layer.init(jax.random.key(0))

    def ours(params, *inputs):
        y = case.layer(params, *inputs, state=state, train=case.train, **named)
        return y[0] if case.settings.get("return_indices") else y

    # sums of up to a thousand terms, in another order on either side
    check(ours, theirs, *inputs, params=params, atol=5e-6)
