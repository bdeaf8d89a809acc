"""How long until the first step is done, in every peer, and what does a cache of programs spare?

A process a side, from its own first line: imports, model and optimizer, trace, compile, run;
nothing is compared on the way, as that would compile too. "cold" begins with an empty cache,
"cached" is the process started again, with what ``jax_compilation_cache_dir`` (or PyTorch's
inductor) has kept. The transformers are small and not in a loop: each block is one of the program.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.suite import peers
from benchmarks.suite.report import markdown
from benchmarks.suite.run import Process, SideError, prepare
from benchmarks.suite.workloads import WORKLOADS

BLOCK = {"vocabulary": 65, "dim": 128, "heads": 4, "length": 64, "batch": 2}
CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "mlp": ("mlp", WORKLOADS["mlp"].sizes),
    **{f"{n} blocks": ("gpt", BLOCK | {"blocks": n}) for n in (1, 12, 48)},
}


def race(name: str, names: Sequence[str], rounds: int) -> tuple[dict[str, Any], dict[str, str]]:
    """``{peer: {"cold": [parts, a round], "cached": [...]}}``, and why others were left out."""
    network, sizes = CASES[name]
    workload = WORKLOADS[network]
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(workload, sizes, folder, "cpu", compared=False)
        for number in range(rounds):
            for turn, peer in enumerate(names):
                if peer in left_out:
                    continue
                try:
                    runs = twice(peer, folder, folder / f"cache_{number}_{turn}")
                except SideError as error:
                    left_out[peer] = str(error)
                    continue
                for kind, parts in runs.items():
                    found.setdefault(peer, {"cold": [], "cached": []})[kind].append(parts)
    return found, left_out


def twice(peer: str, folder: Path, cache: Path) -> dict[str, dict[str, float]]:
    """Parts of a process that finds no programs in the cache, and of one that finds its own.

    Raises: SideError, for a peer that is not installed or does not have the network.
    """
    if reason := peers.missing(peer):
        raise SideError(reason)
    env = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "TORCHINDUCTOR_CACHE_DIR": str(cache),
    }
    runs = {}
    for kind in ("cold", "cached"):
        side = Process(peer, folder, "cpu", env)
        runs[kind] = side.ready["parts"]
        side.close()
    return runs


def table(found: Mapping[str, Any]) -> str:
    """A row a peer, quickest first; seconds, medians over the rounds."""
    head = ["peer", "cold, s", "of hand-written", "import", "init", "trace", "compile", "step"]
    lines = [[*head, "cached, s", "its compile"]]
    total = lambda runs: float(np.median([sum(parts.values()) for parts in runs]))
    hand = found.get("hand-written")
    for peer, kinds in sorted(found.items(), key=lambda item: total(item[1]["cold"])):
        cold, cached = kinds["cold"], kinds["cached"]
        ratio = f"{total(cold) / total(hand['cold']):.2f}" if hand else ""
        parts = [_part(cold, part) for part in ("import", "init", "trace", "compile", "first step")]
        last = [f"{total(cached):.2f}", _part(cached, "compile")]
        lines.append([peer, f"{total(cold):.2f}", ratio, *parts, *last])
    return markdown(lines)


def _part(runs: Sequence[Mapping[str, float]], part: str) -> str:
    """Blank for what a library does within its first step."""
    return f"{np.median([run[part] for run in runs]):.2f}" if part in runs[0] else ""
