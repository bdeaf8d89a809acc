"""The command line: a run from start to end, run again from its folder, killed, and mistaken."""

import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import nnjax as nn
from nnjax.cli import commands
from nnjax.cli.main import main
from nnjax.cli.run_folder import FILES
from nnjax.cli.settings import Cnn, Mlp, from_config, to_config
from nnjax.native.library import compiler

ROOT = Path(__file__).parent.parent.parent
QUICK = ["--epochs", "2", "--hidden", "16"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with jax.numpy_dtype_promotion("standard"):  # optax is not strict
        yield


def complain(capsys, *arguments: str) -> str:
    """Run a mistaken command; check that it prints one line, and return that line."""
    capsys.readouterr()
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert (
        error.startswith("nnjax: error: ") and error.count("\n") == 1 and "Traceback" not in error
    )
    return error


def check_whole(folder: Path) -> set[str]:
    """Parse every file of a run folder to its end; return their names."""
    for file in folder.iterdir():
        content = file.read_bytes()
        match file.name:
            case "config.json":
                from_config(json.loads(content))
            case "metrics.csv":
                rows = list(csv.DictReader(content.decode().splitlines()))
                assert rows and all(float(v) >= 0 for row in rows for v in row.values())
            case "weights.safetensors":
                settings = from_config(nn.load_config(file))
                trees = jax.eval_shape(settings.model((8, 8, 1), 10).init, jax.random.key(0))
                nn.load(file, dict(zip(("params", "state"), trees, strict=True)))
            case "curves.png" | "confusion.png":
                assert content[:8] == b"\x89PNG\r\n\x1a\n" and content[-8:-4] == b"IEND"
            case _:
                raise AssertionError(f"stray file {file.name}")
    return {file.name for file in folder.iterdir()}


def test_the_readme_run(capsys):
    """Issue 2's command: at least 97 % on digits, all files, and the same figure when evaluated."""
    settings = Mlp(hidden=(64, 32), out=Path("runs/x"))
    accuracy = commands.train(settings)
    shown = capsys.readouterr().out
    assert accuracy >= 0.97 and f"test accuracy {accuracy:.4%}" in shown
    for column in ("mlp_0/linear_0", "precision", "recall", "F1", "examples/s"):
        assert column in shown
    assert check_whole(Path("runs/x")) == set(FILES) and os.listdir("runs") == ["x"]
    assert commands.evaluate(Path("runs/x")) == accuracy
    assert f"test accuracy {accuracy:.4%}" in capsys.readouterr().out


def test_training_is_reproducible_and_seeds_differ():
    weights = []
    for seed, out in (("0", "a"), ("0", "b"), ("1", "c")):
        assert main(["train", "mlp", *QUICK, "--seed", seed, "--out", out]) == 0
        weights.append(Path(out, "weights.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
def test_optimizers_and_schedules_train(optimizer):
    options = ["--optimizer", optimizer, "--schedule", "cosine", "--lr", "0.01", "--out", "x"]
    assert main(["train", "mlp", *QUICK, *options]) == 0
    rows = list(csv.DictReader(Path("x/metrics.csv").read_text().splitlines()))
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])


def test_a_cnn_trains_and_evaluates(capsys):
    options = ["--features", "4", "8", "--epochs", "1", "--batch-size", "64"]
    assert main(["train", "cnn", "--data", "digits", *options]) == 0
    (run,) = Path("runs").iterdir()
    assert run.name.startswith("cnn-digits-") and check_whole(run) == set(FILES)
    table = capsys.readouterr().out.split("run folder")[0].splitlines()[-13:]
    assert main(["evaluate", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-13:] == table


@pytest.mark.slow
def test_a_native_run(monkeypatch, capsys):
    """In a process of its own, as memory is kept from its start."""
    if shutil.which(compiler()) is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", os.getcwd())
    environment = {k: v for k, v in os.environ.items() if k != "PJRT_NPROC"} | {
        "PYTHONPATH": str(ROOT)
    }
    nnjax = [sys.executable, "-m", "nnjax.cli.main"]
    run = ["train", "cnn", "--epochs", "1", "--features", "4", "--out", "run", "--native"]
    tables = []
    for command in (run, ["evaluate", "run"]):
        done = subprocess.run([*nnjax, *command], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        tables.append(done.stdout.split("run folder")[0].splitlines()[-13:])
    assert tables[0] == tables[1] and list(Path("nnjax/native").glob("*.so"))
    monkeypatch.setattr("nnjax.native.library._loaded", [])
    monkeypatch.setenv("CXX", "no-compiler")
    line = complain(capsys, *run, "--overwrite")
    assert "got --native, nnjax.native.build: got no compiler 'no-compiler'" in line


def test_a_run_is_not_overwritten_by_accident(capsys):
    once = ["train", "mlp", *QUICK, "--out", "x"]
    assert main(once) == 0
    before = Path("x/weights.safetensors").read_bytes()
    assert "x is not empty. Give another --out, or add --overwrite." in complain(capsys, *once)
    assert Path("x/weights.safetensors").read_bytes() == before
    assert main([*once, "--seed", "5", "--overwrite"]) == 0
    assert Path("x/weights.safetensors").read_bytes() != before


def test_a_killed_run_leaves_only_whole_files():
    """SIGKILL as the first file appears, as weights do, and some epochs later."""
    seen = set()
    for i, delay in enumerate((0.0, 0.02, 0.5)):
        out = Path(f"run{i}")
        command = [sys.executable, "-m", "nnjax.cli.main", "train", "mlp", "--out", str(out)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [*command, "--epochs", "100000", "--hidden", "256", "256"],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        wait_for = out / ("weights.safetensors" if i else "config.json")
        while not wait_for.exists():
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen |= check_whole(out)
    assert seen == {"config.json", "metrics.csv", "weights.safetensors"}
    assert main(["train", "mlp", *QUICK, "--out", "run2", "--overwrite"]) == 0
    assert check_whole(Path("run2")) == set(FILES) and not Path(".run2.unfinished").exists()
    assert np.isfinite(commands.evaluate(Path("run1")))  # of the last epoch that was finished


def test_mistaken_words(capsys):
    assert "got command 'trian', expected one of train" in complain(capsys, "trian")
    line = complain(capsys, "train", "mpl")
    assert "got model 'mpl', expected one of mlp, cnn. Did you mean mlp?" in line
    line = complain(capsys, "train", "mlp", "--data", "mnsit")
    assert "got data set 'mnsit', expected one of digits" in line
    with pytest.raises(SystemExit) as stopped:
        main(["train", "mlp", "--hiden", "3"])
    assert stopped.value.code == 2 and "--hiden" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--epochs", "0", "got --epochs 0, expected at least 1"),
        ("--batch-size", "0", "got --batch-size 0, expected 1 to 1257"),
        ("--batch-size", "5000", "got --batch-size 5000, expected 1 to 1257"),
        ("--seed", "-1", "got --seed -1, expected at least 0"),
        ("--hidden", "0", "linear(64, 0): got out_features=0"),
        ("--dropout-rate", "1.0", "got dropout_rate=1.0, expected 0 <= rate < 1"),
    ],
)
def test_mistaken_values(capsys, option, value, message):
    assert message in complain(capsys, "train", "mlp", option, value, "--out", "x")
    assert not Path("x").exists()


def test_an_unwritable_out(capsys):
    Path("file").write_text("")
    for out in ("file", "file/below", "/proc/nnjax/x"):
        line = complain(capsys, "train", "mlp", *QUICK, "--out", out)
        assert f"cannot write to {out}: " in line and "Give another --out." in line
    assert os.listdir(".") == ["file"]


def test_a_diverging_run_says_where(capsys):
    line = complain(
        capsys, "train", "mlp", "--optimizer", "sgd", "--lr", "1e30", "--out", "x", "--epochs", "1"
    )
    assert "the loss was nan at step 1" in line and "output of mlp_0/linear_1" in line
    assert os.listdir(".") == ["x"] and check_whole(Path("x")) == {"config.json"}


def test_damaged_data(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("NNJAX_DATA", str(tmp_path))
    assert "got no such file" in complain(capsys, "train", "mlp", "--data", "mnist")
    (tmp_path / "mnist").mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "mnist" / f"{name}-ubyte.gz").write_bytes(gzip.compress(b"cut short")[:-4])
    line = complain(capsys, "train", "mlp", "--data", "mnist", "--out", "x")
    assert "damaged or altered" in line and not Path("x").exists()


def test_a_run_that_is_none_or_another(capsys):
    assert "nowhere has no config.json" in complain(capsys, "evaluate", "nowhere")
    assert main(["train", "mlp", *QUICK, "--out", "x"]) == 0
    config, weights = Path("x/config.json"), Path("x/weights.safetensors")
    text, content = config.read_text(), weights.read_bytes()

    config.write_text(text.replace("16", "24"))
    line = complain(capsys, "evaluate", "x")
    assert "holds another model's arrays: params/mlp_0/linear_0/bias is float32[16]" in line
    config.write_text(text.replace('"model": "mlp"', '"model": "cnn"'))
    assert "config.json is not that of a run" in complain(capsys, "evaluate", "x")
    config.write_text(text[:40])
    assert "is damaged: it is not JSON" in complain(capsys, "evaluate", "x")
    config.write_text(text)
    weights.write_bytes(content[:-10])
    assert "damaged or foreign file" in complain(capsys, "evaluate", "x")
    weights.unlink()
    assert "there is none" in complain(capsys, "evaluate", "x")


def test_devices(capsys):
    assert main(["devices"]) == 0
    shown = capsys.readouterr().out
    for word in ("platform   cpu", "devices    8 x cpu", jax.__version__, nn.__version__):
        assert word in shown
    assert main(["devices", "--require", "cpu"]) == 0
    for platform in ("gpu", "tpu"):
        assert f"got platform cpu, expected {platform}" in complain(
            capsys, "devices", "--require", platform
        )


def test_summary(capsys):
    assert main(["summary", "mlp", "--hidden", "5"]) == 0
    shown = capsys.readouterr().out
    assert "linear(64, 5)" in shown and f"{64 * 5 + 5 + 5 * 10 + 10}" in shown


@pytest.mark.parametrize("settings", [Mlp(hidden=(3,)), Cnn(features=(2, 3), seed=4)])
def test_config_round_trip(settings):
    assert from_config(json.loads(json.dumps(to_config(settings)))) == settings
