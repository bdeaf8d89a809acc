"""What do page faults cost a train step on a CPU, and what saves them?

XLA allocates a step's temporaries anew each time. Beyond 32 MiB glibc takes them from the kernel,
which hands out zeroed pages of 4 KiB, one page fault each: 25,000 of them for 100 MiB. There are
two remedies for any program, set here from outside for all sides alike: pages of 2 MiB (glibc 2.35,
and transparent huge pages of "madvise" or "always"), which a process has to be started with; and
memory that is kept when freed, as ``nnjax.native.keep_memory`` has it.

    python -m benchmarks.pages    # some minutes
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro

from benchmarks import clock
from benchmarks.suite import peers
from benchmarks.suite.report import markdown
from benchmarks.suite.run import Process, prepare
from benchmarks.suite.workloads import WORKLOADS

KEPT = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=0xffffffffffff:glibc.malloc.arena_max=1"
WAYS = {
    "as it is": {},
    "2 MiB": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    "kept": {"GLIBC_TUNABLES": KEPT},
}


def main(
    workloads: Sequence[str] = ("cnn", "gpt", "lstm"),
    sides: Sequence[str] = ("hand-written", "nnjax", "torch"),
    rounds: int = 8,
    smoke: bool = False,
) -> None:
    """Time the steps of each side as it is, with pages of 2 MiB, and with memory kept, in turn."""
    print(", ".join(f"{key} {value}" for key, value in clock.header().items()))
    usual, *others = WAYS
    lines = [["workload", "side", f"{usual}, ms", *(f"{way}, of that" for way in others)]]
    for name in workloads:
        for side in sides:
            if peers.missing(side) is None:
                found = times(name, side, rounds, smoke)
                ratios = [f"{np.median(found[way] / found[usual]):.2f}" for way in others]
                lines.append([name, side, f"{1e3 * np.median(found[usual]):.4g}", *ratios])
    print(markdown(lines))


def times(name: str, side: str, rounds: int, smoke: bool) -> dict[str, np.ndarray]:
    """Seconds of a step by way, a round each, after one of warm-up."""
    workload = WORKLOADS[name]
    sizes = workload.smoke if smoke else workload.sizes
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(workload, sizes, folder, "cpu", compared=False)
        runs = [Process(side, folder, "cpu", env) for env in WAYS.values()]
        try:
            steps = 1 if smoke else 3
            rows = [[run("train", steps)["step"] for run in runs] for _ in range(rounds + 1)]
        finally:
            for run in runs:
                run.close()
    return dict(zip(WAYS, np.array(rows[1:]).T, strict=True))


if __name__ == "__main__":
    tyro.cli(main)
