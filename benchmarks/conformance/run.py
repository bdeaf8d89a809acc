"""All samples of one module, or of all modules, as rows."""

import copy
import dataclasses
import warnings

import jax
import torch

from benchmarks.conformance import adapters as adapters, torch_samples
from benchmarks.conformance.compare import compare
from benchmarks.conformance.torch_samples import Sample
from benchmarks.conformance.twin import ADAPTERS, REASONS, NotOurs

TOLERANCE = {"float32": 1e-5, "bfloat16": 3e-2}  # the last: eight bits, and a few roundings
ROUNDING = (
    "{} of the samples by float64, to 1e-10: float32 rounds their gradients by more than 1e-5"
)


@dataclasses.dataclass
class Row:
    """What came of one module's samples."""

    name: str
    samples: int = 0
    worst: float = 0.0
    where: str = ""  # the sample with the largest difference
    rounded: int = 0  # samples that float32 is too coarse for, on both sides, and float64 is not
    reasons: list[str] = dataclasses.field(default_factory=list)  # samples left out, and why
    failures: list[str] = dataclasses.field(default_factory=list)


def row(name: str, dtype: str = "float32") -> Row:
    """Compare every sample of torch.nn.<name>, in evaluation and in training."""
    found = Row(name)
    if name in REASONS:
        found.reasons.append(REASONS[name])
        return found
    if name not in ADAPTERS:
        found.failures.append("no adapter")
        return found
    for train in (False, True):
        for sample in torch_samples.of(name, train, getattr(torch, dtype)):
            try:
                twin = ADAPTERS[name](sample.module.train(train))
                if dtype == "bfloat16" and not twin.bfloat16:
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    fine = dtype == "float32" and in_float64(sample)  # compare moves parameters
                    worst = compare(sample, twin, train).worst()
                    if fine and worst > TOLERANCE[dtype]:
                        with jax.enable_x64(True):
                            exact = compare(fine, ADAPTERS[name](fine.module), train).worst()
                        if exact < 1e-10:
                            found.rounded, worst = found.rounded + 1, exact
            except NotOurs as reason:
                if str(reason) not in found.reasons:
                    found.reasons.append(str(reason))
                continue
            except Exception as error:  # a report of all modules beats a stop at the first
                text = f"{type(error).__name__}: {error}".splitlines()[0]
                found.failures.append(f"{sample.text}: {text}")
                continue
            found.samples += 1
            if worst >= found.worst:
                found.worst, found.where = worst, sample.text
            if not worst <= TOLERANCE[dtype]:
                found.failures.append(f"{sample.text}: differs by {worst:.1e}")
    if found.rounded:
        found.reasons.append(ROUNDING.format(found.rounded))
    if not found.samples and not found.reasons:
        found.failures.append("no sample")
    jax.clear_caches()
    return found


def in_float64(sample: Sample) -> Sample:
    """The same module and inputs, with the same values."""
    wide = lambda a: a.double() if torch.is_tensor(a) and a.is_floating_point() else a
    lift = lambda a: type(a)(map(lift, a)) if isinstance(a, (tuple, list)) else wide(a)
    return Sample(
        copy.deepcopy(sample.module).double(),
        tuple(map(lift, sample.args)),
        {name: lift(a) for name, a in sample.kwargs.items()},
        sample.text,
    )
