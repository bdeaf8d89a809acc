"""``python -m benchmarks run | report | compare``: every peer on the same networks, timed in turn.

python -m benchmarks run --suite smoke        # does everything still run? some minutes
python -m benchmarks run --suite cpu          # the whole table; leave the machine alone
python -m benchmarks report                   # docs/benchmarks.md from the stored results
python -m benchmarks compare OLD.json NEW.json
python -m benchmarks first                    # how long until the first step, and from a cache?
python -m benchmarks profile                  # where do our steps spend their time?
python -m benchmarks golden                   # has a step of nnjax grown? counts, no clock
"""

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from benchmarks import clock
from benchmarks.suite import ahead, report as reports
from benchmarks.suite.peers import PEERS, meant_for
from benchmarks.suite.run import Row, SideError, race
from benchmarks.suite.workloads import WORKLOADS

Suite = Literal["smoke", "cpu", "gpu", "tpu"]
RESULTS = Path(__file__).parent / "results"


def run(
    suite: Suite = "cpu",
    workloads: Sequence[str] = (),
    peers: Sequence[str] = (),
    rounds: int | None = None,
    out: Path | None = None,
    compile_only: str | None = None,
) -> None:
    """Time the workloads in all peers that are installed, and store the results as JSON.

    Args:
        suite: smoke takes tiny sizes on the CPU; the others name the backend, and refuse another.
        workloads: their names; all that belong to the suite, if none is given.
        peers: their names; all of them, if none is given.
        rounds: each side has a turn in every round; 12, and 1 for smoke.
        out: file for the results; benchmarks/results/SUITE.json, if none is given.
        compile_only: compile nnjax's train steps for chips that are not here, and time nothing:
            v5e:2x2, v5p:2x2x1, v6e:2x2 with --suite tpu; h100, h200, a100 with --suite gpu, or
            h200:1x8x1 for eight of them.
    """
    names = wanted(workloads, suite)
    if compile_only:
        os.environ["JAX_PLATFORMS"] = "cpu"  # the chips are not here
        found = ahead.compile_all(suite, compile_only, names)
        print(ahead.table(found))
        path = out or RESULTS / f"{suite}-{compile_only.replace(':', '-')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {**clock.header(), "suite": suite, "target": compile_only, "compiled": found}
        path.write_text(json.dumps(kept, indent=1) + "\n")
        return
    if suite == "gpu":
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # this process computes nothing
    sides = known("peer", peers, PEERS)
    smoke, backend = suite == "smoke", "cpu" if suite == "smoke" else suite
    rounds = rounds or (1 if smoke else 12)
    head = clock.header() | {"suite": suite}
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    for name in names:
        print(f"{name}: {WORKLOADS[name].about if not smoke else 'small'}", flush=True)
        those = meant_for(name, sides)
        found, without = race(name, those, backend=backend, smoke=smoke, rounds=rounds)
        rows += found
        left_out |= {f"{name}, {peer}": reason for peer, reason in without.items()}
        print(reports.table(found), flush=True)
        if out or not smoke:
            path = out or RESULTS / f"{suite}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            stored = [dataclasses.asdict(row) for row in rows]
            kept = {**head, "rows": stored, "left_out": left_out}
            path.write_text(json.dumps(kept, indent=1) + "\n")


def report(
    files: Annotated[Sequence[Path], tyro.conf.Positional] = (),
    page: Path = clock.ROOT / "docs" / "benchmarks.md",
) -> None:
    """Write the tables and plots of stored results into the docs page.

    Args:
        files: results; all of benchmarks/results, if none is given.
        page: the page, whose part between the two marks is written anew.
    """
    reports.write(list(files) or sorted(RESULTS.glob("*.json")), page)


def compare(
    old: Annotated[Path, tyro.conf.Positional],
    new: Annotated[Path, tyro.conf.Positional],
    slower: float = 1.1,
) -> None:
    """Print what has changed, and exit with status 1 if nnjax has become slower.

    What is compared is the ratio to hand-written JAX, which was timed in the same rounds.

    Args:
        old: results.
        new: later results.
        slower: by what factor a ratio must have grown to count.
    """
    lines, worse = reports.compare(json.loads(old.read_text()), json.loads(new.read_text()), slower)
    print("\n".join(lines))
    if worse:
        sys.exit(f"slower: {', '.join(worse)}")


def first(
    cases: Sequence[str] = (),
    peers: Sequence[str] = (),
    rounds: int = 5,
    out: Path = RESULTS / "first.json",
) -> None:
    """Time processes from their start to the end of their first train step, on the CPU.

    Args:
        cases: mlp, or transformers of 1, 12 and 48 blocks; all, if none is given.
        peers: their names; all of them, if none is given.
        rounds: of the mlp; the others, which take up to minutes a side, have one.
        out: file for the results.
    """
    from benchmarks.suite import first as firsts

    found, left_out = {}, {}
    names = [peer for peer in known("peer", peers, PEERS) if peer != "ceiling"]
    kept = {**clock.header(), "first": found, "left_out": left_out}
    for case in known("case", cases, firsts.CASES):
        network, _ = firsts.CASES[case]
        sides = meant_for(network, names)
        found[case], without = firsts.race(case, sides, rounds if case == "mlp" else 1)
        left_out |= {f"{case}, {peer}": reason for peer, reason in without.items()}
        print(f"{case}\n{firsts.table(found[case])}", *without.items(), sep="\n", flush=True)
        out.write_text(json.dumps(kept, indent=1) + "\n")


def profile(workloads: Sequence[str] = (), native: bool = False, out: Path | None = None) -> None:
    """Trace steps of nnjax, and store where their time goes.

    Args:
        workloads: their names; all of the CPU suite, if none is given.
        native: with its kernels in C++, and memory kept.
        out: file for the results; benchmarks/results/profile.json or profile_native.json, if none
            is given.
    """
    import nnjax as nn
    from benchmarks.suite import profile as profiles

    if native:
        nn.native.keep_memory()
        nn.native.build()
    out = out or RESULTS / ("profile_native.json" if native else "profile.json")
    found: dict[str, dict[str, Any]] = {}
    kept = {**clock.header(), "native": native, "profile": found}
    for name in wanted(workloads, "cpu"):
        found[name] = profiles.profile(name)
        print(name, flush=True)
        out.write_text(json.dumps(kept, indent=1) + "\n")
    print(profiles.table(found))


def golden(write: bool = False) -> None:
    """Count what a train step is made of, and exit with status 1 if a count has grown.

    Args:
        write: store the counts as the new standard instead.
    """
    import jax

    jax.config.update("jax_num_cpu_devices", 8)
    from benchmarks.suite import golden as figures

    lines = figures.main(write)
    if lines:
        sys.exit("grown:\n" + "\n".join(lines))


def wanted(workloads: Sequence[str], suite: Suite) -> list[str]:
    """The workloads of these names; of none, all that belong to the suite."""
    usual = [name for name, workload in WORKLOADS.items() if suite in workload.suites]
    return known("workload", workloads or usual, WORKLOADS)


def known(what: str, given: Sequence[str], those: dict) -> list[str]:
    unknown = [name for name in given if name not in those]
    if unknown:
        sys.exit(f"unknown {what} {', '.join(unknown)}; there are {', '.join(those)}.")
    return list(given) or list(those)


def main() -> None:
    try:
        tyro.extras.subcommand_cli_from_dict(
            {
                "run": run,
                "report": report,
                "compare": compare,
                "first": first,
                "profile": profile,
                "golden": golden,
            },
            prog="python -m benchmarks",
        )
    except SideError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
