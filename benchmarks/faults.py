"""Does the suite notice? Faults put into a copy of the library, one at a time, and its tests run.

``python -m benchmarks.faults`` copies the project to a folder of its own, changes one line of one
layer or loss, and runs the tests that are named beside it: they must fail. Prints a row a fault,
and exits with 1 if one went unnoticed.
"""

import argparse
import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Fault:
    what: str
    file: str
    old: str
    new: str
    tests: str


FAULTS = (
    Fault(
        "linear loses its bias",
        "nnjax/layers/linear.py",
        "return y + shift[0] if bias else y, state",
        "return y, state",
        "tests/layers/test_linear.py",
    ),
    Fault(
        "normalization takes the variance in one pass",
        "nnjax/ops/normalization.py",
        "average(jnp.square(h - mean)), n",
        "average(jnp.square(h)) - jnp.square(mean), n",
        "tests/layers/test_normalization.py",
    ),
    Fault(
        "normalization ignores its mask",
        "nnjax/ops/normalization.py",
        "a = a if mask is None else jnp.where(mask, a, 0)",
        "a = a + 0",
        "tests/layers/test_normalization.py tests/ops/test_normalization.py",
    ),
    Fault(
        "batch norm's derivative forgets that the variance moves",
        "nnjax/ops/normalization.py",
        "to_y = u - average(u) - y * average(y * u)",
        "to_y = u - average(u)",
        "tests/layers/test_normalization.py",
    ),
    Fault(
        "a convolution in C++ drops the kernel's gradients of all threads but one",
        "nnjax/native/convolution.cc",
        "result[i] += others",
        "result[i] += 0 * others",
        "tests/native",
    ),
    Fault(
        "a convolution in C++ pads too little after its images",
        "nnjax/native/convolution.cc",
        "std::max(m.after, last - (size - 1))",
        "m.after",
        "tests/native",
    ),
    Fault(
        "a convolution in C++ turns the taps of a dilated kernel wrongly",
        "nnjax/native/convolution.cc",
        "phase.turn = k - phase.key",
        "phase.turn = -1",
        "tests/native",
    ),
    Fault(
        "dropout does not scale what it keeps",
        "nnjax/layers/dropout.py",
        "return jnp.where(mask, widen(x) / keep, 0)",
        "return jnp.where(mask, widen(x), 0)",
        "tests/layers/test_dropout.py",
    ),
    Fault(
        "all children draw with one key",
        "nnjax/core/compose.py",
        "key = fold_in(self._key, self._index[child] + count * len(self._layers))",
        "key = self._key",
        "tests/core/test_laws.py",
    ),
    Fault(
        "max-pool gives its derivative to every tie",
        "nnjax/ops/pooling.py",
        "dy = jnp.where(larger, view, dy)",
        "dy = dy + jnp.where(view == view, view, dy)",
        "tests/ops/test_pooling.py tests/layers/test_pooling.py",
    ),
    Fault(
        "squared error is an absolute one",
        "nnjax/losses/regression.py",
        "optax.squared_error(",
        "(lambda a, b: jnp.abs(a - b))(",
        "tests/losses/test_regression.py",
    ),
    Fault(
        "embedding's logits ignore max_norm",
        "nnjax/layers/embedding.py",
        "return tensordot(ids, _shorten(table, max_norm).T), state",
        "return tensordot(ids, table.T), state",
        "tests/layers/test_embedding.py",
    ),
    Fault(
        "segment mean divides by one too many",
        "nnjax/ops/segment.py",
        "count = jnp.maximum(count, 1).astype(total.dtype)",
        "count = (count + 1).astype(total.dtype)",
        "tests/ops/test_segment.py",
    ),
    Fault(
        "attention does not scale its scores",
        "nnjax/ops/attention.py",
        "return scores / math.sqrt(q.shape[-1])",
        "return scores",
        "tests/ops/test_attention.py",
    ),
    Fault(
        "bidirectional reads both ways forward",
        "nnjax/layers/unroll.py",
        "reverse=not reverse",
        "reverse=reverse",
        "tests/layers/test_recurrent.py tests/layers/test_unroll.py",
    ),
    Fault(
        "AUC counts ties as won",
        "nnjax/metrics/regression.py",
        "return (below + 1 + upto).astype(jnp.float32) / 2",
        "return upto.astype(jnp.float32)",
        "tests/metrics/test_metrics.py",
    ),
)


def caught(fault: Fault, copy: Path) -> tuple[bool, str]:
    """Whether the tests fail with the fault in; the copy is as it was afterwards."""
    path = copy / fault.file
    text = path.read_text()
    if text.count(fault.old) < 1 or fault.old == fault.new:
        raise SystemExit(f"faults: {fault.file} has no {fault.old!r}: bring the fault up to date.")
    path.write_text(text.replace(fault.old, fault.new))
    tests = [t for t in fault.tests.split() if (copy / t).exists()]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow and not parity"]
    done = subprocess.run([*command, *tests], cwd=copy, capture_output=True, text=True)
    path.write_text(text)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return done.returncode == 1 and bool(failed), failed[0].split(" - ")[0] if failed else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults")
    parser.add_argument("--only", default="", help="part of a fault's description")
    arguments = parser.parse_args()
    unnoticed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        ignored = shutil.ignore_patterns(".git", ".venv", "__pycache__", "runs", "*.egg-info")
        shutil.copytree(ROOT, copy, ignore=ignored)
        for fault in FAULTS:
            if arguments.only in fault.what:
                start = time.perf_counter()
                found, by = caught(fault, copy)
                seconds = time.perf_counter() - start
                verdict = "caught" if found else "UNNOTICED"
                print(f"{verdict:9} {fault.what:48} {seconds:4.0f} s  {by}", flush=True)
                unnoticed += not found
    return int(unnoticed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
