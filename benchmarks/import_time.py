"""What does ``import nnjax`` add to ``import jax``?

Wall time of whole processes that import and exit, in turn; ``import optax`` beside it, as most
programs that train import that too.

    python -m benchmarks.import_time
"""

from pathlib import Path

import tyro

from benchmarks import clock

BAR = 0.100  # seconds, from DESIGN.md


def main(rounds: int = 10, json: Path | None = None) -> list[clock.Row]:
    """Time processes that import jax, jax and nnjax, jax and optax."""
    sides = {
        line: lambda line=line: process(line)
        for line in ("import jax", "import jax, nnjax", "import jax, optax")
    }
    rows = clock.race(sides, rounds, bars={})
    clock.report("a process that imports", rows, {}, unit="ms", file=json)
    jax_alone, with_nnjax, _ = (row.median for row in rows)
    added = with_nnjax - jax_alone
    verdict = "met" if added < BAR else "MISSED"
    print(f"import nnjax adds {added * 1e3:.0f} ms, bar {BAR * 1e3:.0f}: {verdict}")
    return rows


def process(line: str) -> clock.Parts:
    laps = clock.Laps()
    clock.python(line)
    laps.mark("process")
    return laps.parts


if __name__ == "__main__":
    tyro.cli(main)
