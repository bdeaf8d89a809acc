"""tensordot: one product of matrices on a CPU, the same numbers and shardings everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec as P

from nnjax.ops.lowering import compile_for
from nnjax.ops.product import tensordot
from tests.numerics import close, f64, numbers


@pytest.mark.parametrize(
    "x, kernel, axes",
    [
        ((5,), (5, 3), 1),
        ((2, 5), (5, 3), 1),
        ((2, 4, 5), (5, 3), 1),
        ((2, 3, 4, 5), (5, 3, 2), 1),
        ((2, 3, 4, 5), (4, 5, 3, 2), 2),
        ((2, 3, 5), (5,), 1),
        ((2, 0, 5), (5, 3), 1),
        ((2, 3, 5), (5, 0), 1),
        ((2, 3, 0), (0, 4), 1),
        ((40, 5), (5, 3), 1),
        ((4, 12, 5), (5, 3, 2), 1),
    ],
)
def test_parity(x, kernel, axes):
    x, kernel = numbers(*x), numbers(*kernel, seed=1)

    def run(x, kernel, dot):
        y, pull = jax.vjp(lambda *args: dot(*args, axes), x, kernel)
        return y, pull(jnp.cos(y))

    want = run(f64(x), f64(kernel), jnp.tensordot)
    close(run(x, kernel, tensordot), want)
    assert tensordot(x, kernel, axes).shape == want[0].shape


def test_numpy_arrays_become_jax_arrays():
    x, kernel = np.ones((2, 3, 4), np.float32), np.ones((4, 5), np.float32)
    assert isinstance(tensordot(x, kernel), jax.Array)


def test_one_plain_product_on_a_cpu_alone():
    x, kernel = numbers(2, 4, 5), numbers(5, 3)
    ranks = lambda: [
        [v.aval.ndim for v in equation.invars]
        for equation in jax.make_jaxpr(jax.grad(lambda k: tensordot(x, k).sum()))(kernel).eqns
        if equation.primitive.name == "dot_general"
    ]
    assert all(rank == [2, 2] for rank in ranks())
    with compile_for("gpu"):
        assert [3, 2] in ranks() or [2, 3] in ranks() or [3, 3] in ranks()


def test_a_tall_product_has_its_gradient_turned():
    gradients = lambda *shape: [
        equation.outvars[0].aval.shape
        for equation in jax.make_jaxpr(jax.grad(lambda k: tensordot(numbers(*shape), k).sum()))(
            numbers(5, 3)
        ).eqns
        if equation.primitive.name in ("dot_general", "optimization_barrier")
    ]
    assert (3, 5) in gradients(2, 12, 5) and len(gradients(2, 12, 5)) > len(gradients(2, 4, 5))
    x, kernel = numbers(40, 5).astype(jnp.bfloat16), numbers(5, 3)
    with jax.numpy_dtype_promotion("standard"):
        assert tensordot(x, kernel).dtype == jnp.float32


def test_axes_that_are_sharded_explicitly_stay():
    mesh = jax.make_mesh((2, 2), ("data", "tokens"), axis_types=(AxisType.Explicit,) * 2)
    with jax.set_mesh(mesh):
        x = jax.device_put(numbers(4, 6, 5), P("data", "tokens"))
        y = jax.jit(tensordot)(x, numbers(5, 3))
        assert jax.typeof(y).sharding.spec == P("data", "tokens", None)
        np.testing.assert_allclose(y, np.asarray(x) @ np.asarray(numbers(5, 3)), rtol=1e-5)
