"""A block that stands in many places is traced once, and computes what separate ones do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import nnjax as nn
from nnjax.core.once import joined, parted
from nnjax.ops.lowering import compile_for


def block(features=4, traces=None, **flags):
    """``traces`` gets an entry each time the block's Python runs."""

    def forward(net, x, *, mask=None, train=False):
        if traces is not None:
            traces.append(train)
        h = net.drop(jnp.tanh(net.norm(net.linear(x))))
        return x + (h if mask is None else jnp.where(mask, h, 0))

    return nn.compose(
        forward,
        linear=nn.linear(features, features),
        norm=nn.batch_norm(features),
        drop=nn.dropout(0.5),
    )


X = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4)


@pytest.mark.parametrize("transform", [lambda f: f, nn.remat])
def test_a_network_of_one_block_equals_one_of_many_blocks(transform):
    shared = transform(block())
    one = nn.serial(**{name: shared for name in "abc"})
    many = nn.serial(**{name: transform(block()) for name in "abc"})
    params, state = one.init(jax.random.key(0))

    def value(model, params):
        y, new = model.apply(params, state, X, key=jax.random.key(1), train=True)
        return jnp.square(y).sum(), (y, new)

    def all_of(model):
        grad = jax.grad(lambda p: value(model, p)[0])
        forward_over_reverse = lambda p: jax.jvp(grad, (p,), (p,))[1]
        return value(model, params)[1], grad(params), forward_over_reverse(params)

    ours, theirs = (jax.jit(lambda m=m: all_of(m))() for m in (one, many))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), ours, theirs)


def test_its_python_runs_once_within_a_step_and_each_time_outside():
    traces = []
    model = nn.serial(*[block(traces=traces)] * 6)
    optimizer = optax.sgd(0.1)
    train_state = nn.train.init_state(model, optimizer, jax.random.key(0))
    step = nn.train.make_step(model, lambda y, labels: jnp.square(y - labels).sum(-1), optimizer)
    jax.jit(step).lower(train_state, (X, X))
    assert traces == [True]
    jax.jit(model)(train_state.params, X, state=train_state.state)
    assert traces == [True, False]
    model(train_state.params, X, state=train_state.state)
    assert traces == [True] + [False] * 7


def test_an_unrolled_repeat_is_traced_once():
    traces = []
    model = nn.repeat(block(traces=traces), 6, unroll=True)
    params, state = model.init(jax.random.key(0))
    jax.jit(lambda p: model.apply(p, state, X, key=jax.random.key(0), train=True)).lower(params)
    assert traces == [True]


def test_what_auto_takes_elsewhere_is_traced_anew():
    model = nn.serial(*[nn.encoder_block(16, 2, causal=True)] * 2)
    here = nn.explain(model, (8, 256, 16))
    with compile_for("tpu"):
        there = nn.explain(model, (8, 256, 16))
    assert here != there
    assert here == nn.explain(model, (8, 256, 16))
    assert here.count("blocks") == 2


def test_errors_still_begin_with_the_path():
    model = nn.serial(first=(shared := block()), second=shared)
    params, state = model.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"first/linear: .*expected"):
        jax.jit(lambda x: model.apply(params, state, x))(np.zeros((2, 3), np.float32))


def test_what_is_no_array_stays_what_it_is():
    tree = {"a": jnp.ones(2), "b": (1, True, 1.0, "same"), "c": None, "d": np.zeros(3)}
    arrays, others = parted(tree)
    assert len(arrays) == 2
    found = joined(arrays, others)
    assert [type(leaf) for leaf in found["b"]] == [int, bool, float, str]
    assert found["c"] is None and found["a"] is tree["a"]
    assert parted(1)[1] != parted(True)[1]  # both hash alike, and compare as equal
