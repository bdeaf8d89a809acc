"""What do huge pages save a train step on a CPU?

XLA allocates a step's temporaries anew each time. Beyond 32 MiB glibc takes them from the kernel,
which hands out zeroed pages of 4 KiB, one page fault each: 25,000 of them for 100 MiB. With
``GLIBC_TUNABLES=glibc.malloc.hugetlb=1`` (glibc 2.35, and transparent huge pages of "madvise" or
"always") a page is 2 MiB. It is read when a process starts, so no library can set it for its user.

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

HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def main(
    workloads: Sequence[str] = ("cnn", "gpt", "lstm"),
    sides: Sequence[str] = ("hand-written", "nnjax", "torch"),
    rounds: int = 8,
    smoke: bool = False,
) -> None:
    """Time train steps of each side with pages of 4 KiB and of 2 MiB, in turn."""
    print(", ".join(f"{key} {value}" for key, value in clock.header().items()))
    lines = [["workload", "side", "4 KiB, ms", "2 MiB, ms", "ratio"]]
    for name in workloads:
        for side in sides:
            if peers.missing(side) is None:
                usual, huge = times(name, side, rounds, smoke)
                medians = [f"{1e3 * np.median(seconds):.4g}" for seconds in (usual, huge)]
                lines.append([name, side, *medians, f"{np.median(huge / usual):.2f}"])
    print(markdown(lines))


def times(name: str, side: str, rounds: int, smoke: bool) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of a step, a round each, after one of warm-up."""
    workload = WORKLOADS[name]
    sizes = workload.smoke if smoke else workload.sizes
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(workload, sizes, folder, "cpu", compared=False)
        both = [Process(side, folder, "cpu", env) for env in ({}, HUGE)]
        try:
            steps = 1 if smoke else 3
            runs = [[run("train", steps)["step"] for run in both] for _ in range(rounds + 1)]
        finally:
            for run in both:
                run.close()
    usual, huge = np.array(runs[1:]).T
    return usual, huge


if __name__ == "__main__":
    tyro.cli(main)
