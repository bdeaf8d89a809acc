"""The examples run and reach the figures that they state."""

import json
import os
import runpy
from pathlib import Path
from typing import Any

import jax
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def as_a_reader_has_it():
    with jax.numpy_dtype_promotion("standard"):  # optax is not strict
        yield


def test_plain_loop():
    accuracy = runpy.run_path(str(EXAMPLES / "plain_loop.py"))["main"]()
    assert 0.96 <= accuracy <= 1


def test_first_networks():
    networks = runpy.run_path(str(EXAMPLES / "first_networks.py"))
    assert networks["one_neuron"]() == 1
    assert networks["xor"]() == 1
    assert networks["classifier"]() > 0.99
    for hidden in ((8,), (32, 16, 8)):
        sizes = (20, *hidden, 3)
        expected = sum((a + 1) * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        count, loss = networks["any_mlp"](*hidden)
        assert count == expected and loss < 0.5
    assert networks["regression"]() < 0.01
    assert networks["backward_by_hand"]() < 1e-6


@pytest.mark.slow
def test_graph_network(monkeypatch):
    shared = EXAMPLES.parents[1] / "shared" / "data"  # beside a developer's checkout
    if not os.environ.get("NNJAX_DATA"):
        monkeypatch.setenv("NNJAX_DATA", str(shared))
    if not Path(os.environ["NNJAX_DATA"], "cora").is_dir():
        pytest.skip("Cora is not there")
    accuracy = runpy.run_path(str(EXAMPLES / "graph_network.py"))["main"]()
    assert 0.80 <= accuracy <= 0.84  # Kipf and Welling: 0.815


@pytest.mark.slow
def test_benchmark_notebook(monkeypatch, tmp_path):
    """benchmark_tpu_gpu.ipynb, cell by cell, on one tiny workload."""
    notebook = json.loads((EXAMPLES / "notebooks" / "benchmark_tpu_gpu.ipynb").read_text())
    sides = ["hand-written", "nnjax", "ceiling"]
    small = {"WORKLOADS": ["mlp"], "PEERS": sides, "ROUNDS": 1, "INSTALL": False}
    monkeypatch.chdir(EXAMPLES / "notebooks")
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        if "parameters" in cell["metadata"].get("tags", ()):
            names |= small
        if "here" in names:
            names["here"] = tmp_path  # where the results go
    rows = json.loads((tmp_path / "benchmarks-smoke.json").read_text())["rows"]
    assert [row["peer"] for row in rows] == sides
    assert (tmp_path / "benchmarks-smoke.png").stat().st_size > 10_000


def test_every_example_is_tested():
    tested = Path(__file__).read_text()
    found = [*EXAMPLES.glob("*.py"), *EXAMPLES.rglob("*.ipynb")]
    assert len(found) > 3 and all(script.name in tested for script in found)
