"""All samples of one module, or of all modules, as rows."""

import dataclasses
import warnings
from typing import Any

import jax
import torch

import nnjax as nn
from benchmarks.conformance import adapters as adapters, torch_samples
from benchmarks.conformance.compare import compare
from benchmarks.conformance.twin import ADAPTERS, REASONS, NotOurs

TOLERANCE = {"float32": 1e-5, "bfloat16": 3e-2}  # the last: eight bits, and a few roundings
# Saturated gates and softmaxes differ by more in float32, since 1 - tanh(x)^2 cancels: XLA's tanh
# is within 2.3e-7, PyTorch's within 3e-8. They may by this much, if they agree to 1e-10 in float64,
# and are counted apart.
ILL_CONDITIONED, EXACT = 1e-3, 1e-10


@dataclasses.dataclass
class Row:
    """What came of one module's samples."""

    name: str
    layer: str = ""  # ours
    samples: int = 0
    available: int = 0
    rounded: int = 0  # of the samples, those that agree only in float64
    worst: float = 0.0
    where: str = ""  # the sample with the largest difference
    reasons: list[str] = dataclasses.field(default_factory=list)  # samples left out, and why
    failures: list[str] = dataclasses.field(default_factory=list)


def quiet_start() -> None:
    """Start a worker: one thread; programs that run once need no optimization passes.

    Not in ``__main__``, which a spawned worker of ``python -m`` does not import.
    """
    torch.set_num_threads(1)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_default_matmul_precision", "highest")
    jax.config.update("jax_disable_most_optimizations", True)


def row(name: str, dtype: str = "float32", limit: int | None = None) -> Row:
    """Compare the samples of torch.nn.<name>, in evaluation and in training.

    ``limit`` takes at most as many of either, evenly spread.
    """
    found = Row(name)
    if name in REASONS:
        found.reasons.append(REASONS[name])
        return found
    if name not in ADAPTERS:
        found.failures.append("no adapter")
        return found
    for train in (False, True):
        samples = list(torch_samples.of(name, train, getattr(torch, dtype)))
        found.available += len(samples)
        every = 1 if limit is None else max(1, -(-len(samples) // limit))
        for sample in samples[::every]:
            try:
                twin = ADAPTERS[name](sample.module.train(train))
                found.layer = nn.as_layer(twin.layer).name.split("(")[0]
                if dtype == "bfloat16" and not twin.bfloat16:
                    raise NotOurs("bfloat16: none at the peer on CPU")
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    worst = compare(sample, twin, train).worst()
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
                if _only_rounded(name, sample, train, dtype, worst):
                    found.rounded += 1
                else:
                    found.failures.append(f"{sample.text}: differs by {worst:.1e}")
    if not found.samples and not found.reasons:
        found.failures.append("no sample")
    jax.clear_caches()
    return found


def _only_rounded(name: str, sample: torch_samples.Sample, train: bool, dtype: str, worst: float):
    """Whether a difference in float32 is small, and gone in float64."""
    if dtype != "float32" or not worst <= ILL_CONDITIONED:
        return False
    wide: Any = lambda a: (
        type(a)(map(wide, a))
        if isinstance(a, (tuple, list))
        else a.detach().double()
        if torch.is_tensor(a) and a.is_floating_point()
        else a
    )
    module = sample.module.double()
    module.zero_grad()
    kwargs = {k: wide(v) for k, v in sample.kwargs.items()}
    sample = torch_samples.Sample(module, wide(sample.args), kwargs, sample.text)
    with jax.enable_x64(True):
        return compare(sample, ADAPTERS[name](module), train).worst() <= EXACT
