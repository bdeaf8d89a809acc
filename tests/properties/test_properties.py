"""Random valid configurations do what is documented; random mistakes are named as documented.

Shapes are traced and not computed, which costs milliseconds; a few examples are run.
"""

import re

import jax
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.properties import FAMILIES
from tests.properties.family import Case, traced

# How JAX itself words what it cannot do: none of it may reach a user of a layer.
FOREIGN = ("jaxlib", "XLA", "dot_general", "broadcast_shapes", "lax.", "Traced<")

# beartype looks at a random entry of each sequence that it checks
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the .random. module")


@pytest.fixture(params=FAMILIES.values(), ids=list(FAMILIES))
def family(request):
    return request.param


@pytest.fixture(params=[name for name, family in FAMILIES.items() if family.checked])
def checked_family(request):
    return FAMILIES[request.param]


def refused(error: Exception) -> None:
    """The error is ours, and says what was got and expected."""
    if not type(error).__module__.startswith("nnjax"):
        raise error
    assert "got" in str(error) and not any(word in str(error) for word in FOREIGN), error


@given(st.data())
def test_valid_settings_keep_the_documented_shapes(family, data):
    case: Case = data.draw(family.cases)
    outputs = traced(case)
    kinds = lambda tree: jax.tree.map(lambda a: (a.shape, str(a.dtype)), tree)
    assert kinds(outputs) == kinds(case.outputs)


@settings(max_examples=1)
@given(st.data())
def test_valid_settings_run(family, data):
    case: Case = data.draw(family.cases)
    params, state = jax.jit(case.layer.init)(jax.random.key(0))
    outputs, _ = jax.jit(case.run)(params, state, case.inputs, case.named)
    for y, documented in zip(jax.tree.leaves(outputs), jax.tree.leaves(case.outputs), strict=True):
        assert y.shape == documented.shape and np.isfinite(y).all()


@settings(max_examples=2)
@given(st.data())
def test_mistakes_are_refused_by_name(family, data):
    for mistake in data.draw(family.mistakes):
        try:
            mistake.call()
        except Exception as error:
            refused(error)
            assert re.match(mistake.message, str(error)), (mistake.what, str(error))
        else:
            raise AssertionError(f"{mistake.what}: nothing was refused")


shapes = st.lists(st.integers(0, 4), max_size=5).map(tuple)
dtypes = st.sampled_from([np.float32, np.float32, np.float32, np.int32, np.bool_])


@given(st.data())
def test_any_inputs_work_or_are_refused(checked_family, data):
    """Right settings, but one input of any shape and dtype."""
    case: Case = data.draw(checked_family.cases)
    inputs = list(case.inputs)
    named = dict(case.named)
    place = data.draw(st.sampled_from([*range(len(inputs)), *named]))
    old = inputs[place] if isinstance(place, int) else named[place]
    change = data.draw(st.sampled_from(["shape", "dtype", "longer", "flatter", "deeper"]))
    old = jax.tree.leaves(old)[0]  # of a carry of several parts
    shape, dtype = old.shape, old.dtype
    if change == "shape":
        shape = data.draw(shapes)
    elif change == "dtype":
        dtype = data.draw(dtypes)
    elif change == "longer" and shape:
        axis = data.draw(st.integers(0, len(shape) - 1))
        shape = tuple(n + (i == axis) for i, n in enumerate(shape))
    elif change == "flatter":
        shape = shape[1:]
    else:
        shape = (2, *shape)
    new = jax.ShapeDtypeStruct(shape, dtype)
    if isinstance(place, int):
        inputs[place] = new
    else:
        named[place] = new
    try:
        traced(Case(case.layer, tuple(inputs), None, named, train=case.train))
    except Exception as error:
        refused(error)
