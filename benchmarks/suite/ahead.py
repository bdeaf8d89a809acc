"""Compile our steps for TPUs and GPUs that are not here, and read what the compiler says.

``python -m benchmarks run --suite tpu --compile-only v5e:2x2`` needs libtpu (``pip install -e
'.[tpu-aot]'``, on Linux); ``--suite gpu --compile-only h200`` the plugin, ``pip install --no-deps
jax-cuda13-plugin jax-cuda13-pjrt`` in jaxlib's own version. The batch of the workload goes to every
chip, parameters and optimizer state are split over all of them (FSDP). Nothing is run: memory, work
and collectives are the compiler's own counts, and cycles its own estimate for each fusion, without
the time that collectives take between chips.

``python -m benchmarks.suite.ahead tpu v5e:2x2 mlp`` is one such compilation, in a process that must
set its environment before jax starts.
"""

import collections
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import clock

# jaxlib 0.10.2 refuses programs that use the SparseCores of a v5p or v6e (INTERNAL: RET_CHECK
# failure, of async-update), so gathers and scatters stay where a v5e has them, on the TensorCore.
_UNREADABLE = ("enable_offloading_gather_to", "enable_offloading_scatter_to", "offload_gather_to")
# For some products XLA finds no tiles in Triton where it cannot time any: these are cuBLAS's then.
_NO_TRITON = "--xla_gpu_enable_triton_gemm=false"
ENVIRONMENT = {
    "LIBTPU_INIT_ARGS": " ".join(f"--xla_tpu_{name}_sparsecore=false" for name in _UNREADABLE),
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_LOG_DIR": "disabled",
}

# XLA's description of a GPU; the public figures of NVIDIA's data sheets.
_GPU = """gpu_device_info {{ cuda_compute_capability {{ major: {major} minor: 0 }}
 threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
 shared_memory_per_block_optin: {shared} shared_memory_per_core: {core} threads_per_core_limit: 2048
 core_count: {cores} fpus_per_core: {fpus} block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
 block_dim_limit_z: 65535 memory_bandwidth: {bandwidth} l2_cache_size: {l2} clock_rate_ghz: {clock}
 device_memory_size: {memory} registers_per_core_limit: 65536 registers_per_block_limit: 65536 }}
 platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
 device_description_str: "{name}" """
_HOPPER = {"major": 9, "shared": 232448, "core": 233472, "cores": 132, "fpus": 128, "clock": 1.98}
GPUS = {
    "h200": _HOPPER
    | {"bandwidth": 4800 * 10**9, "l2": 62914560, "memory": 141 * 10**9, "name": "NVIDIA H200"},
    "h100": _HOPPER
    | {"bandwidth": 3350 * 10**9, "l2": 52428800, "memory": 80 * 10**9, "name": "NVIDIA H100"},
    "a100": {"major": 8, "shared": 166912, "core": 167936, "cores": 108, "fpus": 64, "clock": 1.41}
    | {"bandwidth": 2039 * 10**9, "l2": 41943040, "memory": 80 * 10**9, "name": "NVIDIA A100"},
}


def compile_all(suite: str, target: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """The figures of each workload, or ``{"error": ...}``; each in a process of its own."""
    found = {}
    for name in names:
        for flags in ("", _NO_TRITON) if suite == "gpu" else ("",):
            found[name] = _apart(suite, target, name, flags)
            if "error" not in found[name]:
                break
    return found


def _apart(suite: str, target: str, name: str, flags: str) -> dict[str, Any]:
    env = os.environ | ENVIRONMENT
    if flags:
        env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} {flags}"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.suite.ahead", suite, target, name],
        env=env,
        capture_output=True,
        text=True,
        cwd=clock.ROOT,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no word"]
        errors = [line for line in lines if "Error" in line or "RESOURCE" in line]
        return {"error": (errors or lines)[-1][:300]}
    return json.loads(done.stdout.strip().splitlines()[-1]) | {"flags": flags}


def table(found: dict[str, dict[str, Any]]) -> str:
    """A row a workload; cycles in millions, with the three layers that take most of them.

    Starred: with no product in Triton.
    """
    from benchmarks.suite.report import markdown

    rows = [row for row in found.values() if "error" not in row]
    gpu = any(row["kernels"] for row in rows)
    head = ["workload", "chips", "compile, s", "peak, MiB a chip", "GFLOP a chip", "GB moved"]
    head += ["collectives", *(["kernels"] if gpu else ["estimated Mcycles", "most of them in"])]
    number = lambda value, digits: "" if value is None else f"{value:,.{digits}f}"
    lines = [head]
    for name, row in found.items():
        if "error" in row:
            lines.append([name, "", "", row["error"], *[""] * (len(head) - 4)])
            continue
        label = f"{name}*" if row.get("flags") else name
        top = ", ".join(f"{layer} {share:.0%}" for layer, share in row["layers"])
        lines.append(
            [
                *(label, str(row["chips"]), f"{row['seconds']:.1f}", number(row["peak"], 0)),
                *(number(row["gflop"], 1), number(row["gigabytes"], 2)),
                _counted(row["collectives"]),
                *([_counted(row["kernels"])] if gpu else [number(row["megacycles"], 2), top]),
            ]
        )
    return markdown(lines)


def _counted(counts: dict[str, int] | None) -> str:
    if counts is None:
        return "not readable"
    return ", ".join(f"{n} {kind}" for kind, n in counts.items()) or "none"


def compile_one(suite: str, target: str, name: str) -> dict[str, Any]:
    """Compile one workload for the chips of ``target``: its train step, or what it infers."""
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

    from benchmarks.suite import workloads
    from benchmarks.suite.count import collectives, kernels, products
    from benchmarks.suite.peers.nnjax import inference, training
    from nnjax.ops.lowering import compile_for

    if suite == "tpu":
        chips = topologies.get_topology_desc(platform="tpu", topology_name=target).devices
    else:
        kind, _, shape = target.partition(":")
        config = _GPU.format(**GPUS[kind])
        described = topologies.get_topology_desc(
            platform="cuda", target_config=config, topology=shape or "1x1x1"
        )
        chips = described.devices
    mesh = Mesh(np.array(chips), ("chips",))
    workload = workloads.WORKLOADS[name]
    sizes = {**workload.sizes, "batch": workload.sizes["batch"] * len(chips)}
    if workload.loss:
        # Without this, XLA splits activations as the weights are, and keeps those of all chips.
        gather = lambda params: jax.lax.with_sharding_constraint(params, NamedSharding(mesh, P()))
        _, step, init = training(workload.network, sizes, gather=gather)
    else:
        step, init = inference(workload.network, sizes)

    def split(spec):  # the longest axis that all chips can share
        axes = [a for a, n in enumerate(spec.shape) if n % len(chips) == 0 and n >= len(chips)]
        best = max(axes, key=lambda a: spec.shape[a], default=None)
        names = [None if axis != best else "chips" for axis in range(len(spec.shape))]
        return NamedSharding(mesh, P(*names))

    state = jax.eval_shape(init)

    def divided(a):  # by examples, where all chips get as many
        spec = P() if len(a) % len(chips) else P("chips")
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=NamedSharding(mesh, spec))

    batch = jax.tree.map(divided, workloads.batch(workload, sizes))
    state = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=split(s)), state)
    with compile_for(suite):
        donated = 0 if workload.loss else ()
        lowered = jax.jit(step, donate_argnums=donated).trace(state, batch).lower()
    began = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - began
    memory: Any = compiled.memory_analysis()
    cost, text = read_back(compiled)
    cycles, layers = estimated_cycles(text)
    return {
        "chips": len(chips),
        "seconds": seconds,
        "peak": memory.peak_memory_in_bytes / 2**20,
        "gflop": products(step, state, batch) / len(chips) / 1e9,
        "gigabytes": cost["bytes accessed"] / 1e9 if "bytes accessed" in cost else None,
        "collectives": collectives(text) if text else None,
        "kernels": kernels(text) if suite == "gpu" else {},
        "megacycles": cycles / 1e6 if cycles else None,
        "layers": layers,
    }


def read_back(compiled: Any) -> tuple[Any, str]:
    """XLA's cost analysis and the program as text; both empty, where this jaxlib cannot read it.

    A newer compiler may use instructions that jaxlib does not know.
    """
    import jax

    try:
        return compiled.cost_analysis() or {}, compiled.as_text() or ""
    except jax.errors.JaxRuntimeError:
        return {}, ""


def estimated_cycles(text: str) -> tuple[int, list[tuple[str, float]]]:
    """The compiler's cycles in all, and the share of the three layers that take most.

    The body of a loop is listed once, and counted as often as it runs.
    """
    by_layer: collections.Counter[str] = collections.Counter()
    for lines, times in computations(text):
        for line in lines:
            cycles = re.search(r'"estimated_cycles":"(\d+)"', line)
            scope = re.search(r'op_name="([^"]*)"', line)
            if cycles is not None:
                by_layer[_layer(scope[1] if scope else "")] += int(cycles[1]) * times
    total = sum(by_layer.values())
    return total, [(layer, n / total) for layer, n in by_layer.most_common(3)]


def computations(text: str) -> Iterator[tuple[list[str], int]]:
    """The lines of each computation of a program, and how often it runs.

    How often a loop turns is what its condition compares with, as in ``jax.lax.scan``.
    """
    lines: list[str] = []
    bodies: dict[str, list[str]] = {}
    for line in text.splitlines():
        head = re.match(r"(?:ENTRY )?%([\w.\-]+) \(.*\{$", line)
        if head:
            lines = bodies[head[1]] = []
        else:
            lines.append(line)
    loops = {}
    for name, inside in bodies.items():
        for line in inside:
            loop = re.search(r" while\(.*condition=%([\w.\-]+), body=%([\w.\-]+)", line)
            if loop:
                bounds = re.findall(r" constant\((\d+)\)", "\n".join(bodies[loop[1]]))
                loops[loop[2]] = name, int(bounds[-1]) if bounds else 1

    def runs(name: str) -> int:
        if name not in loops:
            return 1
        outer, turns = loops[name]
        return turns * runs(outer)

    for name, inside in bodies.items():
        yield inside, runs(name)


def _layer(path: str) -> str:
    """The layer of nnjax that an operation's scope names, or "the rest"."""
    parts = re.sub(r"\b(?:jit|jvp|transpose|vmap|checkpoint)\(([^()]*)\)", r"\1", path).split("/")
    parts = [re.sub(r"^[a-z_]+\(|\)+$", "", part) for part in parts]
    named = [p for p in parts if re.fullmatch(r"[a-z_]+(_\d+)?", p) and p not in _SCOPES]
    return named[0] if len(named) > 1 else "the rest"


_SCOPES = {"step", "infer", "while", "body", "closed_call", "cond", "jit", "jvp", "transpose"}

if __name__ == "__main__":
    print(json.dumps(compile_one(*sys.argv[1:4])))
