"""What the benchmarks share: sides timed in turn, medians, a header that says where and of what.

Only the standard library is imported at the top, so that a timed process may import its benchmark.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

Parts = dict[str, float]  # seconds of each part of one run; the parts add up to the run
Bars = Mapping[str, Mapping[str, float]]  # side: {peer: what side / peer must not exceed}


@dataclasses.dataclass(frozen=True)
class Row:
    """One side in seconds: quantiles of the whole, median of each part, ratio to each peer."""

    side: str
    median: float
    p10: float
    p90: float
    parts: Parts
    ratios: dict[str, float]


def race(sides: Mapping[str, Callable[[], Parts]], rounds: int, bars: Bars) -> list[Row]:
    """Run all sides in every round, each time another one first, after one round of warm-up.

    A ratio is the median of the rounds' own ratios: what slows a whole round down cancels.
    """
    import numpy as np

    names = list(sides)
    runs: dict[str, list[Parts]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            runs[name].append(sides[name]())
    timed = {name: runs[name][1:] for name in names}
    total = {name: np.array([sum(run.values()) for run in timed[name]]) for name in names}

    def row(name: str) -> Row:
        p10, median, p90 = map(float, np.percentile(total[name], (10, 50, 90)))
        parts = {
            part: float(np.median([run[part] for run in timed[name]])) for part in runs[name][0]
        }
        peers = bars.get(name, ())
        ratios = {peer: float(np.median(total[name] / total[peer])) for peer in peers}
        return Row(name, median, p10, p90, parts, ratios)

    return [row(name) for name in names]


class Laps:
    """The seconds between marks, each under the name of what has just ended."""

    def __init__(self, start: float | None = None):
        self.parts: Parts = {}
        self._last = time.monotonic() if start is None else start  # one clock for all processes

    def mark(self, part: str) -> None:
        now = time.monotonic()
        self.parts[part], self._last = now - self._last, now


def seconds(call: Callable[[], Any], calls: int = 1) -> float:
    """Wall time of one of ``calls`` calls in a row, the wait for the last result included."""
    import jax

    start = time.perf_counter()
    jax.block_until_ready([call() for _ in range(calls)])
    return (time.perf_counter() - start) / calls


def python(code: str) -> str:
    """What a new Python process that runs ``code`` prints."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


def environment() -> dict[str, str]:
    """That of this process, for another that imports benchmarks and nnjax as if installed."""
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed is bytecode, so let ours be
    return env


def check_same(what: str, ours: Any, theirs: Any, *, rtol: float = 1e-5, atol: float = 1e-6):
    """Refuse to time two sides that do not compute the same.

    Raises: AssertionError, which ends a script with status 1.
    """
    import jax
    import numpy as np

    ours, theirs = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    assert len(ours) == len(theirs), f"{what}: got {len(ours)} arrays and {len(theirs)}"
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=f"{what} differ")


def report(title: str, rows: list[Row], bars: Bars, *, unit: str, file: Path | None) -> None:
    """Print the header and a row a side; store both as JSON in ``file``, if one is given."""
    scale, digits = {"us": (1e6, 1), "ms": (1e3, 1), "s": (1.0, 3)}[unit]
    head = header()
    print(", ".join(f"{key} {value}" for key, value in head.items()))
    print(f"{title}; {unit}")
    parts = list(rows[0].parts) if len(rows[0].parts) > 1 else []
    width = max(len(row.side) for row in rows)
    columns = ["median", "p10", "p90", *parts]
    print(" " * width, *(f"{column:>9}" for column in columns))
    for row in rows:
        times = [row.median, row.p10, row.p90, *(row.parts[part] for part in parts)]
        print(row.side.ljust(width), *(f"{time * scale:9.{digits}f}" for time in times))
    for row in rows:
        for peer, ratio in row.ratios.items():
            limit = bars[row.side][peer]
            verdict = "met" if ratio <= limit else "MISSED"
            print(f"{row.side} / {peer}: {ratio:.3f}, bar {limit}: {verdict}")
    if file:
        stored = {**head, "title": title, "rows": [dataclasses.asdict(row) for row in rows]}
        file.write_text(json.dumps(stored, indent=1) + "\n")


def header() -> dict[str, str]:
    """Date, commit, device, processor, load, versions and dtype."""
    import jax

    import nnjax

    device, version = jax.devices()[0], importlib.metadata.version
    describe = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": commit or "unknown",
        "device": f"{device.device_kind}, {os.cpu_count()} cores of {processor()}",
        "load": f"{os.getloadavg()[0]:.1f}",  # of the last minute: well below the cores, or wait
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "optax": version("optax"),
        "nnjax": nnjax.__version__,
        "python": platform.python_version(),
        "dtype": str(jax.numpy.result_type(float)),
    }


def processor() -> str:
    """The CPU's name; in Linux its family and model, too, as the names of clouds say little."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(re.findall(r"^(model name|cpu family|model)\s*: (.+)$", info, re.MULTILINE))
    name = found.pop("model name", platform.machine())
    return ", ".join([name, *(f"{key} {value}" for key, value in found.items())])
