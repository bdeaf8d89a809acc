"""One side in a process of its own: it sets itself up, then does as many steps as it is told.

``python -m benchmarks.suite.worker PEER FOLDER`` reads weights and batch from FOLDER and
leaves its outputs and gradients there. Then each line of its input, ``train N`` or ``infer N``,
makes it take N steps in a row and answer with the seconds that one took.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

START = time.perf_counter()


def main(peer: str, folder: Path) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print is not an answer

    def answer(values: dict[str, Any]) -> None:
        print(json.dumps(values), file=answers, flush=True)

    runner, ready = set_up(peer, folder)
    answer(ready)
    for line in sys.stdin:
        what, number = line.split()
        answer(timed(runner, what, int(number)))


def set_up(peer: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The side, its outputs and gradients left in the folder; seconds and bytes that it took."""
    import numpy as np

    from benchmarks import clock
    from benchmarks.suite import peers
    from benchmarks.suite.workloads import numbered, unnumbered

    settings = json.loads((folder / "settings.json").read_text())
    sizes = {name: tuple(v) if isinstance(v, list) else v for name, v in settings["sizes"].items()}
    kept = np.load(folder / "start.npz")
    weights = {k.removeprefix("weights/"): v for k, v in kept.items() if k.startswith("weights/")}
    batch = unnumbered("inputs", kept), kept["labels"]
    module = peers.load(peer)
    peers.check(peer, settings["network"])
    if hasattr(module, "prepare"):
        module.prepare(peers.PEERS[peer].way, settings["backend"])
    check_backend(settings["backend"], peers.PEERS[peer].module)
    imported = time.perf_counter() - START

    laps = clock.Laps()
    runner = module.side(settings["network"], peers.PEERS[peer].way, weights, batch, sizes, laps)
    if settings["compared"]:
        found: dict[str, Any] = {}
        if runner.loss_and_gradients:
            loss, gradients = runner.loss_and_gradients()
            found = {f"gradients/{k}": v for k, v in gradients.items()} | {"loss": np.float32(loss)}
        np.savez(folder / f"{peer}.npz", **numbered("outputs", runner.outputs()), **found)

    start = time.perf_counter()
    runner.wait((runner.train or runner.infer)())
    parts = {"import": imported, **runner.parts, "first step": time.perf_counter() - start}
    return runner, {"parts": parts, "memory": memory(runner)}


def timed(runner: Any, what: str, steps: int) -> dict[str, float]:
    """Seconds of a step, and until its call returned: a mean of ``steps`` in a row."""
    call = {"train": runner.train, "infer": runner.infer}[what]
    of_a_call = runner.steps if what == "train" else 1
    calls = max(1, steps // of_a_call)
    start, result = time.perf_counter(), None
    for _ in range(calls):
        result = call()
    returned = time.perf_counter()
    runner.wait(result)
    done = time.perf_counter()
    steps = calls * of_a_call
    return {"step": (done - start) / steps, "call": (returned - start) / steps}


def memory(runner) -> dict[str, int | None]:
    """Bytes: the most that the process held, and the temporaries of the compiled step."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak": peak, "temporaries": runner.temporaries}


def check_backend(wanted: str, module: str) -> None:
    """Refuse another backend than asked for, rather than time it.

    Raises: SystemExit, with a line that says what there is.
    """
    if module == "torch":
        import torch

        there = "gpu" if torch.cuda.is_available() else "cpu"
    else:
        import jax

        there = jax.default_backend()
    if there != wanted:
        raise SystemExit(f"{module}: got the backend {there}, asked for {wanted}.")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
