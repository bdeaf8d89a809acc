"""Where a step's time goes, operation by operation, as XLA's own trace has it.

``python -m benchmarks profile`` traces a few steps of each workload and writes
``results/profile.json``, which the docs page shows. An operation's time is its own, without that of
what it calls; operations that run side by side on several cores count each. FLOP/s are those of
products and convolutions alone, over the wall time of a step and over the time spent in them.
"""

import collections
import re
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData

from benchmarks.suite import workloads
from benchmarks.suite.count import products
from benchmarks.suite.peers.nnjax import inference, training
from benchmarks.suite.workloads import WORKLOADS

STEPS = 5
# By opcode or, within a fusion, by the name of its root. A gradient's product may bear the name of
# the transpose that XLA merged into it.
KINDS = {"dot": "products", "dot_general": "products"}
KINDS |= {"convolution": "convolutions", "conv_general_dilated": "convolutions"}
KINDS |= {"ffi_call": "convolutions"}  # those of nnjax.native
LOOP = {"", "while", "body", "closed_call"}
MOVING = {"copy", "transpose", "bitcast", "concatenate", "pad", "slice", "reshape", "gather"}


def profile(name: str, *, smoke: bool = False) -> dict[str, Any]:
    """Milliseconds of a step, shares by kind of operation, and the places that take most."""
    workload = WORKLOADS[name]
    sizes = workload.smoke if smoke else workload.sizes
    if workload.loss:
        _, step, init = training(workload.network, sizes)
    else:  # nothing is trained: a step leaves the parameters as they were
        infer, init = inference(workload.network, sizes)
        step = lambda variables, batch: (variables, infer(variables, batch))
    state, batch = init(), jax.device_put(workloads.batch(workload, sizes))
    compiled = jax.jit(step, donate_argnums=0).trace(state, batch).lower().compile()
    operations = named(compiled.as_text() or "")
    state, _ = jax.block_until_ready(compiled(state, batch))
    walls = []
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(STEPS):
                start = time.perf_counter()
                state, _ = jax.block_until_ready(compiled(state, batch))
                walls.append(time.perf_counter() - start)
        (file,) = Path(folder).rglob("*.xplane.pb")
        times = own_times(ProfileData.from_file(str(file)), operations)
    total = sum(times.values())
    kinds: dict[str, float] = collections.defaultdict(float)
    places: dict[str, float] = collections.defaultdict(float)
    for operation, seconds in times.items():
        kind, place = described(operations[operation])
        kinds[kind] += seconds
        places[place] += seconds
    most = lambda spent: sorted(spent.items(), key=lambda item: -item[1])
    heavy = kinds["products"] + kinds["convolutions"]
    gflop = products(step, state, batch) / 1e9
    wall = statistics.median(walls)
    return {
        "step": wall,
        "gflops": gflop / wall,
        "gflops_within": gflop * STEPS / heavy if heavy else 0.0,
        "kinds": {kind: spent / total for kind, spent in most(kinds)},
        "places": [(place, spent / total) for place, spent in most(places)[:5]],
    }


def named(program: str) -> dict[str, tuple[str, str]]:
    """Of each instruction of a compiled program: its opcode, and JAX's name for it."""
    found = {}
    for line in program.splitlines():
        match = re.match(r"\s*(?:ROOT )?%?([\w.\-]+) = .*? ([a-z][\w\-]*)\(", line)
        if match:
            name = re.search(r'op_name="([^"]*)"', line)
            found[match[1]] = match[2], name[1] if name else ""
    return found


def own_times(trace: Any, operations: Iterable[str]) -> dict[str, float]:
    """Seconds of each operation, without those of the operations that it encloses."""
    known, own = set(operations), collections.defaultdict(float)
    for plane in trace.planes:
        for line in plane.lines:
            open_until: list[tuple[float, str]] = []
            events = [e for e in line.events if e.name in known]
            for event in sorted(events, key=lambda e: (e.start_ns, -e.duration_ns)):
                while open_until and open_until[-1][0] <= event.start_ns:
                    open_until.pop()
                if open_until:
                    own[open_until[-1][1]] -= event.duration_ns / 1e9
                own[event.name] += event.duration_ns / 1e9
                open_until.append((event.start_ns + event.duration_ns, event.name))
    return dict(own)


def described(operation: tuple[str, str]) -> tuple[str, str]:
    """Kind and place of an instruction: ("products", "mlp/linear_0, backward")."""
    opcode, name = operation
    backward = "transpose(" in name
    parts = re.sub(r"/jit\(\w+\)|[a-z_]+\(|\)+", "", name).split("/")
    last = parts[-1] if parts else ""
    moved = "copies" if last in MOVING or opcode in MOVING else "the rest"
    kind = KINDS.get(opcode) or KINDS.get(last, moved)
    scopes = [p for p in parts[1:-1] if p not in LOOP and "=" not in p and "->" not in p]
    layers = [re.sub(r"_\d+$", "", scope) for scope in scopes]
    place = "/".join([*layers[:3], opcode if opcode in KINDS else last or opcode])
    return kind, place + (", backward" if backward else "")


def table(found: dict[str, dict[str, Any]]) -> str:
    """A row a workload."""
    from benchmarks.suite.report import markdown

    kinds = ["products", "convolutions", "copies", "the rest"]
    head = ["workload", "step, ms", "GFLOP/s", "GFLOP/s within", *kinds, "most of it in"]
    lines = [head]
    for name, row in found.items():
        shares = [f"{row['kinds'].get(kind, 0):.0%}" for kind in kinds]
        places = ", ".join(f"{place} {share:.0%}" for place, share in row["places"])
        speeds = [f"{row['gflops']:.1f}", f"{row['gflops_within']:.1f}"]
        lines.append([name, f"{1e3 * row['step']:.3g}", *speeds, *shares, places])
    return markdown(lines)
