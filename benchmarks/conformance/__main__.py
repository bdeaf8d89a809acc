"""Conformance: ``python -m benchmarks.conformance [--only Linear,GRU] [--peers] [--write]``.

Every module of torch.nn, on its own samples, beside our layer with the same settings and
parameters: outputs, states and all gradients, float32 and bfloat16. ``--peers`` takes
Flax, Equinox and Keras instead, as far as they are installed, and of ours the layers of ``--only``.
``--write`` makes docs/conformance.md of all four, with ``--peers`` only its section on the three.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
from pathlib import Path

from benchmarks.conformance import peers, report, torch_samples
from benchmarks.conformance.run import Row, quiet_start, row

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance")
    parser.add_argument("--only", default="", help="comma-separated torch.nn names, or ours")
    parser.add_argument("--peers", action="store_true", help="Flax, Equinox and Keras instead")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--samples", type=int, help="at most so many a module, evenly spread")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="both dtypes, to docs/conformance.md")
    arguments = parser.parse_args()
    only = arguments.only.split(",") if arguments.only else []
    context = multiprocessing.get_context("spawn")
    failed = False
    with concurrent.futures.ProcessPoolExecutor(
        arguments.workers, mp_context=context, initializer=quiet_start
    ) as pool:
        if not arguments.peers:
            names = only or torch_samples.every_module()
            dtypes = ["float32", "bfloat16"] if arguments.write else [arguments.dtype]
            rows = beside_torch(pool, names, dtypes, arguments.samples)
            failed |= any(r.failures for r in rows.values())
            if arguments.write:
                PAGE.write_text(report.page(names, rows, arguments.samples))
        if arguments.peers or arguments.write:
            cells = beside_peers(pool, only if arguments.peers else [])
            failed |= any(c.failures for c in cells)
            if arguments.write:
                page = PAGE.read_text() if PAGE.exists() else ""
                PAGE.write_text(report.with_peers(page, cells))
    return int(failed)


def beside_torch(
    pool: concurrent.futures.Executor, names: list[str], dtypes: list[str], samples: int | None
) -> dict[tuple[str, str], Row]:
    """Rows by module and dtype, printed as they come."""
    jobs = {
        (name, dtype): pool.submit(row, name, dtype, samples) for dtype in dtypes for name in names
    }
    rows: dict[tuple[str, str], Row] = {}
    for (name, dtype), job in jobs.items():
        rows[name, dtype] = r = job.result()
        count = f"{r.samples:4} of {r.available:4} samples"
        print(f"{name:28} {dtype:9} {count}  worst {r.worst:.1e}  {'; '.join(r.reasons)}")
        for failure in r.failures[:5]:
            print(f"    FAILED {failure[:300]}", flush=True)
    return rows


def beside_peers(pool: concurrent.futures.Executor, only: list[str]) -> list[peers.Cell]:
    """A cell for each layer and peer, printed as they come."""
    for reason in peers.MISSING.values():
        print(f"left out: {reason}")
    places = [place for place in sorted(peers.PAIRS) if not only or place[0] in only]
    cells = []
    for job in [pool.submit(peers.cell, *place) for place in places]:
        cells.append(c := job.result())
        count = f"{c.configurations:2} configurations"
        note = peers.NOTES.get((c.layer, c.peer), "")
        print(f"{c.layer:20} {c.peer:8} {count}  worst {c.worst:.1e}  {note}", flush=True)
        for failure in c.failures:
            print(f"    FAILED {failure[:300]}", flush=True)
    return cells


if __name__ == "__main__":
    raise SystemExit(main())
