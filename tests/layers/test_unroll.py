"""scan_time, bidirectional, stacked, rnn, lstm, gru: against cells stepped through in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from nnjax.ops.lowering import compile_for
from tests.layers.test_recurrent import np_conv_lstm, np_elman, np_gru, np_lstm
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers

LSTM, GRU, RNN = nn.lstm(3, 2), nn.gru(3, 2), nn.rnn(3, 2)
PARAMS = moved(LSTM.init(jax.random.key(0))[0])
run = jax.jit(LSTM, static_argnames="reverse")  # one program compiles sooner than many


def np_scan(cell, params, x, zero, mask=None, carry=None, reverse=False):
    """x [B, T, ...], one example and one step at a time; zero is the first carry of one example."""
    batch, steps = x.shape[:2]
    ys, carries = [], []
    for b in range(batch):
        state = zero if carry is None else jax.tree.map(lambda a, b=b: a[b : b + 1], carry)
        y = [np.zeros_like(np.asarray(jax.tree.leaves(zero)[0])[0])] * steps
        for t in reversed(range(steps)) if reverse else range(steps):
            if mask is None or mask[b, t]:
                out, state = cell(params, x[b, t][None], state)
                y[t] = out[0]
        ys.append(np.stack(y) if steps else np.zeros((0, *np.shape(zero[0])[1:])))
        carries.append(state)
    return np.stack(ys), jax.tree.map(lambda *parts: np.concatenate(parts), *carries)


ZEROS = np.zeros((1, 2))


def np_lstms(params, x, lengths=None, carry=None, **options):
    mask = None if lengths is None else np.arange(x.shape[1]) < np.asarray(lengths)[:, None]
    return np_scan(np_lstm, params, x, (ZEROS, ZEROS), mask, carry, **options)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_parity(steps, reverse):
    x = numbers(4, steps, 3)
    close(run(PARAMS, x, reverse=reverse), np_lstms(f64(PARAMS), f64(x), reverse=reverse))


@pytest.mark.parametrize("make", [nn.rnn, nn.lstm, nn.gru])
def test_a_projection_outside_the_scan_changes_nothing(make):
    """Two bidirectional layers with dropout, padded by NaN: outputs, carries and gradients."""
    options = {"layers": 2, "bidirectional": True, "recurrent_dropout_rate": 0.5}
    x, lengths = numbers(4, 5, 3), jnp.array([5, 0, 1, 3])
    x = jnp.where(jnp.arange(5)[:, None] < lengths[:, None, None], x, jnp.nan)
    found = {}
    for way in ("inside", "outside"):
        layer = make(3, 2, implementation=way, **options)
        params = moved(layer.init(jax.random.key(0))[0])

        def loss(params, x, layer=layer):
            outputs = layer(params, x, lengths=lengths, key=jax.random.key(1), train=True)
            return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(outputs)), outputs

        found[way] = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(params, x)
        assert nn.explain(layer, x).count(f"projection  {way}") == 4
    close(*found.values())
    with compile_for("gpu"):
        assert "projection  outside" in nn.explain(make(3, 2), x)
    with pytest.raises(ValueError, match="got implementation='within', expected one of auto, in"):
        make(3, 2, implementation="within")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_lengths(dtype, reverse):
    x, lengths = numbers(4, 5, 3), np.array([5, 0, 1, 3], dtype)
    got = run(PARAMS, x, lengths=jnp.asarray(lengths), reverse=reverse)
    close(got, np_lstms(f64(PARAMS), f64(x), lengths, reverse=reverse))


def test_a_mask_may_have_holes():
    x, mask = numbers(4, 5, 3), np.random.default_rng(0).random((4, 5)) < 0.5
    mask[1] = False
    got = run(PARAMS, x, mask=jnp.asarray(mask))
    close(got, np_scan(np_lstm, f64(PARAMS), f64(x), (ZEROS, ZEROS), mask))


def test_lengths_may_be_longer_than_a_narrow_dtype_counts_with():
    x, lengths = numbers(2, 200, 3), np.array([100, 3], np.int8)
    _, carry = run(PARAMS, x, lengths=jnp.asarray(lengths))
    close(carry, np_lstms(f64(PARAMS), f64(x), lengths)[1])


@pytest.mark.parametrize("both", [False, True])
def test_padding_has_no_influence_be_it_nan(both):
    layer = nn.lstm(3, 2, bidirectional=both)
    params = moved(layer.init(jax.random.key(0))[0])
    x, lengths = numbers(3, 5, 3), jnp.array([2, 0, 5])
    padding = np.arange(5) >= np.array([[2], [0], [5]])

    def total(params, x):
        outputs = layer(params, x, lengths=lengths)
        return sum(map(jnp.sum, jax.tree.leaves(outputs))), outputs

    slopes = jax.jit(jax.grad(total, (0, 1), has_aux=True))
    want = slopes(params, x)
    for wild in (np.nan, 1e30, np.inf):
        got = slopes(params, jnp.asarray(np.where(padding[..., None], np.float32(wild), x)))
        close(got, want, rtol=0, atol=0)
    assert (np.asarray(want[0][1]).any(-1) == ~padding).all()
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(want))


def test_a_carry_continues_an_earlier_call():
    x = numbers(3, 7, 3)
    first, carry = run(PARAMS, x[:, :4])
    rest, carry = run(PARAMS, x[:, 4:], carry=carry)
    close((np.concatenate([first, rest], 1), carry), np_lstms(f64(PARAMS), f64(x)))


def test_an_example_of_length_zero_hands_its_carry_on():
    x, carry = numbers(2, 3, 3), (numbers(2, 2, seed=1), numbers(2, 2, seed=2))
    y, after = run(PARAMS, x, carry=carry, lengths=jnp.array([0, 2]))
    close((y, after), np_lstms(f64(PARAMS), f64(x), [0, 2], f64(carry)))
    assert not np.asarray(y)[0].any()


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_any_number_of_batch_axes(batch):
    x = numbers(*batch, 4, 3)
    lengths = np.random.default_rng(0).integers(0, 5, batch)
    got = run(PARAMS, x, lengths=jnp.asarray(lengths))
    if 0 in batch:
        assert jax.tree.map(jnp.shape, got) == ((0, 4, 2), ((0, 2), (0, 2)))
        return
    y, carry = np_lstms(f64(PARAMS), f64(x).reshape(-1, 4, 3), lengths.ravel())
    close(got, jax.tree.map(lambda a: a.reshape(*batch, *a.shape[1:]), (y, carry)))


def np_network(kind, params, x, lengths, carry, layers, both):
    """Layers and directions one by one, with PyTorch's arrangement of outputs."""
    cell = {"rnn": np_elman, "lstm": np_lstm, "gru": np_gru}[kind]
    zero = (ZEROS, ZEROS) if kind == "lstm" else ZEROS
    mask = np.arange(x.shape[1]) < np.asarray(lengths)[:, None]
    carries = []
    for i in range(layers):
        p = params[f"layer_{i}"] if layers > 1 else params
        start = carry[i] if layers > 1 else carry
        if both:
            y, a = np_scan(cell, p["forward"], x, zero, mask, start[0])
            z, b = np_scan(cell, p["backward"], x, zero, mask, start[1], reverse=True)
            x, end = np.concatenate([y, z], -1), (a, b)
        else:
            x, end = np_scan(cell, p, x, zero, mask, start)
        carries.append(end)
    return x, tuple(carries) if layers > 1 else carries[0]


@pytest.mark.parametrize(
    ("kind", "layers", "both"),
    [("rnn", 2, True), ("gru", 1, True), ("lstm", 3, False), ("gru", 1, False)],
)
def test_networks(kind, layers, both):
    layer = getattr(nn, kind)(3, 2, layers=layers, bidirectional=both)
    params = moved(layer.init(jax.random.key(0))[0])
    x, lengths = numbers(3, 4, 3), np.array([4, 0, 2])
    carry = jax.tree.map(lambda a: numbers(*a.shape, seed=2), jax.eval_shape(layer, params, x)[1])
    got = jax.jit(layer)(params, x, carry=carry, lengths=jnp.asarray(lengths))
    close(got, np_network(kind, f64(params), f64(x), lengths, f64(carry), layers, both))


def test_a_network_read_backward_is_one_of_the_reversed_sequence():
    layer = nn.stacked(nn.bidirectional(nn.rnn(3, 2), nn.gru(3, 2)), nn.gru(4, 4), residual=True)
    params, x = moved(layer.init(jax.random.key(0))[0]), numbers(2, 5, 3)
    y, carry = jax.jit(lambda p, x: layer(p, x, reverse=True))(params, x)
    want, after = jax.jit(layer)(params, x[:, ::-1])
    close((y[:, ::-1], carry), (want, after))


def test_residual_layers_and_another_merge():
    layer = nn.stacked(nn.rnn(3, 3), nn.rnn(3, 3), residual=True)
    params, x = moved(layer.init(jax.random.key(0))[0]), numbers(2, 4, 3)
    plain = nn.rnn(3, 3)
    both = nn.bidirectional(plain, merge=jnp.add)
    sides = {"forward": params["layer_0"], "backward": params["layer_1"]}

    @jax.jit
    def run(params, sides, x):
        below = plain(params["layer_0"], x)[0]
        want = below + plain(params["layer_1"], below)[0]
        back = plain(sides["backward"], x, reverse=True)[0]
        return (layer(params, x)[0], want), (both(sides, x)[0], below + back)

    for got, want in run(params, sides, x):
        close(got, want)


def test_dropout_between_layers_but_not_after_the_last():
    layer = nn.rnn(3, 64, layers=2, dropout_rate=0.5)
    params, x = layer.init(jax.random.key(0))[0], numbers(5, 3)
    params = {**params, "layer_1": {**params["layer_1"], "recurrent": jnp.zeros((64, 64))}}
    params["layer_1"]["kernel"] = jnp.eye(64)  # the upper layer shows what it is given
    same = nn.stacked(nn.rnn(3, 64), nn.rnn(64, 64), dropout_rate=0.5, variational=True)

    @jax.jit
    def run(key):
        y, z = (f(params, x, key=key, train=True)[0] for f in (layer, same))
        return y, z, layer(params, x)[0]

    y, z, calm = run(jax.random.key(1))
    given, seen = np.arctanh(np.float64(calm)), np.arctanh(np.float64(y))
    dropped = np.isclose(seen, 0, atol=1e-6)
    np.testing.assert_allclose(seen[~dropped], 2 * given[~dropped], rtol=1e-3)
    assert 0.3 < dropped.mean() < 0.7
    assert (dropped != dropped[0]).any()  # another draw at each step
    hidden = np.isclose(np.arctanh(np.float64(z)), 0, atol=1e-6)
    assert (hidden == hidden[0]).all() and 0.3 < hidden.mean() < 0.7


@pytest.mark.parametrize("variational", [False, True])
def test_noise_of_a_cell_is_drawn_at_each_step_or_once(variational):
    show = lambda x, carry: (x, carry)
    cell = nn.compose(lambda net, x, carry=None: (net.drop(x), x), drop=nn.dropout(0.5))
    layer = nn.scan_time(cell, variational=variational)
    y, _ = layer({}, jnp.ones((2, 6, 8)), key=jax.random.key(0), train=True)
    assert set(np.unique(y)) == {0.0, 2.0}
    assert (np.asarray(y) == np.asarray(y)[:, :1]).all() == variational
    assert not nn.scan_time(show).random and layer.random


def test_state_of_a_cell_goes_from_step_to_step():
    norm = nn.batch_norm(3, decay=0.5)

    def step(net, x, carry=None):
        h = net.norm(x)
        return h, h

    layer = nn.scan_time(nn.compose(step, norm=norm))
    params, state = layer.init(jax.random.key(0))
    x = numbers(4, 2, 3)
    _, after = layer.apply(params, state, x, train=True)
    want = state
    for t in range(2):
        _, norm_state = norm.apply(params["norm"], want["norm"], x[:, t], train=True)
        want = {"norm": norm_state}
    close(after, want)
    assert layer.apply(params, state, x)[1] is state


def test_any_function_is_a_cell_and_further_inputs_reach_each_step():
    total = nn.scan_time(lambda x, carry: (x if carry is None else x + carry,) * 2, time_axis=-1)
    x = numbers(2, 5)
    close(total({}, x), (np.cumsum(f64(x), 1), f64(x).sum(1)), atol=1e-5)
    labels = jnp.array([[1, 2, 3], [4, 5, 6]])
    y, last = total({}, labels, mask=jnp.array([[True, False, True], [True, True, True]]))
    assert y.tolist() == [[1, 0, 4], [4, 9, 15]] and last.tolist() == [4, 15]

    def attend(x, carry, memory):
        h = x if carry is None else x + carry
        return h * memory, h

    y, _ = nn.scan_time(attend)({}, x[:, :, None], jnp.array([[2.0], [3.0]]))
    close(y[..., 0], np.cumsum(f64(x), 1) * np.array([[2.0], [3.0]]), atol=1e-5)


def test_images_in_time():
    cell = nn.conv_lstm_cell(2, 3, 3)
    layer = nn.scan_time(cell, time_axis=-4)
    params = moved(layer.init(jax.random.key(0))[0])
    x, mask = numbers(2, 3, 4, 5, 2), np.array([[True, True, False], [True, False, False]])
    zero = (np.zeros((1, 4, 5, 3)),) * 2
    got = jax.jit(layer)(params, x, lengths=jnp.array([2, 1]))
    close(got, np_scan(np_conv_lstm, f64(params), f64(x), zero, mask))


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_gradients(order):
    carry, lengths = (numbers(2, 2, seed=1), numbers(2, 2, seed=2)), jnp.array([2, 1])
    f = lambda p, x, carry: LSTM(p, x, carry=carry, lengths=lengths)
    check_gradients(f, PARAMS, numbers(2, 2, 3), carry, order=order)


def test_remat_changes_no_gradient():
    layer = nn.scan_time(nn.remat(nn.lstm_cell(3, 2)))
    loss = lambda layer: lambda p, x: layer(p, x, lengths=jnp.array([4, 2]))[0].sum()
    x = numbers(2, 4, 3)
    slope = lambda layer: jax.jit(jax.grad(loss(layer)))(PARAMS, x)
    close(slope(layer), slope(LSTM))


def test_bfloat16_stays_near_float64():
    params, x = bf16((PARAMS, numbers(3, 6, 3)))
    y, (h, c) = run(params, x, lengths=jnp.array([6, 0, 4]))
    assert {y.dtype, h.dtype, c.dtype} == {jnp.dtype(jnp.bfloat16)}
    # six steps, each with some five roundings of 2**-8 of numbers up to one
    close((y, (h, c)), np_lstms(f64(params), f64(x), [6, 0, 4]), atol=2.0**-5)


def test_layers_can_be_rewritten_inside():
    swap = lambda path, layer: nn.gru_cell(3, 2) if layer.name == "lstm_cell(3, 2)" else layer
    swapped = nn.map_layers(swap, nn.bidirectional(LSTM))
    params, _ = swapped.init(jax.random.key(0))
    assert jax.tree.map(jnp.shape, swapped(params, numbers(4, 3))) == ((4, 4), ((2,), (2,)))
    assert repr(LSTM) == "lstm(3, 2) {\n  lstm_cell(3, 2)\n}"


def test_messages():
    x, h = numbers(2, 4, 3), numbers(2, 2)
    deep = nn.gru(3, 2, layers=2)
    params, _ = deep.init(jax.random.key(0))

    def refused(message, call, kind: type[Exception] = ValueError):
        with pytest.raises(kind, match=message):
            call()

    refused(
        r"lstm\(3, 2\): in a step of x, lstm_cell\(3, 2\): got carry of 3 parts, expected two",
        lambda: LSTM(PARAMS, x, carry=(h, h, h)),
    )
    refused(
        r"got carry\[1\] of shape \(4, 2\), expected \[2, 2\]\. A carry",
        lambda: LSTM(PARAMS, x, carry=(h, numbers(4, 2))),
    )
    refused(
        r"lstm\(3, 2\): got lengths of dtype float32, expected integer. Count the",
        lambda: LSTM(PARAMS, x, lengths=jnp.ones(2)),
        TypeError,
    )
    refused(
        r"got lengths of shape \(3,\), expected \[2\]\. Give one",
        lambda: LSTM(PARAMS, x, lengths=jnp.array([1, 2, 3])),
    )
    refused(
        r"got mask of dtype int32, expected bool.*True where a step takes part",
        lambda: LSTM(PARAMS, x, mask=jnp.ones((2, 4), int)),
        TypeError,
    )
    refused(
        r"got mask of shape \(2, 3\), expected \[2, 4\]\. Give one entry a step",
        lambda: LSTM(PARAMS, x, mask=jnp.ones((2, 3), bool)),
    )
    refused(
        "got lengths and mask, expected at most one",
        lambda: LSTM(PARAMS, x, lengths=jnp.ones(2, int), mask=jnp.ones((2, 4), bool)),
    )
    refused(
        "stacked: got carry of 1 parts, expected 2, one a layer",
        lambda: deep(params, x, carry=(h,)),
    )
    refused(r"expected \[\*, \*\]|expected \[\.\.\., \*, \*\]", lambda: LSTM(PARAMS, h[0]))
    refused("got dropout_rate=0.5 and layers=1", lambda: nn.gru(3, 2, dropout_rate=0.5))
    refused("got layers=0, expected at least 1", lambda: nn.gru(3, 2, layers=0))
    refused("stacked: got no layers", nn.stacked)
    refused("got time_axis=1, expected -1 or less", lambda: nn.scan_time(GRU, time_axis=1))
    wider = lambda x, carry=None: (x, jnp.concatenate([x, x], -1))
    refused(
        r"scan_time of wider: got carry .*\[2, 3\].*, expected .*\[2, 6\].* as it is after a step",
        lambda: nn.scan_time(nn.as_layer(wider).named("wider"))({}, x, carry=x[:, 0]),
    )
    narrow = nn.stacked(RNN, nn.rnn(2, 3), residual=True)
    refused(
        r"stacked: got layer_1 mapping \(2, 4, 2\) to \(2, 4, 3\), expected one shape",
        lambda: narrow(narrow.init(jax.random.key(0))[0], x),
    )
