"""What tells XLA how to compile, and changes no number; and which way was taken."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import jax

from nnjax.native import built

_target: ContextVar[str | None] = ContextVar("target", default=None)


def way(op: str, implementation: str) -> contextlib.AbstractContextManager[Any]:
    """Marks what is traced within as this implementation of an operation, for ``nn.explain``."""
    return jax.named_scope(f"{op}={implementation}")


def backend() -> str:
    """The platform that "auto" chooses for: JAX's default one, or that of ``compile_for``."""
    return _target.get() or jax.default_backend()


def choices() -> tuple[Any, ...]:
    """What "auto" looks at beside shapes: what was traced under others is not to be used again."""
    return backend(), built()


@contextlib.contextmanager
def compile_for(platform: str) -> Iterator[None]:
    """Within it, "auto" is what it is on this platform: to lower, or to explain, for a machine that
    is not here. It acts where a function is traced; what ``jax.jit`` has traced before stays so.
    """
    token = _target.set(platform)
    try:
        yield
    finally:
        _target.reset(token)


def one_cpu() -> bool:
    """Whether all runs on one CPU device, whose cores share the work of each operation."""
    return backend() == "cpu" and jax.device_count() == 1


def settled(x: jax.Array) -> jax.Array:
    """x, computed once on a CPU, and not again within each use of it.

    XLA:CPU fuses a cheap chain into whatever reads it. Of a residual stream that is the sum of all
    branches so far, which every norm, and every gradient of a product with a norm's output, would
    add up anew: work that grows with the square of the depth (``benchmarks/kernels.py`` times six
    blocks with and without). Elsewhere x stays free to be fused.
    """
    return jax.lax.optimization_barrier(x) if backend() == "cpu" else x
