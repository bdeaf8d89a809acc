"""recur: its derivatives beside those of a plain scan of the same cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.sharding import AxisType, PartitionSpec as P

import nnjax as nn
from tests.numerics import close, moved, numbers

CELLS = {
    "elman": nn.elman_cell(3, 4),
    "lstm": nn.lstm_cell(3, 4),
    "lstm, projected": nn.lstm_cell(3, 4, projection=2, peephole=True, bias=False),
    "gru": nn.gru_cell(3, 4),
    "gru, reset before": nn.gru_cell(3, 4, reset_after=False, bias=False),
    "minimal gru": nn.minimal_gru_cell(3, 4),
    "gru, noisy": nn.gru_cell(3, 4, recurrent_dropout_rate=0.5),
    "minimal gru, noisy": nn.minimal_gru_cell(3, 4, recurrent_dropout_rate=0.5),
}
LENGTHS = jnp.array([6, 0, 3])


def plain(cell):
    """The same cell, of whose parts nothing is known."""
    return nn.Layer(cell.init, cell.apply, cell.name, random=cell.random)


def runs(cell, reverse):
    """Outputs of (params, x, carry), by recur and by a plain scan, and such inputs."""
    params, x = moved(cell.init(jax.random.key(0))[0]), numbers(3, 6, 3)
    layers = [nn.scan_time(c, variational=True) for c in (cell, plain(cell))]
    options = {"lengths": LENGTHS, "reverse": reverse, "key": jax.random.key(1), "train": True}
    functions = [lambda p, x, c, of=of: of(p, x, carry=c, **options) for of in layers]
    _, carry = layers[1](params, x)
    return functions, (params, x, moved(carry))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_derivatives_forward_backward_and_of_second_order(name, reverse):
    functions, inputs = runs(CELLS[name], reverse)
    along = jax.tree.map(lambda a: jnp.asarray(np.cos(np.arange(a.size)).reshape(a.shape)), inputs)

    def derivatives(function):
        total = lambda *inputs: sum(jnp.sin(a).sum() for a in jax.tree.leaves(function(*inputs)))
        gradient = jax.grad(total, (0, 1, 2))
        first = jax.jvp(function, inputs, along)
        return first, gradient(*inputs), jax.jvp(gradient, inputs, along)[1]

    ours, theirs = (jax.jit(derivatives, static_argnums=0)(function) for function in functions)
    close(ours, theirs, rtol=1e-4, atol=1e-5)


def products_in_loops(jaxpr, within=False):
    """The shapes of the products that a scan computes at each step, and of those outside."""
    inside, outside = [], []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (inside if within else outside).append(equation.outvars[0].aval.shape)
        for inner in jaxprs_in_params(equation.params):
            loop = within or equation.primitive.name == "scan"
            more = products_in_loops(inner, loop)
            inside, outside = inside + more[0], outside + more[1]
    return inside, outside


def test_weights_get_their_gradients_after_the_loop():
    functions, (params, x, carry) = runs(nn.lstm_cell(3, 4), False)
    found = []
    for function in functions:
        total = lambda p, function=function: function(p, x, carry)[0].sum()
        inside, outside = products_in_loops(jax.make_jaxpr(jax.grad(total))(params).jaxpr)
        wide = {params["kernel"].shape[::-1], params["recurrent"].shape[::-1]}
        found.append((bool(wide & set(inside)), bool(wide & set(outside))))
    assert found == [(False, True), (True, False)]


def test_no_work_for_what_does_not_move():
    """x and the kernel are frozen: no product of a tangent of theirs."""
    (function, _), (params, x, carry) = runs(nn.lstm_cell(3, 4), False)

    def total(recurrent):
        return function(params | {"recurrent": recurrent}, x, carry)[0].sum()

    counted = lambda f, *inputs: len(sum(products_in_loops(jax.make_jaxpr(f)(*inputs).jaxpr), []))
    one = counted(jax.grad(total), params["recurrent"])
    every = counted(jax.grad(lambda p, x: function(p, x, carry)[0].sum(), (0, 1)), params, x)
    assert one < every


def test_in_a_shard_map():
    """Weights on every device, examples divided: gradients are summed over the devices."""
    layer, x = nn.lstm(3, 4, peephole=True), numbers(4, 5, 3)
    params = moved(layer.init(jax.random.key(0))[0])
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    mean = lambda p, x: jax.lax.pmean((layer(p, x)[0] ** 2).mean(), "data")
    shared = jax.shard_map(mean, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    ours = jax.jit(jax.grad(shared, (0, 1)))(params, x)
    close(ours, jax.grad(lambda p, x: (layer(p, x)[0] ** 2).mean(), (0, 1))(params, x))
