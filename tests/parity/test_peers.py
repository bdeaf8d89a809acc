"""Our layers beside Flax NNX's, Equinox's and Keras 3's: outputs and all gradients in float32.

The peers are no part of the default install, nor are these tests of the default run::

    pip install -e '.[parity]' torch
    pytest -m parity tests/parity/test_peers.py
"""

import dataclasses
import importlib

import jax
import pytest

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]  # the peers' own warnings


def peers():
    pytest.importorskip("torch", reason="needs `pip install torch`")
    return importlib.import_module("benchmarks.conformance.peers")


def pytest_generate_tests(metafunc):
    """A test a layer and peer; the quick suite leaves them out, and need not import the peers."""
    if "place" in metafunc.fixturenames:
        quick = metafunc.config.getoption("markexpr").startswith("not ")
        metafunc.parametrize("place", [] if quick else sorted(peers().PAIRS), ids="-".join)


@pytest.fixture(autouse=True)
def their_promotion():
    with jax.numpy_dtype_promotion("standard"):  # the peers promote; ours is tested without
        yield


def test_same_outputs_and_gradients(place):
    cell = peers().cell(*place)
    assert cell.configurations > 0 and not cell.failures, cell.failures


@pytest.mark.parametrize(
    "name, fault",
    [
        ("lost bias", lambda p: p | {"bias": 0 * p["bias"]}),
        ("stopped gradient", jax.lax.stop_gradient),
        ("another kernel", lambda p: p | {"kernel": p["kernel"] * 1.001}),
    ],
)
def test_a_fault_is_seen(name, fault):
    pytest.importorskip("flax", reason="needs `pip install flax`")
    for layer in ("linear", "conv"):
        pair = peers().PAIRS[layer, "flax"]()[0]
        ours = lambda p, *inputs, pair=pair: pair.ours(fault(p), *inputs)
        assert peers().measure(dataclasses.replace(pair, ours=ours)).worst() > 1e-4, name
