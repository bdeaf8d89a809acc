"""make_step, fit, evaluation and the search for what is not finite."""

import csv
import io

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import nnjax as nn

KEY = jax.random.key(0)
LOSS = nn.losses.softmax_cross_entropy
METRICS = {"accuracy": nn.train.accuracy}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(150, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32) + (X[:, 1] > 0)
NOISY = nn.serial(
    nn.linear(4, 16), nn.batch_norm(16), jax.nn.relu, nn.dropout(0.2), nn.linear(16, 3)
)


@pytest.fixture(autouse=True)
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):  # optax is not strict
        yield


def fit(model=NOISY, optimizer=None, train=(X, Y), **options):
    settings = {"epochs": 2, "batch_size": 16, "progress": False, "metrics": METRICS} | options
    return nn.train.fit(model, LOSS, optimizer or optax.adam(1e-2), train, **settings)


def test_a_step_is_the_gradient_step_written_out():
    model, optimizer = nn.linear(4, 3), optax.sgd(0.1, momentum=0.9)
    start = nn.train.init_state(model, optimizer, KEY)
    step = nn.train.make_step(model, LOSS, optimizer, metrics=METRICS)
    batch = (jnp.asarray(X[:8]), jnp.asarray(Y[:8]))
    first, values = step(start, batch)
    second, _ = step(first, batch)

    kernel, bias, velocity = (
        *map(np.float64, (start.params["kernel"], start.params["bias"])),
        [0, 0],
    )
    for _ in range(2):
        logits = X[:8] @ kernel + bias
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        delta = (probabilities - np.eye(3)[Y[:8]]) / 8
        velocity = [0.9 * velocity[0] + X[:8].T @ delta, 0.9 * velocity[1] + delta.sum(0)]
        kernel, bias = kernel - 0.1 * velocity[0], bias - 0.1 * velocity[1]
    np.testing.assert_allclose(second.params["kernel"], kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(second.params["bias"], bias, rtol=1e-5, atol=1e-6)
    assert int(second.step) == 2 and set(values) == {"loss", "accuracy"}
    assert second.key is start.key


def test_steps_are_one_trace_and_donate():
    optimizer = optax.adam(1e-2)
    step = nn.train.make_step(NOISY, LOSS, optimizer)
    jitted = jax.jit(chex.assert_max_traces(step, n=1), donate_argnums=0)
    state = nn.train.init_state(NOISY, optimizer, KEY)
    before = state
    batch = next(nn.data.batches((X, Y), 32))
    for _ in range(3):
        state, _ = jitted(state, batch)
    assert before.params["linear_0"]["kernel"].is_deleted()
    text = jitted.lower(state, batch).compile().as_text() or ""
    leaves = len(jax.tree.leaves((state.params, state.state, state.opt_state, state.step)))
    assert text.count("may-alias") + text.count("must-alias") >= leaves  # every buffer is reused


def test_noise_differs_from_step_to_step_and_runs_repeat():
    step = jax.jit(nn.train.make_step(nn.dropout(0.5), lambda y, t: y, optax.sgd(0.0)))
    state = nn.train.init_state(nn.dropout(0.5), optax.sgd(0.0), KEY)
    ones = (jnp.ones((64, 64)), jnp.ones(64))
    losses = []
    for _ in range(3):
        state, values = step(state, ones)
        losses.append(float(values["loss"]))
    assert len(set(losses)) == 3
    (one, rows), (two, again) = fit(seed=3), fit(seed=3)
    chex.assert_trees_all_equal(one.params, two.params)
    assert rows[-1]["loss"] == again[-1]["loss"] != fit(seed=4)[1][-1]["loss"]


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_any_kind_of_key_drives_a_step(impl):
    key = jax.random.key(0, impl=impl)
    state = nn.train.init_state(NOISY, optax.sgd(0.1), key)
    expected = jax.random.fold_in(jax.random.fold_in(key, 1), 0)
    assert state.step_key() == expected
    step = jax.jit(nn.train.make_step(NOISY, LOSS, optax.sgd(0.1)))
    after, values = step(state, (X[:16], Y[:16]))
    logits = NOISY(state.params, X[:16], state=state.state, key=expected, train=True)
    assert float(values["loss"]) == pytest.approx(float(LOSS(logits, Y[:16]).mean()), rel=1e-5)
    assert after.step_key() != expected


@pytest.mark.parametrize("batch_size", [16, 7, 150])
def test_many_steps_a_call_equal_one_by_one(batch_size):
    (one, rows), (many, again) = (fit(scan=scan, batch_size=batch_size) for scan in (False, True))
    chex.assert_trees_all_close(one.params, many.params, rtol=1e-4, atol=1e-5)  # other fusions
    chex.assert_trees_all_close(one.state, many.state, rtol=1e-4, atol=1e-5)
    assert (
        [r["step"] for r in rows]
        == [r["step"] for r in again]
        == [150 // batch_size, 300 // batch_size]
    )
    np.testing.assert_allclose([r["loss"] for r in rows], [r["loss"] for r in again], rtol=1e-4)


def test_fit_learns_and_keeps_a_history():
    seen = []
    state, rows = fit(epochs=20, validation=(X, Y), on_epoch=lambda s, r: seen.append(len(r)))
    assert rows[-1]["validation_accuracy"] > 0.9 > rows[0]["accuracy"]
    assert list(rows[0]) == [
        *("epoch", "step", "loss", "accuracy", "validation_loss", "validation_accuracy"),
        *("seconds", "examples_per_second"),
    ]
    assert seen == list(range(1, 21)) and int(state.step) == 20 * 9
    assert rows[-1]["examples_per_second"] == pytest.approx(144 / rows[-1]["seconds"])


def test_fit_goes_on_from_a_state_and_leaves_it_whole():
    begun, _ = fit()
    kept = jax.tree.map(np.asarray, begun.params)
    further, _ = fit(train_state=begun, seed=9)
    chex.assert_trees_all_equal(begun.params, kept)
    assert int(further.step) == 2 * int(begun.step)


def test_convolutions_never_run_in_a_loop_on_cpu(monkeypatch):
    from nnjax.train import loop

    chosen = []
    for kind in ("_in_one_call", "_one_by_one"):
        make = getattr(loop, kind)
        monkeypatch.setattr(loop, kind, lambda step, m=make, k=kind: chosen.append(k) or m(step))
    image = RNG.normal(size=(32, 4, 4, 1)).astype(np.float32)
    convolving = nn.serial(nn.conv(1, 2, 3), nn.flatten(), nn.linear(32, 3))
    fit(convolving, train=(image, Y[:32]), epochs=1)
    fit(nn.linear(4, 3), epochs=1)
    fit(nn.mlp(4, 400, 400, 3), epochs=1)  # above 100,000 parameters
    assert chosen == ["_one_by_one", "_in_one_call", "_one_by_one"]


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="got batch_size=200 for 150 examples"):
        fit(batch_size=200)
    with pytest.raises(ValueError, match=r"lengths \[150, 3\]"):
        fit(train=(X, Y[:3]))
    with pytest.raises(ValueError, match="softmax_cross_entropy: got labels of shape .*, expected"):
        fit(train=(X, np.stack([Y, Y], 1)))
    evaluate = nn.train.make_evaluate(NOISY, {"mean": lambda y, t: y.mean()})
    state = nn.train.init_state(NOISY, optax.sgd(0.1), KEY)
    with pytest.raises(ValueError, match=r"mean: got values of shape \(\) from a batch of 150"):
        evaluate(state.params, state.state, (X, Y))


@pytest.mark.parametrize("batch_size", [1, 7, 64, 150, 1000])
def test_evaluation_does_not_depend_on_the_batches(batch_size):
    params, state = NOISY.init(KEY)
    logits = NOISY(params, X, state=state)
    evaluate = nn.train.make_evaluate(NOISY, {"loss": LOSS} | METRICS, batch_size=batch_size)
    found = evaluate(params, state, (X, Y))
    assert found["loss"] == pytest.approx(float(LOSS(logits, Y).mean()), rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(np.argmax(logits, 1) == Y))
    predict = nn.train.make_predict(NOISY, batch_size=batch_size)
    np.testing.assert_allclose(predict(params, state, X), logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("bad", [0, 1, 5])
def test_a_nan_stops_with_step_and_place(scan, bad):
    x = X.copy()
    order = np.random.default_rng((0, 1)).permutation(150)  # as fit draws it for epoch 1
    x[order[bad * 16], 2] = np.nan
    with pytest.raises(nn.train.NonFiniteLossError, match="the loss was nan at step") as caught:
        fit(train=(x, Y), scan=scan)
    assert (caught.value.step, caught.value.where) == (bad, "input 0")


def test_a_diverging_run_names_the_first_parameter():
    with pytest.raises(nn.train.NonFiniteLossError, match="Lower the learning rate") as caught:
        fit(nn.mlp(4, 8, 3), optax.chain(optax.scale(jnp.nan)), epochs=1)
    assert (caught.value.step, caught.value.where) == (1, "parameter linear_0/bias")


def test_first_nonfinite_finds_the_layer():
    def root(x):
        return jnp.sqrt(x)

    model = nn.serial(nn.linear(3, 3), jnp.abs, blocks=nn.repeat(nn.serial(root, jnp.negative), 2))
    params, state = model.init(KEY)
    x = jnp.ones((2, 3))
    assert nn.train.first_nonfinite(model, params, state, x) == "output of blocks/root_0"
    once = nn.serial(nn.linear(3, 3), jnp.abs, blocks=nn.repeat(nn.serial(root, jnp.negative), 1))
    assert nn.train.first_nonfinite(once, params, state, x) is None
    bad = nn.set_path(params, "linear_0/bias", jnp.array([0.0, jnp.inf, 0.0]))
    assert nn.train.first_nonfinite(model, bad, state, x) == "parameter linear_0/bias"
    group = nn.ensemble(nn.serial(jnp.log, jnp.exp), 2)
    assert nn.train.first_nonfinite(group, {}, {}, -x) == "output of log_0"


def test_data_parallel_steps_equal_one_device():
    optimizer = optax.adam(1e-2)
    batch = (jnp.asarray(X[:64]), jnp.asarray(Y[:64]))
    first = nn.linear(4, 16, bias=False)  # batch norm makes a bias's gradient pure rounding
    model = nn.serial(first, nn.batch_norm(16), jax.nn.relu, nn.linear(16, 3))
    step = jax.jit(nn.train.make_step(model, LOSS, optimizer))
    alone = nn.train.init_state(model, optimizer, KEY)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    shared = jax.device_put(alone, NamedSharding(mesh, P()))
    split = jax.device_put(batch, NamedSharding(mesh, P("data")))
    for _ in range(3):
        alone, one = step(alone, batch)
        shared, many = step(shared, split)
        chex.assert_trees_all_close(one, many, rtol=1e-5)
    chex.assert_trees_all_close(alone.params, shared.params, rtol=1e-4, atol=1e-5)


def test_batch_norm_over_a_mesh_axis_equals_the_whole_batch():
    x = jnp.asarray(X[:64]) * 3 + 100
    whole, local = nn.batch_norm(4), nn.batch_norm(4, axis_name="data")
    params, state = whole.init(KEY)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def apply(params, state, x):
        return local.apply(params, state, x, train=True)

    specs = {"in_specs": (P(), P(), P("data")), "out_specs": (P("data"), P())}
    y, moved = jax.jit(jax.shard_map(apply, mesh=mesh, **specs))(params, state, x)
    z, expected = whole.apply(params, state, x, train=True)
    np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(moved, expected, rtol=1e-5)


def test_the_progress_bar_shows_figures(capsys):
    fit(progress=True)
    shown = capsys.readouterr().out
    assert "loss" in shown and "accuracy" in shown and "examples/s" in shown
    fit(progress=False)
    assert capsys.readouterr().out == ""


def test_rows_are_a_table():
    _, rows = fit(validation=(X[:32], Y[:32]))
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0])
    writer.writerows(rows)
    assert len(file.getvalue().splitlines()) == 2
