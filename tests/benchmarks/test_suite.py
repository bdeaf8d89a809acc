"""The benchmark suite: sides that differ are left out, reports say what was measured."""

import collections
import dataclasses
import importlib.util
import json
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from benchmarks import __main__ as commands, clock
from benchmarks.suite import (
    ahead,
    count,
    first,
    golden,
    peers,
    profile,
    report,
    run,
    worker,
    workloads,
)
from benchmarks.suite.peers import hand_written, nnjax
from benchmarks.suite.workloads import WORKLOADS
from nnjax.native import convolution as native


@pytest.fixture(autouse=True)
def as_users_run_them():
    with jax.numpy_dtype_promotion("standard"):
        yield


def made(module, name, way=""):
    workload = WORKLOADS[name]
    weights = workloads.weights(nnjax.shapes(workload.network, workload.smoke))
    batch = workloads.batch(workload, workload.smoke)
    return module.side(workload.network, way, weights, batch, workload.smoke, clock.Laps())


@pytest.mark.parametrize(
    "name, way",
    [
        *((name, "") for name in ("mlp", "lstm", "gcn")),
        *(pytest.param(name, "", marks=pytest.mark.slow) for name in ("vit", "resnet50")),
        ("cnn", "packed"),
    ],
)
def test_both_sides_are_one_network(name, way):
    ours, theirs = made(nnjax, name, way), made(hand_written, name)
    np.testing.assert_allclose(ours.outputs(), theirs.outputs(), rtol=1e-5, atol=1e-6)
    assert ours.train and ours.loss_and_gradients and theirs.loss_and_gradients
    (loss, grads), (their_loss, their_grads) = (
        ours.loss_and_gradients(),
        theirs.loss_and_gradients(),
    )
    assert loss == pytest.approx(their_loss, rel=1e-6) and set(grads) == set(their_grads)
    for path, grad in grads.items():
        np.testing.assert_allclose(grad, their_grads[path], rtol=1e-4, atol=1e-6, err_msg=path)
    before = float(ours.train())
    assert float(ours.train()) < before  # a step has been taken, on the weights of the last


def test_a_loop_of_steps_trains_as_far_and_is_timed_by_the_step(monkeypatch):
    monkeypatch.setattr(nnjax, "WINDOW", 3)
    loop, one = made(nnjax, "mlp", "loop"), made(nnjax, "mlp")
    assert loop.train and one.train and (loop.steps, one.steps) == (3, 1)
    losses = [float(one.train()) for _ in range(3)]
    np.testing.assert_allclose(float(loop.train()), losses[-1], rtol=1e-5)
    calls = []
    loop.train = lambda: calls.append(time.sleep(0.03))
    found = worker.timed(loop, "train", 6)
    assert len(calls) == 2 and 0.01 <= found["step"] < 0.03


def test_decoding_writes_the_same_tokens():
    ours, theirs = made(nnjax, "decode"), made(hand_written, "decode")
    assert ours.train is None and ours.loss_and_gradients is None
    (logits, tokens), (their_logits, their_tokens) = ours.outputs(), theirs.outputs()
    np.testing.assert_allclose(logits, their_logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(tokens, their_tokens)
    sizes = WORKLOADS["decode"].smoke
    assert tokens.shape == (sizes["batch"], sizes["length"] - sizes["prompt"])


def test_inputs_are_stored_by_number():
    parts = np.zeros((2, 3)), np.arange(4)
    for value in (parts, parts[0]):
        kept = {"labels": parts[1], **workloads.numbered("inputs", value)}
        jax.tree.map(np.testing.assert_array_equal, workloads.unnumbered("inputs", kept), value)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda arrays: arrays | {"loss": arrays["loss"] + 1}, "loss differs by"),
        (lambda arrays: {"outputs": arrays["outputs"]}, "arrays that only one side has: loss"),
        (lambda arrays: arrays | {"outputs": arrays["outputs"][:1]}, "got shape"),
        (lambda arrays: arrays | {"outputs": arrays["outputs"] * np.nan}, "outputs differs by nan"),
    ],
)
def test_a_side_that_differs_is_refused(tmp_path, change, message):
    arrays = {"outputs": np.arange(6.0).reshape(2, 3), "loss": np.float32(2.0)}
    np.savez(tmp_path / "hand-written.npz", **arrays)
    np.savez(tmp_path / "linen.npz", **arrays)
    run.compare("linen", tmp_path)
    np.savez(tmp_path / "linen.npz", **change(arrays))
    with pytest.raises(run.SideError, match=message):
        run.compare("linen", tmp_path)


def test_a_race_in_processes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "host", lambda *args: run.Process)
    file = tmp_path / "rows.json"
    commands.run(
        "smoke", workloads=["mlp"], peers=["hand-written", "nnjax", "ceiling"], rounds=2, out=file
    )
    stored = json.loads(file.read_text())
    assert [row["peer"] for row in stored["rows"]] == ["hand-written", "nnjax", "ceiling"]
    for row in stored["rows"]:
        times = row["train"] + row["infer"] + row["call"]
        assert all(t > 0 for t in times) and row["train"] == sorted(row["train"])
        assert row["memory"]["peak"] > 0 and row["parts"]["import"] > 0
    assert stored["rows"][0]["ratios"]["hand-written"] == 1 and stored["rows"][1]["rate"] > 0
    assert not stored["left_out"] and "of hand-written" in capsys.readouterr().out


def test_what_shares_a_process():
    assert run.host("nnjax", "tpu", False) is run.host("torch", "cpu", True) is run.Here
    assert run.host("nnjax", "gpu", False) is run.host("nnjax devices", "cpu", True) is run.Process


def test_a_race_in_one_process(monkeypatch):
    names = ["hand-written", "nnjax", "torch", "ceiling"]
    monkeypatch.setattr(peers, "missing", lambda peer: "none" if peer == "torch" else None)
    monkeypatch.setattr(worker, "check_backend", refuse_ceiling)
    rows, left_out = run.race("mlp", names, backend="cpu", smoke=True, rounds=2)
    assert [row.peer for row in rows] == ["hand-written", "nnjax"]
    assert all(row.train[0] > 0 for row in rows) and rows[1].ratios["hand-written"] > 0
    assert left_out == {"torch": "none", "ceiling": "ceiling ended: SystemExit: ceiling: no"}


def refuse_ceiling(wanted, module):
    if module == "ceiling":
        raise SystemExit("ceiling: no")


def test_another_backend_is_refused():
    code = "from benchmarks.suite.worker import check_backend; check_backend('gpu', 'linen')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=clock.ROOT
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "linen: got the backend cpu, asked for gpu."


@pytest.mark.parametrize("option", ["workloads", "peers"])
def test_unknown_names_are_told(option):
    given = {"workloads": (), "peers": (), option: ["pytorch"]}
    with pytest.raises(SystemExit, match=f"unknown {option[:-1]} pytorch; there are"):
        commands.run("smoke", **given)


def test_a_suite_runs_its_own_workloads_and_those_named(monkeypatch, tmp_path):
    ran = []

    def race(name, *_, **__):
        ran.append(name)
        return [row("nnjax", 1.0, name)], {}

    monkeypatch.setattr(commands, "race", race)
    commands.run("cpu", out=tmp_path / "rows.json")
    assert {"gpt", "vit"} <= set(ran) and not {"gpt2", "resnet50"} & set(ran)
    commands.run("cpu", workloads=["resnet50"], out=tmp_path / "rows.json")
    assert ran[-1] == "resnet50"


def test_a_network_that_a_peer_lacks_leaves_it_out():
    pytest.importorskip("blox")
    rows, left_out = run.race("vit", ["blox", "ceiling"], backend="cpu", smoke=True, rounds=1)
    assert [r.peer for r in rows] == ["ceiling"]
    assert left_out == {"blox": "blox ended: ValueError: vit: not written for blox"}


def test_a_way_for_some_workloads_stays_out_of_the_others():
    assert peers.meant_for("mlp", ["nnjax", "nnjax packed"]) == ["nnjax"]
    assert peers.meant_for("dispatch", ["nnjax", "nnjax packed"]) == ["nnjax", "nnjax packed"]


def test_every_peer_has_a_file():
    for peer in peers.PEERS.values():
        assert importlib.util.find_spec(f"benchmarks.suite.peers.{peer.module}"), peer


@pytest.mark.parametrize(("name", "layer"), [("lstm", "lstm"), ("decode", "block")])
def test_a_profile_accounts_for_the_step(name, layer, tmp_path):
    found = profile.profile(name, smoke=True)
    assert sum(found["kinds"].values()) == pytest.approx(1) and found["kinds"]["products"] > 0
    assert any(layer in place for place, _ in found["places"]) and found["step"] > 0
    page, file = tmp_path / "benchmarks.md", tmp_path / "profile.json"
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    file.write_text(json.dumps({**clock.header(), "profile": {name: found}}))
    report.write([file], page)
    assert f"| {name}" in page.read_text() and "Where our time goes" in page.read_text()


def test_a_first_step_with_and_without_a_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(first, "CASES", {"small": ("mlp", WORKLOADS["mlp"].smoke)})
    monkeypatch.setattr(peers, "missing", {"nnjax": None, "linen": "flax is not there"}.get)
    found, left_out = first.race("small", ["nnjax", "linen"], rounds=2)
    assert left_out == {"linen": "flax is not there"}
    cold, cached = found["nnjax"]["cold"], found["nnjax"]["cached"]
    assert len(cold) == len(cached) == 2 and cold[0].keys() >= {"import", "trace", "first step"}
    quickest = lambda runs: min(parts["compile"] for parts in runs)
    assert quickest(cached) < 0.7 * quickest(cold)  # it has been compiled before
    page, file = tmp_path / "benchmarks.md", tmp_path / "first.json"
    page.write_text(f"{report.BEGIN}\n{report.END}\n")
    kept = {**clock.header(), "first": {"small": found}, "left_out": {"small, linen": "no"}}
    file.write_text(json.dumps(kept))
    report.write([file], page)
    assert "| nnjax" in page.read_text() and "- small, linen: no" in page.read_text()


def test_own_times_leave_out_what_is_enclosed():
    event = collections.namedtuple("Event", "name start_ns duration_ns")
    line = [event("while", 0, 10e9), event("dot", 1e9, 3e9), event("dot", 5e9, 2e9)]
    line += [event("add", 11e9, 1e9), event("malloc", 2e9, 1e9)]
    lines = lambda *events: collections.namedtuple("Line", "events")(events)
    plane = collections.namedtuple("Plane", "lines")([lines(*line), lines(event("add", 0, 4e9))])
    trace = collections.namedtuple("Trace", "planes")([plane])
    times = profile.own_times(trace, {"while", "dot", "add"})
    assert times == {"while": 5, "dot": 5, "add": 5}


def row(peer, ratio, workload="mlp"):
    memory = {"peak": 2**30, "temporaries": None}
    parts = {"import": 1.0, "init": 0.5, "first step": 2.0}
    times = [0.001 * ratio, 0.002 * ratio, 0.003 * ratio]
    others = {"hand-written": 1.0, "haiku": 0.8, "torch": 2.0}
    ratios = {other: ratio / theirs for other, theirs in others.items()}
    return run.Row(workload, peer, times, times, times, ratios, parts, memory, 0.4, 6e4, 3)


def test_table_without_training():
    rows = [row("hand-written", 1.0, "decode"), row("nnjax", 0.5, "decode")]
    rows = [dataclasses.replace(r, train=[]) for r in rows]
    first = report.table(rows).splitlines()[2]
    cells = [cell.strip() for cell in first.split("|")]
    assert cells[1:5] == ["nnjax", "", "0.5–1.5", "0.50"] and cells[8] == "1"


def test_a_network_that_a_peer_lacks_is_told():
    pytest.importorskip("blox")
    with pytest.raises(ValueError, match="gcn: not written for blox"):
        peers.check("blox", "gcn")


def test_table_and_page(tmp_path):
    rows = [row("hand-written", 1.0), row("nnjax", 0.5), row("ceiling", 0.25)]
    lines = report.table(rows).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "ceiling",
        "nnjax",
        "hand-written",
    ]
    cells = [cell.strip() for cell in lines[3].split("|")]
    assert cells[2:8] == ["1", "0.5–1.5", "0.50", "60,000", "400.0", "50%"]

    page, file = tmp_path / "benchmarks.md", tmp_path / "cpu.json"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    results = {
        "suite": "cpu",
        "rows": [dataclasses.asdict(r) for r in rows],
        "left_out": {"a": "b"},
    }
    file.write_text(json.dumps(results))
    commands.report([file], page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "- a: b" in text and (tmp_path / "images" / "benchmarks_cpu.svg").exists()
    page.write_text("no marks")
    with pytest.raises(ValueError, match="got no marks"):
        report.write([file], page)


def test_compare_two_runs(tmp_path, capsys):
    files = {}
    for name, ratio in {"old": 0.5, "same": 0.52, "slow": 0.7}.items():
        rows = [
            dataclasses.asdict(row("hand-written", 1.0)),
            dataclasses.asdict(row("nnjax", ratio)),
        ]
        files[name] = tmp_path / f"{name}.json"
        files[name].write_text(json.dumps({"suite": "cpu", "rows": rows}))
    commands.compare(files["old"], files["same"])
    assert "mlp, nnjax: 0.500 -> 0.520 (1.04)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="slower: mlp"):
        commands.compare(files["old"], files["slow"])


def test_products_are_counted():
    a, b = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
    assert count.products(lambda a, b: a @ b, a, b) == 2 * 3 * 4 * 5

    def loop(a, w):
        return jax.lax.scan(lambda h, _: (h @ w, None), a, None, length=7)[0]

    assert count.products(loop, a, np.ones((4, 4), np.float32)) == 7 * 2 * 3 * 4 * 4
    x, kernel = np.ones((2, 8, 8, 3), np.float32), np.ones((3, 3, 3, 5), np.float32)
    conv = lambda x, k: jax.lax.conv_general_dilated(
        x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    once = 2 * (2 * 8 * 8 * 5) * (3 * 3 * 3)
    assert count.products(conv, x, kernel) == once
    in_c = lambda x, k: native.conv(  # traced, not run
        x, k, stride=(1, 1), pads=((1, 1), (1, 1)), dilation=(1, 1)
    )
    assert count.products(in_c, x, kernel) == once
    by_both = jax.grad(lambda x, k: in_c(x, k).sum(), (0, 1))
    assert count.products(by_both, x, kernel) == 2 * once
    assert count.primitives(loop, a, np.ones((4, 4), np.float32))["dot_general"] == 7


def test_golden_figures_tell_what_has_grown():
    before = {"jaxlib": "1", "workloads": {"mlp": {"gflop": 1.0, "temporaries": 1000}}}
    now = lambda jaxlib, **figures: {"jaxlib": jaxlib, "workloads": {"mlp": figures}}
    assert golden.grown(now("1", gflop=1.0, temporaries=1010), before) == []
    assert golden.grown(now("2", gflop=1.0, temporaries=2000), before) == []
    assert golden.grown(now("1", gflop=0.9, temporaries=2000), before) == [
        "mlp, temporaries: 1000 -> 2000"
    ]
    assert golden.grown(now("2", gflop=1.5), before) == ["mlp, gflop: 1.0 -> 1.5"]
    assert golden.grown(now("1", draws=1), before) == ["mlp, draws: 1, not stored yet"]


def test_golden_counts_of_the_mlp():
    stored = json.loads(golden.FILE.read_text())["workloads"]
    assert set(stored) == {name for name, workload in WORKLOADS.items() if workload.loss}
    figures = golden.count("mlp")
    same = ("gflop", "equations", "random_draws", "compilations", "collectives")
    assert {k: figures[k] for k in same} == {k: stored["mlp"][k] for k in same}


def test_targets_are_compared_with_the_best_of_each_kind():
    rows = [row("hand-written", 1.0), row("nnjax", 0.9), row("linen", 1.2), row("haiku", 0.8)]
    rows += [row("torch", 2.0), row("ceiling", 0.1), row("nnjax devices", 1.5)]
    rows += [row("nnjax packed", 0.1)]  # of another target
    (line,) = report.targets(rows).splitlines()[2:]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        "mlp",
        "nnjax",
        "0.90, aim 1: met",
        "1.12 (haiku), aim 1: **missed**",
        "0.45 (torch), aim 0.8: met",
    ]


def test_what_is_only_compiled_has_a_table():
    text = """
%body.1 (param: (s32[], f32[2])) -> (s32[], f32[2]) {
  %b = f32[2]{0} fusion(), metadata={op_name="jit(step)/transpose(jvp(lstm))/while/body/dot"}, \
backend_config={"estimated_cycles":"30"}
}
%condition.1 (param: (s32[], f32[2])) -> pred[] {
  %bound = s32[] constant(10)
  ROOT %c = pred[] compare(%i, %bound), direction=LT
}
ENTRY %main (x: f32[2]) -> f32[2] {
  %a = f32[2]{0} fusion(), metadata={op_name="jit(step)/jvp(block_0)/attn/query/dot_general"}, \
backend_config={"estimated_cycles":"100"}
  %w = (s32[], f32[2]) while(%t), condition=%condition.1, body=%body.1
}
"""
    total, layers = ahead.estimated_cycles(text)
    assert total == 400 and [layer for layer, _ in layers] == ["lstm", "block_0"]
    figures = {"chips": 4, "seconds": 2.0, "peak": 5.0, "gflop": 0.3, "gigabytes": None}
    figures |= {
        "collectives": {"all-gather": 6},
        "kernels": {},
        "megacycles": 0.06,
        "layers": [["lstm", 0.75]],
    }
    rows = {
        "mlp": figures,
        "gpt": {"error": "does not fit"},
        "gcn": figures | {"collectives": None},
    }
    lines = ahead.table(rows).splitlines()
    assert "6 all-gather" in lines[2] and "lstm 75%" in lines[2] and "does not fit" in lines[3]
    assert "not readable" in lines[4] and "estimated Mcycles" in lines[0]
    text = 'custom-call(%x), custom_call_target="__cudnn$fmha" fusion(), "kind":"__triton_gemm"'
    figures |= {"kernels": count.kernels(text), "megacycles": None, "layers": []}
    lines = ahead.table({"mlp": figures}).splitlines()
    assert "kernels" in lines[0] and "1 cudnn$fmha, 1 triton_gemm" in lines[2]
