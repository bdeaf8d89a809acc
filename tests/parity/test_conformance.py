"""Every module of torch.nn beside our layer, on some of PyTorch's own samples; and none forgotten.

All samples, and the page: ``python -m benchmarks.conformance --write``.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs `pip install torch==2.13.0`")
pytest.importorskip("expecttest", reason="needs `pip install -e '.[parity]'`")

from benchmarks.conformance import adapters as adapters, torch_samples  # noqa: E402
from benchmarks.conformance.run import row  # noqa: E402
from benchmarks.conformance.twin import ADAPTERS, REASONS  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]  # PyTorch's own warnings


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def test_no_module_is_forgotten():
    known = set(ADAPTERS) | set(REASONS)
    assert set(torch_samples.every_module()) <= known
    assert not set(ADAPTERS) & set(REASONS)


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_module(name):
    if name not in torch_samples.every_module():
        pytest.skip(f"this PyTorch has no torch.nn.{name}")
    found = row(name, limit=1)
    assert not found.failures, found.failures
    assert found.samples or found.reasons
