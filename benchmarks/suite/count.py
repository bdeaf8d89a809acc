"""What a function computes, counted in its jaxpr: nothing is run or compiled.

XLA's own ``cost_analysis`` counts the body of a loop once; here it counts as often as it runs.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Var

from nnjax.native import convolution as native


def products(function: Callable[..., Any], *args: Any) -> int:
    """Floating-point operations (two a multiply-add) of products and convolutions.

    Zeros that a convolution pads or spreads its input with count as numbers.
    """
    return sum(times * _products(equation) for equation, times in equations(function, *args))


def primitives(function: Callable[..., Any], *args: Any) -> Counter[str]:
    """How often each primitive runs."""
    counted: Counter[str] = Counter()
    for equation, times in equations(function, *args):
        counted[equation.primitive.name] += times
    return counted


def equations(function: Callable[..., Any], *args: Any) -> Iterator[tuple[Any, int]]:
    """Every equation of the jaxpr that anything reads, and how often it runs; of branches, all."""
    yield from _walk(jax.make_jaxpr(function)(*args).jaxpr, 1)


def collectives(program: str) -> Counter[str]:
    """Those of a compiled program, given as text; what a loop repeats is counted once."""
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    return Counter(re.findall(rf" ({kinds})(?:-start)?\(", program))


def kernels(program: str) -> Counter[str]:
    """The kernels that a program for a GPU calls or has written by Triton, by XLA's names."""
    found = re.findall(r'custom_call_target="(__[^"]+)"|"kind":"__([^"]+)"', program)
    return Counter((called or fused).strip("_") for called, fused in found)


def _walk(jaxpr: Jaxpr, times: int) -> Iterator[tuple[Any, int]]:
    for equation in _read(jaxpr):
        inner = [p for value in equation.params.values() for p in _jaxprs(value)]
        turns = equation.params["length"] if equation.primitive.name == "scan" else 1
        if not inner:
            yield equation, times
        for jaxpr_inside in inner:
            yield from _walk(jaxpr_inside, times * turns)


def _read(jaxpr: Jaxpr) -> list[Any]:
    """The equations that XLA will not drop: with an effect, or with a result that is read."""
    read, kept = {v for v in jaxpr.outvars if isinstance(v, Var)}, []
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not read.isdisjoint(equation.outvars):
            read.update(v for v in equation.invars if isinstance(v, Var))
            kept.append(equation)
    return kept[::-1]


def _jaxprs(value: Any) -> Iterator[Jaxpr]:
    if isinstance(value, ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _jaxprs(part)


def _products(equation: Any) -> int:
    name = equation.primitive.name
    out = math.prod(equation.outvars[0].aval.shape)
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2 * out * math.prod(shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        features = equation.params["dimension_numbers"].rhs_spec[0]
        return 2 * out * math.prod(kernel) // kernel[features]
    if name == native.NAME:
        return 2 * native.multiplications(equation)
    return 0
