"""The page docs/conformance.md, from the rows."""

import importlib.metadata
from collections.abc import Sequence

import jax
import torch

from benchmarks.conformance import peers
from benchmarks.conformance.run import TOLERANCE, Row

HEAD = """# Conformance

Every module of `torch.nn` (PyTorch {torch}), on PyTorch's own samples of it
(`torch.testing._internal.common_modules.module_db`, and ours for the modules that it leaves out),
beside our layer with the same settings and parameters, on CPU with jax {jax}: outputs, the state
after training, and the gradients of all parameters and inputs.

A cell is the largest difference of any entry, over the largest of its array. It passes at
{float32:g} in float32 and {bfloat16:g} in bfloat16 (8 bits, and a few roundings in a row).{share}

```bash slow
python -m benchmarks.conformance --write{option}
```

**{passed} of the {sensible} modules that make sense in a pure library pass ({percent:.1f} %).**
In {strict} of them every sample does, at {float32:g} in float32. The others have samples whose
float32 results are mostly rounding (saturated gates and softmaxes): "n in float64" says on how
many a difference of up to 1e-3 is gone, to 1e-10, when both sides compute in float64. Cells in
bold are over the limit; bfloat16 counts for no pass, as PyTorch's own rounding is often the larger
part.
{missed}
| torch.nn | nnjax | samples | float32 | bfloat16 | left out |
|---|---|---|---|---|---|
"""

PEERS_HEADING = "\n## Libraries in JAX\n"
PEERS_HEAD = """
Our layers beside the same ones of {versions}, with the same
weights and inputs, in float32 on CPU: outputs, the state after training where there is one, and
the gradients of all parameters and inputs. A cell is the largest difference, as above, in so many
configurations; it passes at {tolerance:g}. Epsilons and momenta, whose defaults differ, are set
equal. A layer that a library lacks has an empty cell.

```bash slow
python -m benchmarks.conformance --peers --write
```

**{passed} of {total} pairs pass.**

"""


def page(names: list[str], rows: dict[tuple[str, str], Row], limit: int | None) -> str:
    sensible = [n for n in names if rows[n, "float32"].samples or rows[n, "float32"].failures]
    passed = [n for n in sensible if not rows[n, "float32"].failures]
    missed = [n for n in sensible if n not in passed]
    lines = [_line(rows[n, "float32"], rows[n, "bfloat16"]) for n in sensible]
    others = [n for n in names if n not in sensible]
    head = HEAD.format(
        torch=torch.__version__.split("+")[0],
        jax=jax.__version__,
        share=f"\nOf a module with more samples, {limit} were taken, evenly spread."
        if limit
        else "",
        option=f" --samples {limit}" if limit else "",
        passed=len(passed),
        strict=sum(not rows[n, "float32"].rounded for n in passed),
        sensible=len(sensible),
        percent=100 * len(passed) / max(1, len(sensible)),
        missed=f"\nNot yet: {', '.join(missed)}.\n" if missed else "",
        **TOLERANCE,
    )
    tail = "\n\n## Modules without a row, and why\n\n| torch.nn | reason |\n|---|---|\n"
    tail += "\n".join(f"| {n} | {'; '.join(rows[n, 'float32'].reasons)} |" for n in others)
    return head + "\n".join(lines) + (tail if others else "") + "\n"


def _line(single: Row, half: Row) -> str:
    def cell(r: Row) -> str:
        text = f"**{r.worst:.0e}**" if r.failures else f"{r.worst:.0e}" if r.samples else ""
        return f"{text}, {r.rounded} in float64" if r.rounded else text

    reasons = "; ".join(single.reasons)
    return (
        f"| {single.name} | `{single.layer}` | {single.samples} | {cell(single)} | {cell(half)} "
        f"| {reasons} |"
    )


def with_peers(page: str, cells: Sequence[peers.Cell]) -> str:
    """The page, its section on the libraries in JAX put in place of an older one."""
    shown = [peer for peer in peers.PEERS if any(c.peer == peer for c in cells)]
    versions = [f"{peers.PEERS[p]} {importlib.metadata.version(p)}" for p in shown]
    head = PEERS_HEAD.format(
        versions=" and ".join(", ".join(versions).rsplit(", ", 1)),
        tolerance=peers.TOLERANCE,
        passed=sum(not c.failures for c in cells),
        total=len(cells),
    )
    by_place = {(c.layer, c.peer): c for c in cells}
    titles = [peers.PEERS[p] for p in shown]
    lines = [f"| nnjax | {' | '.join(titles)} | differences in meaning |"]
    lines.append("|---|" + "---|" * (len(shown) + 1))
    for layer in sorted({c.layer for c in cells}):
        row = [_peer_cell(by_place.get((layer, peer))) for peer in shown]
        notes = [peers.NOTES[layer, p] for p in shown if (layer, p) in peers.NOTES]
        notes = "; ".join(dict.fromkeys(notes))
        lines.append(f"| `{layer}` | {' | '.join(row)} | {notes} |")
    left_out = "".join(f"\nLeft out: {reason}.\n" for reason in peers.MISSING.values())
    before = page.partition(PEERS_HEADING)[0]
    return before + PEERS_HEADING + head + "\n".join(lines) + "\n" + left_out


def _peer_cell(cell: peers.Cell | None) -> str:
    if cell is None:
        return ""
    text = "equal" if cell.worst == 0 else f"{cell.worst:.0e}"
    text = f"**{text}**" if cell.failures else text
    return f"{text} ({cell.configurations})"
