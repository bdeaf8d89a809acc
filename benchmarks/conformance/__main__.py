"""Conformance: ``python -m benchmarks.conformance [--only Linear,GRU] [--write]``.

Every module of torch.nn, on its own samples, beside our layer with the same settings and
parameters: outputs, states and all gradients, float32 and bfloat16. ``--write`` makes
docs/conformance.md.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
from pathlib import Path

from benchmarks.conformance import report, torch_samples
from benchmarks.conformance.run import Row, quiet_start, row

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conformance")
    parser.add_argument("--only", default="", help="comma-separated torch.nn names")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--samples", type=int, help="at most so many a module, evenly spread")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="both dtypes, to docs/conformance.md")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else torch_samples.every_module()
    dtypes = ["float32", "bfloat16"] if arguments.write else [arguments.dtype]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        arguments.workers, mp_context=context, initializer=quiet_start
    ) as pool:
        jobs = {
            (name, dtype): pool.submit(row, name, dtype, arguments.samples)
            for dtype in dtypes
            for name in names
        }
        rows: dict[tuple[str, str], Row] = {}
        for (name, dtype), job in jobs.items():
            rows[name, dtype] = r = job.result()
            count = f"{r.samples:4} of {r.available:4} samples"
            print(f"{name:28} {dtype:9} {count}  worst {r.worst:.1e}  {'; '.join(r.reasons)}")
            for failure in r.failures[:5]:
                print(f"    FAILED {failure[:300]}", flush=True)
    if arguments.write:
        PAGE.write_text(report.page(names, rows, arguments.samples))
    return int(any(r.failures for r in rows.values()))


if __name__ == "__main__":
    raise SystemExit(main())
