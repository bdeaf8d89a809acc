"""The peers: each a file with the same networks, from the same weights.

A file has ``side(network, way, weights, batch, sizes, laps) -> Side``. ``way`` is one of the forms
in which the library trains: its documented loop, or the quickest that it recommends.
"""

import importlib
import importlib.util
import shutil
from collections.abc import Sequence
from typing import NamedTuple

from nnjax.native.library import compiler


class Peer(NamedTuple):
    module: str
    way: str
    needs: tuple[str, ...]  # what must be installed
    about: str
    workloads: tuple[str, ...] = ()  # that it is for, if not for all


PEERS: dict[str, Peer] = {
    "hand-written": Peer(
        "hand_written", "", (), "functions of dicts, as first drafted; jitted, donated"
    ),
    "nnjax": Peer("nnjax", "", (), "nn.train.make_step, jitted, donated"),
    "nnjax devices": Peer(
        "nnjax", "devices", (), "the same, the batch split over virtual CPU devices, one a core"
    ),
    "nnjax native": Peer(
        "nnjax", "native", (), "the same, after nnjax.native.build() and .keep_memory()"
    ),
    "nnjax packed": Peer(
        "nnjax", "packed", (), "the same, the train state as one vector a dtype", ("dispatch",)
    ),
    "nnjax loop": Peer("nnjax", "loop", (), "the same, 32 steps a call", ("dispatch",)),
    "linen": Peer("linen", "donated", ("flax",), "Flax Linen, jitted, donated"),
    "nnx": Peer("nnx", "jit", ("flax",), "Flax NNX, nnx.jit and nnx.Optimizer"),
    "nnx split": Peer("nnx", "split", ("flax",), "Flax NNX, split and merge, jax.jit, donated"),
    "equinox": Peer("equinox", "filter_jit", ("equinox",), "Equinox, eqx.filter_jit"),
    "equinox split": Peer(
        "equinox", "partition", ("equinox",), "Equinox, partition and combine, jax.jit, donated"
    ),
    "haiku": Peer("haiku", "donated", ("haiku",), "Haiku, jitted, donated"),
    "keras": Peer("keras", "train_on_batch", ("keras",), "Keras 3 on JAX, train_on_batch"),
    "blox": Peer("blox", "donated", ("blox",), "jax-blox, jitted, donated"),
    "torch": Peer("torch", "eager", ("torch",), "PyTorch, fused Adam, channels last"),
    "torch.compile": Peer("torch", "compile", ("torch",), "PyTorch, torch.compile, fused Adam"),
    "ceiling": Peer("ceiling", "", (), "a product of square matrices: the machine's ceiling"),
}


def meant_for(workload: str, names: Sequence[str]) -> list[str]:
    """Those of the peers that are not for other workloads only."""
    return [name for name in names if workload in (PEERS[name].workloads or (workload,))]


def load(name: str):
    return importlib.import_module(f"benchmarks.suite.peers.{PEERS[name].module}")


def check(name: str, network: str) -> None:
    """Refuse a network that the peer's file does not have.

    Raises: ValueError, with a line that says so.
    """
    module = load(name)
    if network not in getattr(module, "NETWORKS", (network,)):  # the ceiling has none
        raise ValueError(f"{network}: not written for {PEERS[name].module}")


def missing(name: str) -> str | None:
    """Why the peer cannot take part, or None."""
    if PEERS[name].way == "native" and shutil.which(compiler()) is None:
        return f"no compiler {compiler()}"
    for package in PEERS[name].needs:
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    return None
