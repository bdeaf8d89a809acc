"""Conformance: ``python -m benchmarks.conformance [--only Linear,GRU] [--dtype bfloat16]``."""

import argparse

import jax
import torch

from benchmarks.conformance import torch_samples
from benchmarks.conformance.run import row


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="comma-separated torch.nn names")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    jax.config.update("jax_default_matmul_precision", "highest")
    jax.config.update("jax_disable_most_optimizations", True)
    failed = 0
    for name in arguments.only.split(",") if arguments.only else torch_samples.every_module():
        r = row(name, arguments.dtype)
        print(f"{name:28} {r.samples:4} samples  worst {r.worst:.1e}  {'; '.join(r.reasons)}")
        for failure in r.failures[:5]:
            print(f"    FAILED {failure[:300]}")
        failed += bool(r.failures)
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
