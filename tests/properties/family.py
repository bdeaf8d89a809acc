"""What a family of properties is made of: cases drawn at random, and mistakes drawn at random.

``NNJAX_EXAMPLES=250 pytest tests/properties`` draws more of them.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import nnjax as nn

# The same examples in each run, so that a commit cannot fail by luck; a first call compiles, so
# that its time says nothing.
hypothesis.settings.register_profile(
    "nnjax",
    max_examples=int(os.environ.get("NNJAX_EXAMPLES", "15")),
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate, hypothesis.Phase.shrink],
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("nnjax")


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer with inputs that fit it, and what its documentation says of the outputs.

    ``outputs`` is a tree of shapes and dtypes, computed here from the docstring's words and not by
    the code under test. ``settings`` are what a peer is built from.
    """

    layer: nn.Layer
    inputs: tuple[Any, ...]
    outputs: Any
    named: dict[str, Any] = dataclasses.field(default_factory=dict)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    train: bool = False

    def run(self, params, state, inputs, named):
        key = jax.random.key(1) if self.train else None
        return self.layer.apply(params, state, *inputs, key=key, train=self.train, **named)


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A call that must be refused, and how its message begins."""

    call: Callable[[], Any]
    message: str
    what: str = ""  # the settings, which Hypothesis prints


@dataclasses.dataclass(frozen=True)
class Family:
    cases: st.SearchStrategy[Case]
    mistakes: st.SearchStrategy[list[Mistake]]
    checked: bool = True  # whether the inputs' shapes and dtypes are; functions of jax.nn are bare


def spec(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def integers(low: int, high: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).integers(low, high, shape, np.int32))


def booleans(*shape: int, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).random(shape) < 0.7)


def traced(case: Case) -> Any:
    """The outputs' shapes and dtypes, without computing anything."""
    params, state = jax.eval_shape(case.layer.init, jax.random.key(0))
    outputs, after = jax.eval_shape(case.run, params, state, case.inputs, case.named)
    kinds = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
    assert kinds(after) == kinds(state)
    return outputs


def called(layer: nn.Layer, *inputs: Any, train: bool = False, **named: Any) -> Callable[[], Any]:
    """A call as a user would make it, up to where numbers would be computed."""
    return lambda: traced(Case(layer, inputs, None, named, train=train))


sizes = st.integers(1, 5)
axes = st.integers(1, 3)
batches = st.lists(st.integers(0, 3), max_size=2).map(tuple)
flags = st.booleans()


def per_axis(count: int, entries: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(*[entries] * count)


def mistake(make: Callable[..., Any], message: str, *inputs: Any, **settings: Any) -> Mistake:
    """A layer that cannot be built of ``settings``, or not be called with ``inputs``."""
    call = lambda: called(make(**settings), *inputs)() if inputs else make(**settings)
    return Mistake(call, message, f"{make.__name__}(**{settings})")
