"""What is timed: networks of fixed sizes, their weights and their batches.

A weight's path is that of nnjax's own tree, and every peer takes its weights from this dict, so all
of them compute the same. Weights and batches are NumPy's, drawn once for all peers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network, its sizes (``batch`` is one of them) and what a step's work is counted in."""

    network: str
    about: str
    sizes: Mapping[str, Any]
    smoke: Mapping[str, Any]  # the same network, small enough to compile in seconds
    unit: str = "examples"
    suites: tuple[str, ...] = ("smoke", "cpu", "gpu", "tpu")  # that run it without being told


WORKLOADS: dict[str, Workload] = {
    "mlp": Workload(
        "mlp",
        "MLP 784-512-256-10, batch 128",
        {"widths": (784, 512, 256, 10), "batch": 128},
        {"widths": (16, 12, 8, 4), "batch": 4},
    ),
    "dispatch": Workload(
        "mlp",
        "24 linear layers of width 16, batch 1: next to no work",
        {"widths": (16,) * 25, "batch": 1},
        {"widths": (4,) * 5, "batch": 1},
    ),
    "cnn": Workload(
        "cnn",
        "LeNet with batch norm: 5x5 convolutions 1-32-64, linear 3136-128-10, batch 128",
        {"image": (28, 28, 1), "features": (32, 64), "hidden": 128, "classes": 10, "batch": 128},
        {"image": (8, 8, 1), "features": (4, 8), "hidden": 8, "classes": 4, "batch": 4},
    ),
    "resnet18": Workload(
        "resnet",
        "ResNet-18 on 32x32 images, batch 32",
        {"image": (32, 32, 3), "features": (64, 128, 256, 512), "classes": 10, "batch": 32},
        {"image": (8, 8, 3), "features": (4, 8), "classes": 4, "batch": 4},
    ),
    "gpt": Workload(
        "gpt",
        "nanoGPT's character model: 6 blocks, 384 features, 6 heads, 256 tokens, batch 8",
        {"vocabulary": 65, "blocks": 6, "dim": 384, "heads": 6, "length": 256, "batch": 8},
        {"vocabulary": 11, "blocks": 2, "dim": 16, "heads": 2, "length": 8, "batch": 2},
        unit="tokens",
    ),
    "lstm": Workload(
        "lstm",
        "LSTM of 256 features over 128 steps, then a linear layer, batch 64",
        {"features": 256, "length": 128, "classes": 10, "batch": 64},
        {"features": 8, "length": 5, "classes": 4, "batch": 3},
    ),
    "vit": Workload(
        "vit",
        "ViT-S/16 on 224x224 images: 12 blocks, 384 features, 6 heads, 196 tokens, batch 4",
        {"image": (224, 224, 3), "patch": 16}
        | {"blocks": 12, "dim": 384, "heads": 6, "classes": 1000, "batch": 4},
        {"image": (8, 8, 3), "patch": 4}
        | {"blocks": 2, "dim": 16, "heads": 2, "classes": 4, "batch": 4},
    ),
    "resnet50": Workload(
        "resnet50",
        "ResNet-50 on 224x224 images, batch 64",
        {"image": (224, 224, 3), "features": (64, 128, 256, 512), "depths": (3, 4, 6, 3)}
        | {"classes": 1000, "batch": 64},
        {"image": (16, 16, 3), "features": (4, 8), "depths": (2, 1), "classes": 4, "batch": 4},
        suites=("smoke", "gpu", "tpu"),
    ),
    "gpt2": Workload(
        "gpt",
        "GPT-2 124M: 12 blocks, 768 features, 12 heads, 1024 tokens, batch 8",
        {"vocabulary": 50257, "blocks": 12, "dim": 768, "heads": 12, "length": 1024, "batch": 8},
        {"vocabulary": 13, "blocks": 3, "dim": 24, "heads": 3, "length": 10, "batch": 2},
        unit="tokens",
        suites=("gpu", "tpu"),
    ),
}


def batch(workload: Workload, sizes: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and integer labels."""
    rng, rows = np.random.default_rng(1), sizes["batch"]
    if workload.network == "gpt":
        text = rng.integers(0, sizes["vocabulary"], (rows, sizes["length"] + 1), np.int32)
        return text[:, :-1], text[:, 1:]
    shapes = {
        "mlp": lambda: sizes["widths"][:1],
        "cnn": lambda: sizes["image"],
        "resnet": lambda: sizes["image"],
        "vit": lambda: sizes["image"],
        "resnet50": lambda: sizes["image"],
        "lstm": lambda: (sizes["length"], sizes["features"]),
    }
    x = rng.standard_normal((rows, *shapes[workload.network]()), np.float32)
    classes = sizes["classes"] if "classes" in sizes else sizes["widths"][-1]
    return x, rng.integers(0, classes, rows, np.int32)


def work(workload: Workload, sizes: Mapping[str, Any]) -> int:
    """Examples or tokens in a step."""
    return sizes["batch"] * (sizes["length"] if workload.unit == "tokens" else 1)


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Numbers for parameters of these shapes, by path; kernels have variance 1 / fan-in.

    Biases and scales are drawn, too: a peer that forgets one shall differ.
    """
    rng = np.random.default_rng(0)

    def draw(path: str, shape: tuple[int, ...]) -> np.ndarray:
        number = rng.standard_normal(shape, np.float32)
        leaf = path.rsplit("/")[-1]
        if leaf == "scale":
            return 1 + np.float32(0.1) * number
        if leaf in ("bias", "embedding"):
            return np.float32(0.1) * number
        return number / np.float32(np.sqrt(np.prod(shape[:-1])))

    return {path: draw(path, shape) for path, shape in shapes.items()}


def nest(flat: Mapping[str, Any], separator: str = "/") -> dict[str, Any]:
    """``{"a/b": 1}`` as ``{"a": {"b": 1}}``."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, last = path.split(separator)
        here = tree
        for parent in parents:
            here = here.setdefault(parent, {})
        here[last] = leaf
    return tree


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a/b": 1}``."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat
