"""The benchmarks at small size: both sides are compared, then timed; a difference stops them."""

import json
import math
import sys

import jax
import numpy as np
import pytest

from benchmarks import clock, compile as compile_, dispatch, import_time, memory, pages, startup


@pytest.fixture(autouse=True)
def as_users_run_them():
    with jax.numpy_dtype_promotion("standard"):  # optax.adam mixes integers and floats
        yield


@pytest.fixture
def compared(monkeypatch):
    """What a benchmark has compared."""
    check, seen = clock.check_same, []

    def watch(what, ours, theirs):
        check(what, ours, theirs)
        seen.append(what)

    monkeypatch.setattr(clock, "check_same", watch)
    return seen


def check(rows, file, peers):
    assert {row.side: set(row.ratios) for row in rows} == peers
    for row in rows:
        figures = (row.median, row.p10, row.p90, *row.parts.values(), *row.ratios.values())
        assert all(math.isfinite(figure) and figure > 0 for figure in figures)
    stored = json.loads(file.read_text())
    assert [row["side"] for row in stored["rows"]] == list(peers)
    assert {"date", "commit", "device", "jax", "dtype"} < set(stored)


def test_dispatch(tmp_path, compared):
    file = tmp_path / "rows.json"
    rows = dispatch.main(leaves=(12,), rounds=1, json=file)
    kinds = ("hand-written", "no count, no key", "nnjax", "nnjax, packed", "nnjax, 32 a call")
    theirs, fewer, *ours = (f"{kind}, 12 leaves" for kind in kinds)
    check(rows, file, {theirs: set(), fewer: set(), **{name: {theirs} for name in ours}})
    assert compared == ["losses", "parameters", "packed"]


def test_pages(capsys):
    pages.main(workloads=("mlp",), sides=("nnjax",), rounds=1, smoke=True)
    *_, line = capsys.readouterr().out.splitlines()
    name, side, *figures = [cell.strip() for cell in line.strip("|").split("|")]
    assert (name, side) == ("mlp", "nnjax") and all(float(figure) > 0 for figure in figures)


@pytest.mark.slow
def test_compile(tmp_path, compared):
    file = tmp_path / "rows.json"
    rows = compile_.main(depths=(1, 2), dim=8, remats=(False,), rounds=1, json=file)
    hand, ours = (
        [f"{side}, {depth} blocks" for depth in (1, 2)] for side in ("hand-written", "nnjax")
    )
    peers = {hand[0]: set(), ours[0]: {hand[0]}, hand[1]: set(), ours[1]: {hand[1], ours[0]}}
    check(rows, file, peers)
    assert compared == ["loss and gradients"] * 2


@pytest.mark.slow
def test_startup(tmp_path, compared):
    file = tmp_path / "rows.json"
    rows = startup.main(sizes=(6, 5, 4), rounds=1, json=file)
    peers = {"hand-written": set(), "hand-written, jitted init": set(), "nnjax": {"hand-written"}}
    check(rows, file, peers)
    assert compared == [f"loss and weights of {side}" for side in peers]


def test_import_time(tmp_path, capsys):
    file = tmp_path / "rows.json"
    rows = import_time.main(rounds=1, json=file)
    imports = ("import jax", "import jax, nnjax", "import jax, optax")
    check(rows, file, {line: set() for line in imports})
    assert "import nnjax adds" in capsys.readouterr().out


def test_memory(monkeypatch, capsys):
    sizes = ["--length", "1024", "--vocabulary", "5000", "--tokens", "2048", "--dim", "64"]
    monkeypatch.setattr(sys, "argv", ["memory", *sizes])
    for found in memory.main().values():
        plain, chunked = found.values()
        assert chunked < plain
    assert "ratio" in capsys.readouterr().out


def test_race_takes_turns_and_compares_within_a_round():
    order = []

    def side(name, times):
        def run():
            order.append(name)
            return {"work": next(times), "rest": 1.0}

        return run

    # the first is the warm-up; the last round is slow for both
    sides = {
        "a": side("a", iter([50.0, 1.0, 1.0, 9.0])),
        "b": side("b", iter([1.0, 3.0, 3.0, 29.0])),
    }
    a, b = clock.race(sides, 3, {"b": {"a": 2.0}})
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert (a.median, b.median, b.parts, b.ratios) == (
        2.0,
        4.0,
        {"work": 3.0, "rest": 1.0},
        {"a": 2.0},
    )


def test_a_difference_is_refused():
    one = {"w": np.ones(3)}
    clock.check_same("weights", one, [np.ones(3)])
    with pytest.raises(AssertionError, match="weights differ"):
        clock.check_same("weights", one, [np.array([1, 1, 1.001])])
    with pytest.raises(AssertionError, match="weights: got 1 arrays and 0"):
        clock.check_same("weights", one, [])
