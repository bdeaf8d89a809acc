"""What the benchmarks share: sides timed in turn, medians, a header that says where and of what.

Only the standard library is imported at the top, so that a timed process may import its benchmark.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import math
import os
import platform
import statistics
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
    names = list(sides)
    runs: dict[str, list[Parts]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            runs[name].append(sides[name]())
    total = {name: [sum(parts.values()) for parts in runs[name][1:]] for name in names}

    def row(name: str) -> Row:
        tenths = statistics.quantiles(total[name], n=10, method="inclusive")
        parts = {part: statistics.median(r[part] for r in runs[name][1:]) for part in runs[name][0]}
        ratios = {
            peer: statistics.median(map(float.__truediv__, total[name], total[peer]))
            for peer in bars.get(name, ())
        }
        return Row(name, statistics.median(total[name]), tenths[0], tenths[-1], parts, ratios)

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
    for _ in range(calls):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / calls


def python(code: str) -> str:
    """What a new Python process that runs ``code`` prints, benchmarks and nnjax importable."""
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed nnjax is bytecode, so let it be here
    done = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, check=True)
    return done.stdout.decode()


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
    scale = {"us": 1e6, "ms": 1e3, "s": 1.0}[unit]
    head = header()
    print(", ".join(f"{key} {value}" for key, value in head.items()))
    parts = [part for part in rows[0].parts if len(rows[0].parts) > 1]
    print(f"{title}; {unit}")
    width = max(len(row.side) for row in rows)
    columns = ["median", "p10", "p90", *parts]
    print(" " * width, *(f"{column:>9}" for column in columns))
    for row in rows:
        times = [row.median, row.p10, row.p90, *(row.parts[part] for part in parts)]
        # four figures, whatever the size
        digits = [max(0, 3 - math.floor(math.log10(time * scale))) for time in times]
        cells = [f"{t * scale:9.{min(d, 3)}f}" for t, d in zip(times, digits, strict=True)]
        print(row.side.ljust(width), *cells)
    for row in rows:
        for peer, ratio in row.ratios.items():
            limit = bars[row.side][peer]
            verdict = "met" if ratio <= limit else "MISSED"
            print(f"{row.side} / {peer}: {ratio:.3f}, bar {limit}: {verdict}")
    if file:
        stored = {**head, "title": title, "rows": [dataclasses.asdict(row) for row in rows]}
        file.write_text(json.dumps(stored, indent=1) + "\n")


def header() -> dict[str, str]:
    """Date, commit, device, load, versions and dtype."""
    import jax

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    device = jax.devices()[0]
    load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    version = importlib.metadata.version
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": git("rev-parse", "--short", "HEAD") + "+" * bool(git("status", "--short")),
        "device": f"{device.platform} {device.device_kind}",
        "load": load,
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "optax": version("optax"),
        "nnjax": __import__("nnjax").__version__,
        "python": platform.python_version(),
        "dtype": "float32",
    }
