"""Norms by mean and variance: parity with float64 NumPy at large means, masks, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

MEANS = [0.0, 1e3, 1e4]


def rounding(mean):
    """float32 holds numbers near the mean to 6e-8 of it; so do x - mean and what follows."""
    return 1e-6 + 1e-7 * mean


def np_norm(params, x, mean, var, eps=1e-5):
    return (x - mean) / np.sqrt(var + eps) * params["scale"] + params["bias"]


def np_layer_norm(params, x, eps=1e-5):
    return np_norm(params, x, x.mean(-1, keepdims=True), x.var(-1, keepdims=True), eps)


def np_batch_norm(params, x, eps=1e-5):
    axes = tuple(range(x.ndim - 1))
    return np_norm(params, x, x.mean(axes), x.var(axes), eps)


LAYER_NORM, BATCH_NORM = nn.layer_norm(6), nn.batch_norm(6)
PARAMS = moved(LAYER_NORM.init(jax.random.key(0))[0])
START = BATCH_NORM.init(jax.random.key(0))[1]


@jax.jit  # one program compiles sooner than many
def train_batch(params, x):
    return BATCH_NORM.apply(params, START, x, train=True)


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("batch", [(), (0,), (2, 5)])
def test_layer_norm_parity(mean, batch):
    x = numbers(*batch, 6, mean=mean)
    close(
        jax.jit(LAYER_NORM)(PARAMS, x), np_layer_norm(f64(PARAMS), f64(x)), atol=10 * rounding(mean)
    )


@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_layer_norm_of_small_numbers_is_ruled_by_eps(eps):
    x = numbers(5, 6, scale=1e-3)
    want = np_layer_norm(f64(PARAMS), f64(x), eps)
    close(jax.jit(nn.layer_norm(6, eps=eps))(PARAMS, x), want)


def test_layer_norm_of_a_constant_is_the_bias():
    close(jax.jit(LAYER_NORM)(PARAMS, jnp.full((2, 6), 7.0)), np.tile(f64(PARAMS)["bias"], (2, 1)))


def test_layer_norm_gradients():
    check_gradients(LAYER_NORM, PARAMS, numbers(2, 6))


@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_layer_norm_in_bfloat16_takes_its_statistics_in_float32(mean):
    params, x = bf16((PARAMS, numbers(8, 6, mean=mean)))
    y = jax.jit(LAYER_NORM)(params, x)
    assert y.dtype == jnp.bfloat16
    close(y, np_layer_norm(f64(params), f64(x)), rtol=2.0**-8, atol=rounding(mean))


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("batch", [(9,), (2, 3, 4)])
def test_batch_norm_parity(mean, batch):
    x = numbers(*batch, 6, mean=mean)
    y, state = train_batch(PARAMS, x)
    close(y, np_batch_norm(f64(PARAMS), f64(x)), atol=10 * rounding(mean))
    rows = f64(x).reshape(-1, 6)
    want = {"mean": 0.1 * rows.mean(0), "var": 0.9 + 0.1 * rows.var(0, ddof=1)}
    close(state, want, atol=rounding(mean))


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_batch_norm_running_statistics(decay):
    layer = nn.batch_norm(6, decay=decay, eps=1e-3)
    step = jax.jit(functools.partial(layer.apply, train=True))
    state, want = START, f64(START)
    for seed in range(3):
        x = numbers(5, 6, seed=seed, mean=seed, scale=2.0)
        _, state = step(PARAMS, state, x)
        batch = {"mean": f64(x).mean(0), "var": f64(x).var(0, ddof=1)}
        want = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, want, batch)
    close(state, want)
    x = numbers(4, 6, seed=9)
    y, after = layer.apply(PARAMS, state, x)
    close(y, np_norm(f64(PARAMS), f64(x), want["mean"], want["var"], 1e-3))
    assert all(after[name] is state[name] for name in state)


@pytest.mark.parametrize("batch", [(), (0,), (1,), (3,)])
def test_batch_norm_before_training_lets_x_through(batch):
    x = numbers(*batch, 6, mean=1e4)
    y = BATCH_NORM(PARAMS, x, state=START)
    assert np.isfinite(y).all()
    close(y, np_norm(f64(PARAMS), f64(x), 0, 1))


def test_batch_norm_over_an_axis_is_that_of_the_joint_batch():
    x, dy = numbers(3, 4, 6, mean=10.0), numbers(3, 4, 6, seed=1)
    apart = nn.batch_norm(6, axis_name="copies")

    def split(params, x):
        apply = lambda x: apart.apply(params, START, x, train=True)
        return jax.vmap(apply, axis_name="copies", out_axes=(0, None))(x)

    def joint(params, x):
        return BATCH_NORM.apply(params, START, x, train=True)

    def forward_and_back(f):
        y, pull, state = jax.vjp(f, PARAMS, x, has_aux=True)
        return y, state, pull(dy)

    got, want = jax.jit(lambda: (forward_and_back(split), forward_and_back(joint)))()
    close(got, want, atol=rounding(10))


def test_batch_norm_over_eight_devices_is_that_of_the_joint_batch():
    x, mask = numbers(16, 3, 6, mean=10.0), jnp.arange(48).reshape(16, 3) % 5 != 0
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    data, same = jax.sharding.PartitionSpec("data"), jax.sharding.PartitionSpec()
    layer = nn.batch_norm(6, axis_name="data")

    def local(x, mask):
        return layer.apply(PARAMS, START, x, mask=mask, train=True)

    sharded = jax.shard_map(local, mesh=mesh, in_specs=(data, data), out_specs=(data, same))
    got = jax.jit(sharded)(x, mask)
    want = BATCH_NORM.apply(PARAMS, START, x, mask=mask, train=True)
    close(got, want, atol=10 * rounding(10))


def test_batch_norm_over_an_axis_may_have_one_example_a_copy():
    apart = nn.batch_norm(6, axis_name="copies")
    x = numbers(4, 1, 6)
    f = jax.vmap(lambda x: apart(PARAMS, x, state=START, train=True), axis_name="copies")
    y = jax.jit(f)(x)
    close(y[:, 0], np_batch_norm(f64(PARAMS), f64(x)[:, 0]))


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_gradients(train):
    # a sine, as the sum of a standardised batch is constant and would hide mistakes
    f = lambda p, x: jnp.sin(BATCH_NORM(p, x, state=START, train=train))
    check_gradients(f, PARAMS, numbers(4, 6), order=2 if train else 1)


def test_no_gradient_flows_through_running_statistics():
    total = lambda x: sum(map(jnp.sum, train_batch(PARAMS, x)[1].values()))
    assert not np.asarray(jax.jit(jax.grad(total))(numbers(9, 6))).any()


def test_batch_norm_in_bfloat16_keeps_statistics_in_float32():
    params, x = bf16((PARAMS, numbers(300, 6, mean=10.0)))
    y, state = train_batch(params, x)
    assert y.dtype == jnp.bfloat16
    assert {a.dtype for a in state.values()} == {jnp.dtype("float32")}
    close(y, np_batch_norm(f64(params), f64(x)), rtol=2.0**-8, atol=rounding(10))
    close(state["mean"], 0.1 * f64(x).mean(0))
    evaluated = BATCH_NORM(params, x, state=state)
    want = np_norm(f64(params), f64(x), f64(state["mean"]), f64(state["var"]))
    close(evaluated, want, rtol=2.0**-8, atol=rounding(10))


def test_batch_norm_counts_only_what_the_mask_shows():
    """The hidden rows, NaN here, are as if they were not there; all hidden moves nothing."""
    x, dy = numbers(4, 5, 6, mean=1e3), numbers(4, 5, 6, seed=1)
    mask = np.random.default_rng(0).random((4, 5)) < 0.6
    layer = nn.batch_norm(6, axis_name="copies")

    @jax.jit
    def run(x, mask):
        def f(params, x):
            apply = lambda x, mask: layer.apply(params, START, x, mask=mask, train=True)
            return jax.vmap(apply, axis_name="copies", out_axes=(0, None))(x, mask)

        y, pull, state = jax.vjp(f, PARAMS, x, has_aux=True)
        return y, state, pull(dy)

    y, state, (dparams, dx) = run(jnp.where(mask[..., None], x, jnp.nan), jnp.asarray(mask))
    shown = jax.vjp(lambda p, x: BATCH_NORM.apply(p, START, x, train=True), PARAMS, x[mask])
    (want, want_state), pull = shown
    close(y[mask], want, atol=rounding(1e3))
    close(state, want_state, atol=rounding(1e3))
    zero = jax.tree.map(jnp.zeros_like, want_state)
    want_dparams, want_dx = pull((dy[mask], zero))
    close(dparams, want_dparams, rtol=1e-4, atol=1e-4)
    close(dx[mask], want_dx, atol=1e-4)
    assert not y[~mask].any() and not dx[~mask].any()
    y, state, _ = run(x, jnp.zeros((4, 5), bool))
    assert not y.any()
    close(state, START)


def test_batch_norm_cumulative_average():
    layer = nn.batch_norm(3, decay=None)
    params, state = layer.init(jax.random.key(0))
    batches = [numbers(5 + seed, 3, seed=seed, mean=seed) for seed in range(3)]
    for x in batches:
        _, state = layer.apply(params, state, x, train=True)
    _, state = layer.apply(params, state, batches[0][:0], train=True)  # an empty batch is none
    assert int(state.pop("count")) == 3
    want = [(f64(x).mean(0), f64(x).var(0, ddof=1)) for x in batches]
    mean, var = (sum(stats) / 3 for stats in zip(*want, strict=True))
    close(state, {"mean": mean, "var": var})


def test_without_running_statistics_evaluation_is_as_training():
    layer, x = nn.batch_norm(6, running=False), numbers(5, 6, mean=3.0)
    assert layer.init(jax.random.key(0))[1] == {}
    close(layer(PARAMS, x), np_batch_norm(f64(PARAMS), f64(x)))
    close(layer(PARAMS, x, train=True), layer(PARAMS, x))


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_scale_and_bias_can_be_left_out(scale, bias):
    kept = {"scale": scale, "bias": bias}
    params = {name: PARAMS[name] for name in kept if kept[name]}
    full = {"scale": np.ones(6), "bias": np.zeros(6)} | f64(params)
    x = numbers(3, 4, 6)
    layers = [nn.layer_norm(6, **kept), nn.group_norm(6, 1, axes=0, **kept)]
    for layer in layers:
        assert layer.init(jax.random.key(0))[0].keys() == params.keys()
        close(jax.jit(layer)(params, x), np_layer_norm(full, f64(x)))
    batch = nn.batch_norm(6, **kept)
    close(batch(params, x, state=START, train=True), np_batch_norm(full, f64(x)))


@pytest.mark.parametrize("mean", MEANS)
def test_layer_norm_of_several_axes(mean):
    layer, x = nn.layer_norm((2, 3)), numbers(4, 5, 2, 3, mean=mean)
    params = moved(layer.init(jax.random.key(0))[0])
    h = f64(x).reshape(4, 5, 6)
    want = np_layer_norm({name: a.reshape(6) for name, a in f64(params).items()}, h)
    close(jax.jit(layer)(params, x), want.reshape(x.shape), atol=10 * rounding(mean))


@pytest.mark.parametrize("batch", [(), (0,), (2, 5)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e10])
def test_rms_norm_parity(batch, scale):
    layer, x = nn.rms_norm(6, eps=1e-4), numbers(*batch, 6, mean=scale, scale=scale)
    params = moved(layer.init(jax.random.key(0))[0])
    h = f64(x)
    want = h / np.sqrt((h * h).mean(-1, keepdims=True) + 1e-4) * f64(params)["scale"]
    close(jax.jit(layer)(params, x), want)
    close(jax.jit(nn.rms_norm(6, scale=False, eps=1e-4))({}, x), want / f64(params)["scale"])


def np_group_norm(params, x, groups, mask=None, eps=1e-5):
    """One example [S, C] at a time, one group at a time."""
    y = np.zeros_like(x)
    mask = np.ones(x.shape[:2], bool) if mask is None else mask
    for out, example, shown in zip(y, x, mask, strict=True):
        for channels in np.split(np.arange(x.shape[-1]), groups):
            part = example[shown][:, channels]
            if part.size:
                z = (part - part.mean()) / np.sqrt(part.var() + eps)
                z = z * params["scale"][channels] + params["bias"][channels]
                out[np.ix_(shown, channels)] = z
    return y


HIDDEN = np.array([[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("mean", [0.0, 1e3])
def test_group_norm_parity(groups, mean):
    layer, x = nn.group_norm(6, groups, axes=1), numbers(3, 5, 6, mean=mean)
    mask = jnp.asarray(HIDDEN)
    run = jax.jit(lambda x, poison: (layer(PARAMS, x), layer(PARAMS, poison, mask=mask)))
    plain, masked = run(x, jnp.where(mask[..., None], x, jnp.nan))
    atol = 50 * rounding(mean)  # over the deviation, which is small for some five numbers
    close(plain, np_group_norm(f64(PARAMS), f64(x), groups), atol=atol)
    close(masked, np_group_norm(f64(PARAMS), f64(x), groups, HIDDEN), atol=atol)


def test_group_norm_of_images_takes_all_positions_together():
    x = numbers(3, 2, 4, 6)
    for batch in ((3,), (), (0,)):
        part = x[: batch[0]] if batch else x[0]
        want = np_group_norm(f64(PARAMS), f64(part).reshape(-1, 8, 6), 3).reshape(part.shape)
        close(nn.group_norm(6, 3)(PARAMS, part), want)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_instance_norm_parity(axes):
    x = numbers(3, *(3, 2, 2)[:axes], 6, mean=1e3)
    layer = nn.instance_norm(6, axes=axes, scale=True, bias=True)
    want = np_group_norm(f64(PARAMS), f64(x).reshape(3, -1, 6), 6).reshape(x.shape)
    close(jax.jit(layer)(PARAMS, x), want, atol=50 * rounding(1e3))
    assert nn.instance_norm(6, axes=axes).init(jax.random.key(0)) == ({}, {})


def test_instance_norm_running_statistics():
    """Means over the examples of theirs; an example with fewer than two values has none."""
    layer = nn.instance_norm(6, axes=1, running=True, decay=0.7)
    x, mask = numbers(4, 5, 6, mean=2.0), np.ones((4, 5), bool)
    mask[0], mask[1, 1:], mask[2, 3:] = False, False, False
    step = jax.jit(lambda x, mask: layer.apply({}, START, x, mask=mask, train=True))
    for shown in (np.ones((4, 5), bool), mask):
        parts = [f64(x)[i][shown[i]] for i in range(4) if shown[i].sum() > 1]
        _, state = step(x, jnp.asarray(shown))
        mean, var = (np.mean([f(p) for p in parts], 0) for f in (lambda p: p.mean(0), np_var))
        close(state, {"mean": 0.3 * mean, "var": 0.7 + 0.3 * var})
    y = layer({}, x, state=state)
    close(y, (f64(x) - f64(state["mean"])) / np.sqrt(f64(state["var"]) + 1e-5))


def np_var(rows):
    return rows.var(0, ddof=1)


def test_batch_renorm():
    """Within the bounds it is evaluation by the old statistics; with none left, batch norm."""
    x = numbers(7, 6, mean=0.3, scale=1.5)
    run = lambda layer, x: layer.apply(PARAMS, START, x, train=True)
    h = f64(x)
    loose, state = run(nn.batch_renorm(6, decay=0.9), x)
    close(loose, np_norm(f64(PARAMS), h, 0, 1), atol=1e-5)
    tight, _ = run(nn.batch_renorm(6, max_scale=1, max_shift=0), x)
    want, want_state = train_batch(PARAMS, x)
    close((tight, state), (want, want_state))
    bounded, _ = run(nn.batch_renorm(6, max_scale=1.1, max_shift=0.1), x)
    std, ones = np.sqrt(h.var(0) + 1e-5), np.sqrt(1 + 1e-5)
    r, d = np.clip(std / ones, 1 / 1.1, 1.1), np.clip(h.mean(0) / ones, -0.1, 0.1)
    z = (h - h.mean(0)) / std * r + d
    close(bounded, z * f64(PARAMS)["scale"] + f64(PARAMS)["bias"])


def test_gradients_of_the_others():
    mask = jnp.asarray(HIDDEN)

    def every(p, x):
        scale = {"scale": p["scale"]}
        yield nn.layer_norm((5, 6), scale=False, bias=False)({}, x)
        yield nn.rms_norm(6)(scale, x)
        yield nn.group_norm(6, 2, axes=1)(p, x, mask=mask)
        yield nn.instance_norm(6, axes=1, scale=True)(scale, x)

    check_gradients(
        lambda p, x: jnp.sin(sum(every(p, x))), PARAMS, numbers(3, 5, 6), order=1
    )  # the contract goes to order 2


@pytest.mark.parametrize("train", [True, False])
def test_all_in_bfloat16(train):
    x = bf16(numbers(3, 40, 6, mean=20.0))
    layers = (
        nn.rms_norm(6),
        nn.group_norm(6, 2, axes=1),
        nn.instance_norm(6, axes=1, running=True),
        nn.batch_norm(6, decay=None),
        nn.batch_renorm(6),
    )
    for layer in layers:
        params, state = layer.init(jax.random.key(0))
        run = jax.jit(functools.partial(layer.apply, train=train))
        y, new = run(bf16(params), state, x)
        want, want_state = run(params, state, x.astype(jnp.float32))
        assert y.dtype == jnp.bfloat16
        close((y, new), (want, want_state), rtol=2.0**-8)


def test_an_unmapped_axis_is_named():
    layer = nn.batch_norm(6, axis_name="data")
    message = r"batch_norm\(6\): got axis_name='data' outside of a transform that maps it, expected"
    with pytest.raises(ValueError, match=message):
        layer(PARAMS, numbers(3, 6), state=START, train=True)
    assert layer(PARAMS, numbers(3, 6), state=START).shape == (3, 6)  # evaluation needs no axis


def test_messages():
    message = (
        r"batch_norm\(6\): got x of shape \(1, 6\), expected two or more values to standardise"
    )
    with pytest.raises(ValueError, match=message):
        BATCH_NORM(PARAMS, numbers(1, 6), state=START, train=True)
    with pytest.raises(
        ValueError, match=r"batch_norm\(6\): got decay=1.5, expected 0 <= decay <= 1"
    ):
        nn.batch_norm(6, decay=1.5)
    with pytest.raises(
        ValueError, match=r"batch_norm\(6\): got state \[\], expected \['mean', 'var'"
    ):
        BATCH_NORM(PARAMS, numbers(3, 6))
    with pytest.raises(ValueError, match=r"rms_norm\(\(\)\): got features=0, expected at least 1"):
        nn.rms_norm(())
