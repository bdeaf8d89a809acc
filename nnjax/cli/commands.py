"""The four commands, as functions of their settings."""

import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import jax
import numpy as np

import nnjax as nn
from nnjax.cli import report
from nnjax.cli.run_folder import RunFolder
from nnjax.cli.settings import CommandError, Training, from_config, to_config


def train(settings: Training) -> float:
    """Train a model, write its run folder, and return the test accuracy."""
    _make_ready(settings)
    config = to_config(settings)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    out = settings.out or Path("runs") / f"{config['model']}-{settings.data}-{stamp}"
    data = _load(settings)
    _check("epochs", settings.epochs)
    _check("batch-size", settings.batch_size, len(data.train.targets))
    model = _model(settings, data)
    steps = settings.epochs * (len(data.train.targets) // settings.batch_size)
    with RunFolder(out, overwrite=settings.overwrite) as folder:
        folder.write_json("config.json", config)
        report.show(nn.summary(model, data.train.inputs.shape[1:]), "")

        def keep(train_state, rows):
            folder.write_csv("metrics.csv", rows)
            with folder.writing("weights.safetensors") as path:
                trees = {"params": train_state.params, "state": train_state.state}
                nn.save(path, trees, config=config)

        train_state, rows = nn.train.fit(
            model,
            nn.losses.softmax_cross_entropy,
            settings.make_optimizer(steps),
            data.train,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=settings.seed,
            validation=data.validation,
            metrics={"accuracy": nn.train.accuracy},
            on_epoch=keep,
        )
        predicted = _predict(model, train_state.params, train_state.state, data)
        with folder.writing("curves.png") as path:
            report.plot_curves(rows, path)
        with folder.writing("confusion.png") as path:
            report.plot_confusion(data.test.targets, predicted, data.classes, path)
    report.show(report.test_table(data.test.targets, predicted, data.classes))
    report.show(f"run folder: {out}")
    return float(np.mean(predicted == data.test.targets))


def evaluate(run: Path) -> float:
    """Load a run again, print its test table, and return the test accuracy."""
    try:
        settings = from_config(json.loads((run / "config.json").read_text()))
    except FileNotFoundError:
        raise CommandError(f"{run} has no config.json: it is no run of nnjax train.") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise CommandError(f"{run / 'config.json'} is damaged: it is not JSON.") from None
    _make_ready(settings)
    data = _load(settings)
    model = _model(settings, data)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    trees = nn.load(run / "weights.safetensors", {"params": params, "state": state})
    predicted = _predict(model, trees["params"], trees["state"], data)
    report.show(report.test_table(data.test.targets, predicted, data.classes))
    return float(np.mean(predicted == data.test.targets))


def summary(settings: Training) -> str:
    """The table of a model for the images of a data set; nothing is computed."""
    data = _load(settings)
    table = nn.summary(_model(settings, data), data.train.inputs.shape[1:])
    report.show(table)
    return table


def devices(require: Literal["cpu", "gpu", "tpu"] | None) -> str:
    """Platform, devices and versions; an error if the platform is not the one required."""
    found = jax.default_backend()
    kinds = sorted({device.device_kind for device in jax.devices()})
    lines = (
        f"platform   {found}",
        f"devices    {jax.device_count()} x {', '.join(kinds)}",
        f"jax        {jax.__version__}",
        f"jaxlib     {version('jaxlib')}",
        f"nnjax      {nn.__version__}",
        f"python     {platform.python_version()}",
    )
    report.show(*lines)
    if require is not None and found != require:
        extra = {"gpu": "pip install 'nnjax[cuda]'", "tpu": "pip install 'nnjax[tpu]'"}
        fix = f" Install JAX for it: {extra[require]}." if require in extra else ""
        raise CommandError(f"got platform {found}, expected {require}.{fix}")
    return found


def _check(option: str, value: int, high: int | None = None, *, low: int = 1) -> None:
    if value < low or (high is not None and value > high):
        expected = f"at least {low}" if high is None else f"{low} to {high}"
        raise CommandError(f"got --{option} {value}, expected {expected}.")


def _make_ready(settings: Training) -> None:
    """What has to be before JAX computes anything."""
    if settings.native:
        try:
            nn.native.build()
        except RuntimeError as error:
            raise CommandError(f"got --native, {error}") from None
        nn.native.keep_memory()


def _load(settings: Training) -> nn.data.Dataset:
    _check("seed", settings.seed, low=0)
    return nn.data.load(settings.data, seed=settings.seed)


def _model(settings: Training, data: nn.data.Dataset) -> nn.Layer:
    height, width, channels = data.train.inputs.shape[1:]
    return settings.model((height, width, channels), len(data.classes))


def _predict(model: nn.Layer, params, state, data: nn.data.Dataset) -> np.ndarray:
    logits = nn.train.make_predict(model)(params, state, data.test.inputs)
    return logits.argmax(-1)
