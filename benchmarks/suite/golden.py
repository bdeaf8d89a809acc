"""Figures that need no quiet machine: what a train step of nnjax is made of, counted, not timed.

Workloads without training are left out.

``python -m benchmarks golden`` counts them anew and fails if one has grown since ``golden.json``
was written; ``--write`` accepts the new ones. Of each workload:

gflop: of products and convolutions in a whole step, the backward pass included (full size, traced).
equations: of the step's jaxpr, each counted as often as it runs (full size, traced).
random_draws: keys used up in a step (full size, traced).
temporaries: bytes beside inputs and outputs (small size, compiled by XLA for this CPU).
compilations: programs compiled by two steps and an evaluation (small size).
collectives: in the step with a batch sharded over all devices (small size).
"""

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from benchmarks.suite import workloads
from benchmarks.suite.count import collectives, primitives, products
from benchmarks.suite.peers.nnjax import training
from benchmarks.suite.workloads import WORKLOADS

FILE = Path(__file__).with_name("golden.json")
DRAWS = ("random_bits", "threefry2x32", "rng_bit_generator")
SLACK = 1.25  # XLA's temporaries are not ours to the byte, and another CPU has others


def count(name: str) -> dict[str, float]:
    """The figures of one workload."""
    workload = WORKLOADS[name]
    step, start, batch = _step(workload, workload.sizes, abstract=True)
    ran = primitives(step, start, batch)
    small, begin, few = _step(workload, workload.smoke)
    compiled = jax.jit(small, donate_argnums=0).lower(begin, few).compile()
    memory: Any = compiled.memory_analysis()
    return {
        "gflop": round(products(step, start, batch) / 1e9, 4),
        "equations": sum(ran.values()),
        "random_draws": sum(ran[kind] for kind in DRAWS),
        "temporaries": memory.temp_size_in_bytes,
        "compilations": _compilations(workload),
        "collectives": _collectives(workload),
    }


def grown(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """What has grown, in words; temporaries count only where the same jaxlib compiled them."""
    same_compiler = now["jaxlib"] == before["jaxlib"]
    lines = []
    for name, figures in now["workloads"].items():
        for what, value in figures.items():
            was = before["workloads"].get(name, {}).get(what)
            of_compiler = what in ("temporaries", "collectives")
            slack = SLACK if what == "temporaries" else 1
            if was is None:
                lines.append(f"{name}, {what}: {value}, not stored yet")
            elif value > slack * was and (same_compiler or not of_compiler):
                lines.append(f"{name}, {what}: {was} -> {value}")
    return lines


def main(write: bool) -> list[str]:
    """Count, print, and compare or store."""
    counted = {name: count(name) for name, workload in WORKLOADS.items() if workload.loss}
    now = {"jaxlib": importlib.metadata.version("jaxlib"), "workloads": counted}
    for name, figures in counted.items():
        print(f"{name}: " + ", ".join(f"{what} {value}" for what, value in figures.items()))
    if write:
        FILE.write_text(json.dumps(now, indent=1) + "\n")
        return []
    return grown(now, json.loads(FILE.read_text()))


def _step(workload, sizes, abstract=False):
    _, step, init = training(workload.network, sizes)
    state: Any = jax.eval_shape(init) if abstract else init()
    return step, state, workloads.batch(workload, sizes)


def _compilations(workload) -> int:
    """Programs that XLA compiles, from init to the second evaluation."""
    names: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs: Any) -> None:
        if "backend_compile" in event:
            names.append(event)

    jax.clear_caches()
    model, step, init = training(workload.network, workload.smoke)
    state, batch = init(), workloads.batch(workload, workload.smoke)
    step, infer = jax.jit(step, donate_argnums=0), jax.jit(lambda p, s, x: model.apply(p, s, x)[0])
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for _ in range(2):
            state, _ = step(state, batch)
            jax.block_until_ready(infer(state.params, state.state, batch[0]))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return len(names)


def _collectives(workload) -> int:
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    sizes = {**workload.smoke, "batch": devices}
    step, state, batch = _step(workload, sizes)
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    batch = jax.tree.map(np.asarray, batch)
    of_batch = jax.tree.map(lambda a: whole if len(a) % devices else split, batch)
    shardings = jax.tree.map(lambda _: whole, state), of_batch
    text = jax.jit(step, in_shardings=shardings).lower(state, batch).compile().as_text() or ""
    return collectives(text).total()
