"""Time workloads in every peer: a process a side where the chip allows it, all sides in turn."""

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import clock
from benchmarks.suite import peers, worker, workloads
from benchmarks.suite.workloads import WORKLOADS, Workload

BURST = 0.25  # seconds that a side's turn should last at least; a smoke run's need not
# Of an array's norm. Gradients may differ by ten times as much: where the input of a ReLU rounds to
# either side of zero, they do (ResNet-18 by 0.8 %, PyTorch's against JAX's).
TOLERANCE = 2e-3


class SideError(RuntimeError):
    """A side that could not be set up, or computes something else."""


@dataclasses.dataclass
class Row:
    """One peer on one workload; times in seconds, over rounds; memory in bytes.

    train, infer, call: p10, median and p90 of a step, and of the time until the call returns;
        ``train`` is empty where only inference is timed.
    ratios: median over rounds of this peer's step by every peer's of the same round.
    """

    workload: str
    peer: str
    train: list[float]
    infer: list[float]
    call: list[float]
    ratios: dict[str, float]
    parts: dict[str, float]
    memory: dict[str, int | None]
    gflop: float
    rate: float  # examples or tokens a second
    rounds: int

    @property
    def ratio(self) -> float | None:
        """To hand-written JAX, where that took part."""
        return self.ratios.get("hand-written")

    @property
    def step(self) -> list[float]:
        """What sides are compared by."""
        return self.train or self.infer


class Process:
    """A side's worker, its set-up done, waiting for orders."""

    def __init__(self, peer: str, folder: Path, backend: str, env: Mapping[str, str] | None = None):
        env = {
            **clock.environment(),
            "JAX_PLATFORMS": {"gpu": "cuda"}.get(backend, backend),
            "KERAS_BACKEND": "jax",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # or the first side takes a GPU's memory
            "OMP_WAIT_POLICY": "PASSIVE",  # an idle PyTorch must not spin while others run
            **(env or {}),
        }
        self.errors = (folder / f"{peer}.log").open("w+")
        command = [sys.executable, "-m", "benchmarks.suite.worker", peer, str(folder)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, env=env, stdin=pipe, stdout=pipe, stderr=self.errors, text=True, cwd=clock.ROOT
        )
        self.peer = peer
        self.ready = self._answer()

    def __call__(self, what: str, steps: int) -> dict[str, float]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what} {steps}\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            lines = self.errors.read().strip().splitlines() or ["no word"]
            self.close()
            raise SideError(f"{self.peer} ended: {lines[-1]}")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.errors):
            file.close()


class Here:
    """A side in this process; memory is then that of all sides."""

    def __init__(self, peer: str, folder: Path, backend: str):
        try:
            self.runner, self.ready = worker.set_up(peer, folder)
        except (Exception, SystemExit) as error:
            raise SideError(f"{peer} ended: {type(error).__name__}: {error}") from error

    def __call__(self, what: str, steps: int) -> dict[str, float]:
        return worker.timed(self.runner, what, steps)

    def close(self) -> None:
        del self.runner


def host(peer: str, backend: str, smoke: bool) -> type[Process] | type[Here]:
    """A process a side, except where a chip serves but one, and in smoke runs, which time nothing.

    Keras and virtual devices need an environment of their own all the same.
    """
    module, way, *_ = peers.PEERS[peer]
    return Here if backend == "tpu" or smoke and module != "keras" and way != "devices" else Process


def race(
    name: str, names: Sequence[str], *, backend: str, smoke: bool, rounds: int
) -> tuple[list[Row], dict[str, str]]:
    """Rows of the peers that can take part, and the reasons of those left out.

    Raises: SideError, if nnjax or hand-written JAX cannot take part.
    """
    workload = WORKLOADS[name]
    sizes = workload.smoke if smoke else workload.sizes
    left_out, sides = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(workload, sizes, folder, backend)
        try:
            for peer in names:
                reason = peers.missing(peer)
                if reason is None:
                    try:
                        sides[peer] = host(peer, backend, smoke)(peer, folder, backend)
                        compare(peer, folder)
                    except SideError as error:
                        reason = str(error)
                        if peer in sides:
                            sides.pop(peer).close()
                if reason is not None:
                    left_out[peer] = reason
                    print(f"  {peer} left out: {reason}", flush=True)
                    if peer in ("nnjax", "hand-written"):
                        raise SideError(reason)
            return timed(name, sizes, sides, rounds, 0.0 if smoke else BURST), left_out
        finally:
            for side in sides.values():
                side.close()


def prepare(workload: Workload, sizes, folder: Path, backend: str, compared: bool = True) -> None:
    """Leave weights, batch and settings for the sides; ``compared``, if they shall leave arrays."""
    from benchmarks.suite.peers import nnjax

    weights = workloads.weights(nnjax.shapes(workload.network, sizes))
    x, labels = workloads.batch(workload, sizes)
    stored = {f"weights/{path}": weight for path, weight in weights.items()}
    arrays: dict[str, Any] = {**workloads.numbered("inputs", x), "labels": labels, **stored}
    np.savez(folder / "start.npz", **arrays)
    settings = {"network": workload.network, "sizes": dict(sizes)}
    settings |= {"backend": backend, "compared": compared}
    (folder / "settings.json").write_text(json.dumps(settings))


def compare(peer: str, folder: Path) -> None:
    """Refuse a side whose outputs, loss or gradients are not hand-written JAX's."""
    reference = folder / "hand-written.npz"
    if peer == "ceiling" or not reference.exists():
        return
    theirs, ours = np.load(reference), np.load(folder / f"{peer}.npz")
    different = sorted(set(theirs) ^ set(ours))
    if different:
        raise SideError(f"{peer}: arrays that only one side has: {', '.join(different[:4])}")
    for name in theirs:
        a, b = ours[name], theirs[name]
        if a.shape != b.shape:
            raise SideError(f"{peer}: {name}: got shape {a.shape}, expected {b.shape}")
        error = float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(b)), 1e-3)
        if not error <= (10 if name.startswith("gradients/") else 1) * TOLERANCE:
            raise SideError(f"{peer}: {name} differs by {error:.1e} of its norm")


def timed(
    name: str, sizes, sides: dict[str, Process | Here], rounds: int, burst: float
) -> list[Row]:
    """Interleave the sides, each round another one first; the first round is warm-up."""
    workload = WORKLOADS[name]
    kinds = ("train", "infer") if workload.loss else ("infer",)
    main = kinds[0]
    steps = {peer: how_many(side, kinds, burst) for peer, side in sides.items()}
    order, runs = list(sides), {peer: [] for peer in sides}
    for number in range(rounds + 1):
        turn = number % len(order)
        for peer in order[turn:] + order[:turn]:
            side = sides[peer]
            step = side(main, steps[peer][main])
            alone = step if steps[peer][main] == 1 else side(main, 1)
            infer = side("infer", steps[peer]["infer"]) if workload.loss else step
            if number:
                runs[peer].append((step["step"], infer["step"], alone["call"]))
    times = {peer: np.array(found).T for peer, found in runs.items()}
    gflop = flops(name, sizes) / 1e9

    def row(peer: str) -> Row:
        step, infer, call = times[peer]
        quantiles = lambda values: [float(q) for q in np.percentile(values, (10, 50, 90))]
        median = float(np.median(step))
        work = ceiling_flops() if peer == "ceiling" else gflop
        return Row(
            workload=name,
            peer=peer,
            train=quantiles(step) if workload.loss else [],
            infer=quantiles(infer),
            call=quantiles(call),
            ratios={other: float(np.median(step / times[other][0])) for other in order},
            parts=sides[peer].ready["parts"],
            memory=sides[peer].ready["memory"],
            gflop=work,
            rate=workloads.work(workload, sizes) / median,
            rounds=rounds,
        )

    return [row(peer) for peer in order]


def how_many(side: Process | Here, kinds: Sequence[str], burst: float) -> dict[str, int]:
    """Steps that last a burst, from a first few."""
    few = {what: min(side(what, 2)["step"] for _ in range(2)) for what in kinds}
    return {what: max(1, round(burst / max(seconds, 1e-6))) for what, seconds in few.items()}


def ceiling_flops() -> float:
    from benchmarks.suite.peers import ceiling

    return 2 * ceiling.size() ** 3 / 1e9


def flops(name: str, sizes) -> float:
    """Of the products and convolutions of a forward pass; of a train step, three times as many."""
    import jax

    from benchmarks.suite.count import products
    from benchmarks.suite.peers.nnjax import NETWORKS

    workload = WORKLOADS[name]
    model = NETWORKS[workload.network](sizes)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    x, _ = workloads.batch(workload, sizes)
    train = bool(workload.loss)
    forward = products(lambda p, s, x: model.apply(p, s, x, train=train), params, state, x)
    return (3.0 if train else 1.0) * forward
