"""The contract: every layer of the catalogue under every law, and its mistakes by name."""

import jax
import optax
import pytest

import nnjax as nn
from tests.catalogue import CASES, public_layers
from tests.catalogue.case import Case

# Their laws take over 5 s on one core: `pytest -m slow` has them.
SLOW = {
    *("transformer_block", "encoder_block", "decoder_block", "cached", "attention_sink"),
    *("mixture_of_experts", "capsule", "hopfield", "kan", "adaln_zero", "grid_sample"),
    *("gat", "gatv2", "mpnn", "graph_attention_pool", "affine_grid", "pna"),
    *("stacked", "bidirectional", "scan_time", "s5", "rg_lru", "min_gru", "additive_attention"),
    *("gcn", "gin", "ema_vector_quantizer", "vector_quantizer", "adaptive_log_softmax", "flow"),
    *("affine_coupling", "group_norm", "instance_norm", "conditional_norm", "fold", "gem_pool"),
    *("attention_pool", "weight_standardization", "ensemble"),
}


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def case(request) -> Case:
    return request.param


def test_the_catalogue_is_complete():
    assert set(CASES) == public_layers() and set(CASES) > SLOW


def with_marks(name):
    return pytest.param(CASES[name], marks=[pytest.mark.slow] if name in SLOW else [], id=name)


@pytest.mark.parametrize("case", [with_marks(name) for name in CASES])
def test_laws(case):
    nn.testing.check_layer(case.layer, *case.inputs, named=case.named, batch_axis=case.batch_axis)


def test_init_runs_no_forward_pass(case):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Layer, "apply", None)
        case.layer.init(jax.random.key(0))


def test_mistakes_are_named(case):
    assert case.wrong
    for mistake, (make, message) in case.wrong.items():
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            make()
        assert type(caught.value).__module__.startswith("nnjax"), mistake


def test_optax_takes_params_as_they_are(case):
    params, _ = case.layer.init(jax.random.key(0))
    if params:
        optimizer = optax.adam(1e-3)
        with jax.numpy_dtype_promotion("standard"):  # optax itself is not strict
            updates, _ = optimizer.update(params, optimizer.init(params), params)
        after = optax.apply_updates(params, updates)
        spec = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
        assert spec(after) == spec(params)
