"""PyTorch's own samples of its modules, ``module_db``, and ours for those that it leaves out."""

import dataclasses
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.testing._internal.common_modules import module_db

SAMPLES: dict[str, Callable[[], list[tuple[Any, tuple]]]] = {}  # what module_db has no entry for


def samples(name: str):
    """Register ``make() -> [(module, inputs), ...]`` for a module that ``module_db`` leaves out."""

    def register(make):
        SAMPLES[name] = make
        return make

    return register


@dataclasses.dataclass
class Sample:
    """One module with its own settings, and one call's inputs."""

    module: Any
    args: tuple
    kwargs: dict[str, Any]
    text: str


def every_module() -> list[str]:
    """The names of all classes of torch.nn that are modules."""
    names = (n for n in dir(torch.nn) if n[0] != "_")
    things = ((n, getattr(torch.nn, n)) for n in names)
    return [n for n, t in things if isinstance(t, type) and issubclass(t, torch.nn.Module)]


def of(name: str, train: bool, dtype=torch.float32) -> Iterator[Sample]:
    """Every sample of torch.nn.<name>."""
    if name in SAMPLES:
        torch.manual_seed(0)
        for module, args in SAMPLES[name]():
            floats = lambda a: a.to(dtype) if torch.is_tensor(a) and a.is_floating_point() else a
            yield Sample(module.to(dtype), tuple(map(floats, args)), {}, repr(module))
        return
    (info,) = [m for m in module_db if m.name == f"nn.{name}"]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = info.module_inputs_func(
            info, device="cpu", dtype=dtype, requires_grad=True, training=train
        )
        for one in inputs:
            made, call = one.constructor_input, one.forward_input
            if call is None:
                continue
            module = info.module_cls(*made.args, **made.kwargs).to(dtype)
            if name.startswith("Lazy"):  # its first call sets its sizes and its class
                module(*call.args, **call.kwargs)
            settings = [*map(repr, made.args), *(f"{k}={v!r}" for k, v in made.kwargs.items())]
            bound = inspect.signature(module.forward).bind(*call.args, **call.kwargs)
            yield Sample(module, bound.args, bound.kwargs, f"{name}({', '.join(settings)})")
