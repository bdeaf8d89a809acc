"""Results as text: tables for the terminal and the docs, a plot, and two runs compared."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.run import Row
from benchmarks.suite.workloads import WORKLOADS

BEGIN, END = "<!-- results: python -m benchmarks report -->", "<!-- end of results -->"


def table(rows: Sequence[Row]) -> str:
    """A workload's rows, quickest step first; an inference is the step where nothing is trained."""
    reference = next((row for row in rows if row.peer == "ceiling"), None)
    ceiling = None if reference is None else reference.gflop / reference.step[1]
    unit = WORKLOADS[rows[0].workload].unit
    head = [
        *("peer", "step, ms", "p10–p90", "of hand-written", f"{unit}/s", "GFLOP/s"),
        *("of ceiling", "inference, ms", "call, µs", "first step, s", "temporaries, MiB"),
        "peak, MiB",
    ]
    lines = [head]
    for row in sorted(rows, key=lambda row: row.step[1]):
        low, median, high = (_number(1e3 * seconds) for seconds in row.step)
        speed = row.gflop / row.step[1]
        own = row.peer == "ceiling"
        temporaries = row.memory["temporaries"]
        first = sum(s for part, s in row.parts.items() if part not in ("import", "init"))
        lines.append(
            [
                row.peer,
                median if row.train else "",
                f"{low}–{high}",
                "" if own or row.ratio is None else f"{row.ratio:.2f}",
                "" if own else f"{row.rate:,.0f}",
                f"{speed:.1f}",
                "" if ceiling is None else f"{speed / ceiling:.0%}",
                "" if own else _number(1e3 * row.infer[1]),
                "" if own else f"{1e6 * row.call[1]:,.0f}",
                "" if own else f"{first:.2f}",
                "" if temporaries is None else f"{temporaries / 2**20:,.1f}",
                f"{(row.memory['peak'] or 0) / 2**20:,.0f}",
            ]
        )
    return markdown(lines)


# What we aim at on two CPU cores, of our ways: nnjax's step over hand-written JAX's, the best JAX
# library's and the best of PyTorch's.
TINY, NETWORKS = ("nnjax packed", "nnjax loop"), ("nnjax", "nnjax devices", "nnjax native")
TARGETS = [
    ("dispatch", ("nnjax",), (1.03, 1.0, 0.25)),
    ("dispatch", TINY, (0.25, 0.25, 0.06)),
    ("mlp", NETWORKS, (1.0, 1.0, 0.8)),
    ("cnn", NETWORKS, (0.5, 0.55, 1.0)),
    ("resnet18", NETWORKS, (0.8, 0.8, 1.0)),
    ("gpt", NETWORKS, (0.52, 0.85, 1.0)),
    ("lstm", NETWORKS, (0.7, 1.0, 1.0)),
]


def targets(rows: Sequence[Row]) -> str:
    """A row a target: the quicker of those ways over the best of each kind of peer, and the aim."""
    head = ["workload", "our way", "over hand-written", "over the best JAX library"]
    lines = [[*head, "over PyTorch's best"]]
    for name, wanted, aims in TARGETS:
        found = {row.peer: row for row in rows if row.workload == name and row.peer != "ceiling"}
        ways = [found[peer] for peer in wanted if peer in found]
        if not ways:
            continue
        ours = _quickest(ways)
        torch = [row for peer, row in found.items() if peer.startswith("torch")]
        hand = [row for peer, row in found.items() if peer == "hand-written"]
        libraries = [p for p in found if not p.startswith(("nnjax", "torch", "hand-written"))]
        others = [found[peer] for peer in libraries]
        cells = [name, ours.peer]
        for peers, aim in zip((hand, others, torch), aims, strict=True):
            if not peers:
                cells.append("left out")
                continue
            best = _quickest(peers).peer
            ratio = ours.ratios[best]
            verdict = "met" if ratio <= aim else "**missed**"
            which = "" if peers is hand else f" ({best})"
            cells.append(f"{ratio:.2f}{which}, aim {aim:g}: {verdict}")
        lines.append(cells)
    return markdown(lines)


def suite(results: Mapping[str, Any]) -> str:
    """The section of one suite; its plot is beside the page."""
    rows = [Row(**row) for row in results["rows"]]
    names = list(dict.fromkeys(row.workload for row in rows))
    said = ", ".join(f"{k} {v}" for k, v in results.items() if k not in ("rows", "left_out"))
    picture = f"![Step times over hand-written JAX's]({_picture(results)})"
    parts = [f"### {results['suite'].upper()}", f"{said}.", picture]
    if results["suite"] == "cpu":
        parts.append(targets(rows))
    for name in names:
        workload = [row for row in rows if row.workload == name]
        parts += [
            f"**{name}**: {WORKLOADS[name].about}. {workload[0].rounds} rounds.",
            table(workload),
        ]
    return "\n\n".join([*parts, *_left_out(results)])


def compiled(results: Mapping[str, Any]) -> str:
    """The section of one target of ``--compile-only``."""
    from benchmarks.suite.ahead import table

    head = _head(results, f"{results['target']}, compiled only", "jaxlib")
    return "\n\n".join([*head, table(results["compiled"])])


def profiled(results: Mapping[str, Any]) -> str:
    """The section of where our steps spend their time."""
    from benchmarks.suite.profile import table

    title = "Where our time goes" + (" with kernels in C++" if results.get("native") else "")
    head = _head(results, title, "device", "load")
    return "\n\n".join([*head, table(results["profile"])])


def started(results: Mapping[str, Any]) -> str:
    """The section of how long a first step takes."""
    from benchmarks.suite.first import table

    parts = _head(results, "Until the first step", "device", "load")
    for name, found in results["first"].items():
        parts += [f"**{name}**", table(found)]
    return "\n\n".join([*parts, *_left_out(results)])


# By the entry of a file of results that no other kind has.
SECTIONS = {"rows": suite, "compiled": compiled, "profile": profiled, "first": started}


def _head(results: Mapping[str, Any], title: str, *further: str) -> list[str]:
    said = (f"{key} {results[key]}" for key in ("date", "commit", *further, "jax"))
    return [f"### {title}", ", ".join(said) + "."]


def _left_out(results: Mapping[str, Any]) -> list[str]:
    lines = [f"- {name}: {why}" for name, why in results["left_out"].items()]
    return ["Left out:", "\n".join(lines)] if lines else []


def _picture(results: Mapping[str, Any]) -> str:
    return f"images/benchmarks_{results['suite']}.svg"


def write(files: Sequence[Path], target: Path) -> None:
    """Put the sections of all files between the page's two marks.

    Raises: ValueError, if the page lacks them.
    """
    text = target.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{target}: got no marks, expected the lines {BEGIN!r} and {END!r}.")
    sections = []
    for results in (json.loads(file.read_text()) for file in files):
        if "rows" in results:
            picture = target.parent / _picture(results)
            picture.parent.mkdir(exist_ok=True)
            plot([Row(**row) for row in results["rows"]], picture)
        (section,) = (make for kind, make in SECTIONS.items() if kind in results)
        sections.append(section(results))
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    target.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(sections) + f"\n\n{END}{after}")


def plot(rows: Sequence[Row], file: Path) -> None:
    """A panel a workload: each peer's step over hand-written JAX's, shorter is quicker."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [row for row in rows if row.ratio is not None and row.peer != "ceiling"]
    names = list(dict.fromkeys(row.workload for row in rows))
    with plt.rc_context({"svg.hashsalt": "nnjax", "font.size": 8}):
        figure, panels = plt.subplots(
            1, len(names), figsize=(2.6 * len(names) + 1, 3.2), squeeze=False, layout="constrained"
        )
        for panel, name in zip(panels[0], names, strict=True):
            shown = sorted((r for r in rows if r.workload == name), key=lambda r: -(r.ratio or 0))
            colors = ["#c44e52" if row.peer == "nnjax" else "#8c9bb0" for row in shown]
            panel.barh([row.peer for row in shown], [row.ratio or 0 for row in shown], color=colors)
            panel.axvline(1, color="black", linewidth=0.6)
            panel.set_title(name)
            panel.set_xlim(0, min(5, 1.1 * max(row.ratio or 0 for row in shown)))
        figure.supxlabel("step time over hand-written JAX's (bars end at 5)")
        figure.savefig(file, metadata={"Date": None})
        plt.close(figure)


def compare(
    old: Mapping[str, Any], new: Mapping[str, Any], slower: float
) -> tuple[list[str], list[str]]:
    """Lines on every side that both have, and the workloads on which nnjax lost by ``slower``."""
    ratio = lambda row: row["ratios"].get("hand-written")
    before = {(row["workload"], row["peer"]): ratio(row) for row in old["rows"]}
    lines, worse = [], []
    for row in new["rows"]:
        place = row["workload"], row["peer"]
        was, now = before.get(place), ratio(row)
        if was is None or now is None:
            continue
        lines.append(f"{', '.join(place)}: {was:.3f} -> {now:.3f} ({now / was:.2f})")
        if row["peer"] == "nnjax" and now > slower * was:
            worse.append(row["workload"])
    return lines, worse


def _quickest(rows: Sequence[Row]) -> Row:
    return min(rows, key=lambda row: row.step[1])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    rows.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(rows)
