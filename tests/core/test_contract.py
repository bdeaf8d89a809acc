"""The contract: every layer of the catalogue under every law, with JAX's bare transforms."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

import nnjax as nn
from tests.catalogue import CASES, public_layers
from tests.catalogue.case import BATCH, Case

KEY = jax.random.key(7)
CLOSE = {"rtol": 2e-5, "atol": 2e-6}  # other fusions, so other roundings of sums


@pytest.fixture(params=CASES.values(), ids=list(CASES), scope="module")
def case(request) -> Case:
    return request.param


@pytest.fixture(scope="module")
def trees(case):
    params, state = case.layer.init(jax.random.key(0))
    noise = jax.random.split(jax.random.key(1), len(jax.tree.leaves(params)) + 1)
    leaves, treedef = jax.tree.flatten(params)  # moved off zero, or a lost bias would pass unseen
    leaves = [p + 0.1 * jax.random.normal(k, p.shape) for p, k in zip(leaves, noise, strict=False)]
    return jax.tree.unflatten(treedef, leaves), state


def forward(case, train=False):
    """(params, state, *inputs) -> outputs, with the named inputs and the key of the case."""
    key = KEY if train else None

    def f(params, state, *inputs):
        outputs, _ = case.layer.apply(params, state, *inputs, key=key, train=train, **case.named)
        return outputs

    return f


def scalar(case, state, train):
    """A smooth scalar of (params, floating inputs), to differentiate."""
    f = forward(case, train)

    def objective(params, inputs):
        outputs = jax.tree.leaves(f(params, state, *inputs))
        return sum(jnp.sum(jnp.sin(y)) for y in outputs)

    return objective


def floats(inputs):
    return all(jnp.issubdtype(x.dtype, jnp.floating) for x in inputs)


def close(actual, expected, **tolerance):
    chex.assert_trees_all_equal_structs(actual, expected)
    chex.assert_trees_all_close(actual, expected, **(tolerance or CLOSE))


def test_the_catalogue_is_complete():
    assert set(CASES) == public_layers()


def test_trees_are_built_in_containers_of_arrays(trees):
    def walk(tree):
        if isinstance(tree, dict):
            assert all(isinstance(name, str) for name in tree)
            assert not any(isinstance(n, dict) and not n for n in tree.values()), "empty entry"
            for node in tree.values():
                walk(node)
        elif isinstance(tree, list | tuple):
            assert type(tree) in (list, tuple)
            for node in tree:
                walk(node)
        else:
            assert isinstance(tree, jax.Array) and not tree.weak_type

    for tree in trees:
        assert type(tree) is dict
        walk(tree)


@pytest.mark.parametrize("train", [False, True])
def test_jit_equals_eager_and_traces_once(case, trees, train):
    params, state = trees
    counted = chex.assert_max_traces(forward(case, train), n=1)
    jitted = jax.jit(counted)
    for _ in range(3):
        close(jitted(params, state, *case.inputs), forward(case, train)(*trees, *case.inputs))
    chex.clear_trace_counter()


def test_a_step_hands_on_what_it_was_given(case, trees):
    """State fed back compiles nothing new: same structure, shapes, dtypes and weak types."""
    params, state = trees
    apply = jax.jit(chex.assert_max_traces(case.layer.apply, n=1), static_argnames="train")
    spec = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype, a.weak_type), tree)
    before = state
    for _ in range(3):
        _, state = apply(params, state, *case.inputs, key=KEY, train=True, **case.named)
        assert spec(state) == spec(before)
    chex.clear_trace_counter()


def test_state_is_untouched_when_not_training(case, trees):
    params, state = trees
    _, after = case.layer.apply(params, state, *case.inputs, **case.named)
    chex.assert_trees_all_equal_structs(after, state)
    assert all(a is b for a, b in zip(*map(jax.tree.leaves, (after, state)), strict=True))


@pytest.mark.parametrize("train", [False, True])
def test_derivatives_forward_reverse_and_second_order(case, trees, train):
    params, state = trees
    objective = scalar(case, state, train)
    if floats(case.inputs):
        f, point = objective, (params, case.inputs)
    else:
        f, point = lambda params: objective(params, case.inputs), (params,)
    direction = jax.tree.map(lambda a: jnp.cos(3.0 * a), point)
    inner = lambda a, b: sum(map(jnp.vdot, jax.tree.leaves(a), jax.tree.leaves(b)))

    def both(*point):
        every = tuple(range(len(point)))
        gradient = lambda *point: jax.grad(f, every)(*point)
        slope, curved = jax.jvp(gradient, point, direction)  # forward over reverse
        again = jax.grad(lambda *p: inner(gradient(*p), direction), every)(*point)
        return inner(slope, direction), jax.jvp(f, point, direction)[1], curved, again

    reverse, forward_mode, curved, again = jax.jit(both)(*point)
    close(forward_mode, reverse, rtol=1e-4, atol=1e-4)
    close(curved, again, rtol=1e-3, atol=1e-3)  # reverse over reverse: another order of sums
    assert all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(curved))


def test_vmap_over_inputs_equals_the_batch(case, trees):
    params, state = trees
    axis = case.batch_axis

    def one(inputs, named):
        return case.layer(params, *inputs, state=state, **named)

    close(
        jax.vmap(one, out_axes=axis)(case.inputs, case.named),
        forward(case)(params, state, *case.inputs),
    )


def test_vmap_over_stacked_params_equals_a_loop(case, trees):
    models = [case.layer.init(jax.random.key(seed)) for seed in range(3)]
    f = lambda tree: forward(case)(*tree, *case.inputs)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
    if jax.tree.leaves(stacked):
        close(jax.vmap(f)(stacked), jax.tree.map(lambda *y: jnp.stack(y), *map(f, models)))


def test_scan_equals_a_loop(case, trees):
    params, state = trees
    xs = jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), case.inputs)

    def step(state, inputs):
        y, state = case.layer.apply(params, state, *inputs, key=KEY, train=True, **case.named)
        return state, y

    last, ys = jax.lax.scan(step, state, xs)
    loop = []
    for i in range(2):
        state, y = step(state, jax.tree.map(lambda x, i=i: x[i], xs))
        loop.append(y)
    close(ys, jax.tree.map(lambda *y: jnp.stack(y), *loop))
    close(last, state)


def test_checkpoint_changes_no_gradient(case, trees):
    params, state = trees
    f = lambda params: scalar(case, state, True)(params, case.inputs)
    close(jax.grad(jax.checkpoint(f))(params), jax.grad(f)(params))


def test_eval_shape_and_jit_and_vmap_of_init(case):
    init, key = case.layer.init, jax.random.key(3)
    made = init(key)
    spec = lambda tree: jax.tree.map(lambda a: (a.shape, a.dtype), tree)
    assert spec(jax.eval_shape(init, key)) == spec(made)
    close(jax.jit(init)(key), made)
    if jax.tree.leaves(made):
        keys = jax.random.split(key, 2)
        pair = jax.vmap(init)(keys)
        close(jax.tree.map(lambda a: a[1], pair), init(keys[1]))


def test_init_runs_no_forward_pass(case):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Layer, "apply", None)
        case.layer.init(jax.random.key(0))


def test_shard_map_over_eight_devices(case, trees):
    params, state = trees
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    out = P("data") if case.batch_axis == 0 else P(None, "data")

    def local(params, state, inputs, named):
        return case.layer(params, *inputs, state=state, **named)

    specs = (P(), P(), P("data"), P("data"))
    sharded = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=out))
    assert case.inputs[0].shape[0] == BATCH == len(jax.devices())
    expected = forward(case)(params, state, *case.inputs)
    close(sharded(params, state, case.inputs, case.named), expected)


def test_no_tracer_leaks(case, trees):
    with jax.checking_leaks():
        jax.jit(forward(case, train=True))(*trees, *case.inputs)


def test_only_random_layers_draw(case, trees):
    def text(train, key):
        f = lambda p, s, x: case.layer.apply(p, s, *x, key=key, train=train, **case.named)
        return str(jax.make_jaxpr(f)(*trees, case.inputs))

    draws = ("random_", "threefry", "rng_")
    assert not any(word in text(False, None) for word in draws)
    assert any(word in text(True, KEY) for word in draws) == case.layer.random


def test_training_without_a_key_is_refused(case, trees):
    if case.layer.random:
        with pytest.raises(ValueError, match="got train=True and no key, expected key="):
            case.layer.apply(*trees, *case.inputs, train=True)
    with pytest.raises(TypeError, match=r"got key=3, expected one jax.random.key\(seed\)"):
        case.layer.apply(*trees, *case.inputs, key=3)
    with pytest.raises(TypeError, match="init got key=3"):
        case.layer.init(3)


def test_a_misspelled_keyword_is_refused(case, trees):
    with pytest.raises(TypeError, match="got unexpected keyword trian; it takes"):
        case.layer.apply(*trees, *case.inputs, trian=True)


def test_mistakes_are_named(case):
    assert case.wrong
    for mistake, (make, message) in case.wrong.items():
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            make()
        assert type(caught.value).__module__.startswith("nnjax"), mistake


def test_foreign_params_are_refused(case, trees):
    params, state = trees
    foreign = [{}, {**params, "foreign": params}] if params else []
    for tree in foreign:
        with pytest.raises(ValueError, match="got params .*, expected"):
            case.layer(tree, *case.inputs, state=state, **case.named)


def test_bfloat16_in_is_bfloat16_out(case, trees):
    params, state = trees
    half = lambda tree: jax.tree.map(
        lambda a: a.astype(jnp.bfloat16) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree
    )
    outputs = forward(case)(half(params), state, *half(case.inputs))
    assert {y.dtype for y in jax.tree.leaves(outputs)} == {jnp.dtype(jnp.bfloat16)}
    full = forward(case)(params, state, *case.inputs)
    for y, x in zip(jax.tree.leaves(outputs), jax.tree.leaves(full), strict=True):
        # bfloat16 keeps 8 bits, and a few layers follow one another
        np.testing.assert_allclose(np.asarray(y, np.float32), x, rtol=0.1, atol=0.1)


def test_optax_takes_params_as_they_are(trees):
    params, _ = trees
    optimizer = optax.adam(1e-3)
    with jax.numpy_dtype_promotion("standard"):  # optax itself is not strict
        updates, _ = optimizer.update(params, optimizer.init(params), params)
    chex.assert_trees_all_equal_shapes_and_dtypes(optax.apply_updates(params, updates), params)


def test_reprs_are_readable(case):
    assert case.layer.name in repr(case.layer)
    assert "<function" not in repr(case.layer) and " at 0x" not in repr(case.layer)
