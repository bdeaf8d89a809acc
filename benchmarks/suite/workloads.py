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
    """A network, its sizes (``batch`` is one of them) and what a step's work is counted in.

    loss: "cross_entropy", "squared_error", or "" where only inference is timed; a property of the
        network.
    """

    network: str
    about: str
    sizes: Mapping[str, Any]
    smoke: Mapping[str, Any]  # the same network, small enough to compile in seconds
    unit: str = "examples"
    suites: tuple[str, ...] = ("smoke", "cpu", "gpu", "tpu")  # that run it without being told
    loss: str = "cross_entropy"


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
    "gcn": Workload(
        "gcn",
        "graph convolutions 1433-16-7 on a graph of Cora's size: 2708 nodes, 10556 edges",
        {"widths": (1433, 16, 7), "edges": 10556, "batch": 2708},
        {"widths": (8, 4, 3), "edges": 20, "batch": 12},
        unit="nodes",
    ),
    "decode": Workload(
        "decode",
        "the gpt, 64 tokens written one by one after a prompt of 64, with a cache, batch 8",
        {"vocabulary": 65, "blocks": 6, "dim": 384, "heads": 6, "length": 128, "prompt": 64}
        | {"batch": 8},
        {
            "vocabulary": 11,
            "blocks": 2,
            "dim": 16,
            "heads": 2,
            "length": 8,
            "prompt": 3,
            "batch": 2,
        },
        unit="tokens",
        loss="",
    ),
    "unet": Workload(
        "unet",
        "DDPM's U-Net in small: 32x32 images, 64-128-128 channels, a block a level, batch 16",
        {"image": (32, 32, 3), "features": (64, 128, 128), "groups": 8, "batch": 16},
        {"image": (8, 8, 3), "features": (8, 16, 16), "groups": 4, "batch": 2},
        loss="squared_error",
    ),
}


Batch = tuple[Any, np.ndarray]  # inputs, an array or a tuple of arrays, and labels


def batch(workload: Workload, sizes: Mapping[str, Any]) -> Batch:
    """Inputs and labels; these are integers, except for a squared error."""
    rng, rows = np.random.default_rng(1), sizes["batch"]
    if workload.network == "decode":  # nothing to compare with
        prompt = rng.integers(0, sizes["vocabulary"], (rows, sizes["prompt"]), np.int32)
        return prompt, prompt[:, :0]
    if workload.network == "gcn":
        x = graph(rng, rows, sizes["widths"][0], sizes["edges"])
        return x, rng.integers(0, sizes["widths"][-1], rows, np.int32)
    if workload.network == "gpt":
        text = rng.integers(0, sizes["vocabulary"], (rows, sizes["length"] + 1), np.int32)
        return text[:, :-1], text[:, 1:]
    if workload.network == "unet":  # the images, how far they are noised, and the noise
        images, noise = rng.standard_normal((2, rows, *sizes["image"]), np.float32)
        return (images, rng.integers(0, 1000, rows, np.int32)), noise
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


def graph(rng, nodes: int, features: int, edges: int) -> tuple[np.ndarray, ...]:
    """Nodes [N, D], each the mean of some 18 words; senders and receivers [E], pairs both ways."""
    words = (rng.random((nodes, features)) < min(18, features / 2) / features).astype(np.float32)
    number = rng.choice(nodes * (nodes - 1) // 2, edges // 2, replace=False)
    above = ((1 + np.sqrt(1 + 8 * number)) // 2).astype(np.int64)  # pairs in the order 10, 20, 21
    pairs = np.stack([above, number - above * (above - 1) // 2]).astype(np.int32)
    senders, receivers = np.concatenate([pairs, pairs[::-1]], 1)
    return words / np.maximum(words.sum(1, keepdims=True), 1), senders, receivers


def work(workload: Workload, sizes: Mapping[str, Any]) -> int:
    """Examples, nodes or tokens in a step; a prompt's do not count."""
    tokens = sizes["length"] - sizes.get("prompt", 0) if workload.unit == "tokens" else 1
    return sizes["batch"] * tokens


def loss(network: str) -> str:
    """What the network is trained by, "" if it is not."""
    return next(w.loss for w in WORKLOADS.values() if w.network == network)


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


def numbered(name: str, value: Any) -> dict[str, np.ndarray]:
    """Arrays under ``name_0``, ``name_1``, ... if value is a tuple of them; one under ``name``."""
    if isinstance(value, tuple):
        return {f"{name}_{i}": np.asarray(part) for i, part in enumerate(value)}
    return {name: np.asarray(value)}


def unnumbered(name: str, kept: Mapping[str, np.ndarray]) -> Any:
    """Undo ``numbered``."""
    if name in kept:
        return kept[name]
    return tuple(kept[f"{name}_{i}"] for i in range(sum(k.startswith(f"{name}_") for k in kept)))


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
