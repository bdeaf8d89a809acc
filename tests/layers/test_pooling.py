"""Pools: parity with windows cut one by one, padding, ties, gradients, bfloat16."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.layers.test_convolution import np_pads
from tests.numerics import bf16, check_gradients, close, f64, numbers


def np_windows(x, window, stride, padding):
    """The flat indices into one image that each window holds, in reading order, by its position."""
    pads = np_pads(padding, x.shape[:-1], window, stride)
    counts = [
        (n + sum(p) - w) // s + 1
        for n, p, w, s in zip(x.shape[:-1], pads, window, stride, strict=True)
    ]
    index = np.arange(x[..., 0].size).reshape(x.shape[:-1])
    for position in itertools.product(*map(range, counts)):
        starts = [i * s - p[0] for i, s, p in zip(position, stride, pads, strict=True)]
        inside = (slice(max(a, 0), a + w) for a, w in zip(starts, window, strict=True))
        yield position, index[*inside].ravel()


def np_pool(reduce, x, window, stride, padding):
    """x [B, *spatial, C]; reduce takes [entries, C]."""
    images = []
    for image in x:
        rows = image.reshape(-1, image.shape[-1])
        pooled = {at: reduce(rows[i]) for at, i in np_windows(image, window, stride, padding)}
        last = max(pooled)
        images.append(np.reshape(list(pooled.values()), (*(n + 1 for n in last), -1)))
    return np.stack(images)


def np_max_pool_gradient(x, cotangent, window, stride, padding):
    """Each window gives its cotangent to the first of its largest entries."""
    gradient = np.zeros_like(x)
    for image, dy, dx in zip(x, cotangent, gradient, strict=True):
        rows, dx = image.reshape(-1, image.shape[-1]), dx.reshape(-1, image.shape[-1])
        for at, i in np_windows(image, window, stride, padding):
            for channel in range(image.shape[-1]):
                dx[i[np.argmax(rows[i, channel])], channel] += dy[*at, channel]
    return gradient


CASES: dict[str, tuple[tuple[int, ...], Any, dict[str, Any]]] = {
    # name: (spatial shape, window, options)
    "2x2": ((4, 6), 2, {}),
    "leaves out a rest": ((5, 7), (2, 3), {}),
    "overlapping": ((6, 5), 3, {"stride": 1}),
    "overlapping, padded": ((7, 8), 3, {"stride": 2, "padding": 1}),
    "gaps": ((7, 7), 2, {"stride": 3}),
    "same, odd size": ((5, 7), 2, {"stride": 2, "padding": "SAME"}),
    "same, overlapping": ((5, 4), 3, {"stride": 2, "padding": "SAME"}),
    "padding by side": ((5, 5), 3, {"stride": 2, "padding": ((0, 2), (1, 0))}),
    "sequence": ((9,), (3,), {"stride": 2, "padding": (1,)}),
    "volume": ((3, 4, 5), (2, 2, 3), {"stride": (1, 2, 2), "padding": "SAME"}),
}


def explicit(window, options):
    axes = 2 if isinstance(window, int) else len(window)
    every = lambda v: (v,) * axes if isinstance(v, int) else v
    return every(window), every(options.get("stride", window)), options.get("padding", "VALID")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_parity(case, kind):
    size, window, options = CASES[case]
    x = numbers(2, *size, 3, mean=-5.0)  # all negative: zeros in the padding would show in both
    make, reduce = {"max": (nn.max_pool, np.max), "avg": (nn.avg_pool, np.mean)}[kind]
    want = np_pool(lambda rows: reduce(rows, 0), f64(x), *explicit(window, options))
    close(make(window, **options)({}, x), want)


@pytest.mark.parametrize("case", ["2x2", "overlapping, padded", "same, overlapping", "sequence"])
def test_max_gradient_goes_to_the_first_of_the_largest(case):
    size, window, options = CASES[case]
    x = jnp.round(numbers(2, *size, 3))  # few values: most windows hold a tie
    f = lambda x: nn.max_pool(window, **options)({}, x)
    cotangent = numbers(*jax.eval_shape(f, x).shape, seed=1)
    got = jax.jit(jax.grad(lambda x: (f(x) * cotangent).sum()))(x)
    close(got, np_max_pool_gradient(f64(x), f64(cotangent), *explicit(window, options)))


@pytest.mark.parametrize("make", [nn.max_pool, nn.avg_pool])
def test_gradients(make):
    x = np.random.default_rng(0).permutation(10).reshape(1, 5, 2)  # no ties to cross
    check_gradients(lambda x: jnp.sin(make((2,), stride=1, padding=1)({}, x)), x)


@pytest.mark.parametrize("make", [nn.max_pool, nn.avg_pool])
@pytest.mark.parametrize("batch", [(), (0,), (2, 0), (2, 3)])
def test_any_number_of_batch_axes(make, batch):
    x = numbers(*batch, 4, 4, 2)
    want = f64(x).reshape(*batch, 2, 2, 2, 2, 2)
    reduce = np.max if make is nn.max_pool else np.mean
    close(make(2)({}, x), reduce(want, (-4, -2)))


@pytest.mark.parametrize("make", [nn.avg_pool(32), nn.global_avg_pool()])
def test_mean_in_bfloat16_is_summed_in_float32(make):
    x = bf16(numbers(2, 32, 32, 3, mean=1.0))  # a sum in bfloat16 sticks at 256
    y = make({}, x)
    assert y.dtype == jnp.bfloat16
    close(y.reshape(2, 3), f64(x).mean((1, 2)), rtol=2.0**-8)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_global_avg_pool(axes, batch):
    x = numbers(*batch, 3, 4, 5, 2, mean=1e3)[..., :2, :]
    spatial = tuple(range(x.ndim - 1 - axes, x.ndim - 1))
    close(nn.global_avg_pool(axes)({}, x), f64(x).mean(spatial))


@pytest.mark.parametrize("make", [nn.max_pool, nn.avg_pool])
def test_messages(make):
    x = numbers(4, 4, 1)
    kind = make.__name__
    with pytest.raises(ValueError, match=rf"{kind}\(2\): got padding=2, expected less than the wi"):
        make(2, padding=2)({}, x)
    with pytest.raises(ValueError, match=rf"{kind}\(5\): got x of spatial shape \(4, 4\), expecte"):
        make(5)({}, x)
    with pytest.raises(ValueError, match=rf"{kind}\(\(2, 2\)\): got stride=\(2,\), expected 2 ent"):
        make((2, 2), stride=(2,))


def np_cells(n, window, stride, before, after, dilation, ceil_mode):
    """For each window along an axis, the positions it holds, padding and beyond included."""
    cells, start, whole = [], -before, True
    while whole:
        held = [start + k * dilation for k in range(window)]
        whole = held[-1] < n + after
        if whole or (ceil_mode and start < n):  # one window at most that is not whole
            cells.append(held)
        start += stride
    return cells


MORE: dict[str, tuple[tuple[int, ...], Any, dict[str, Any]]] = {
    # name: (spatial shape, window, options), padding one number for all sides
    "ceil": ((5, 6), 2, {"ceil_mode": True}),
    "ceil, padded": ((7, 8), 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
    "ceil drops a window in the padding": ((3, 6), 2, {"padding": 1, "ceil_mode": True}),
    "ceil, x smaller than the window": ((2, 4), 3, {"stride": 2, "ceil_mode": True}),
    "dilated": ((9, 7), (3, 2), {"stride": 2, "padding": 1, "dilation": (2, 3)}),
    "dilated, ceil": ((10,), (3,), {"stride": 3, "dilation": 2, "ceil_mode": True}),
}


def np_more(x, window, options, reduce, dilation=1):
    """reduce(values inside one window, their flat indices, how many with padding)."""
    window, stride, padding = explicit(window, options)
    axes = len(window)
    every = lambda v: (v,) * axes if isinstance(v, int) else v
    padding, dilation = every(0 if padding == "VALID" else padding), every(dilation)
    ceil = options.get("ceil_mode", False)
    size = x.shape[1:-1]
    cells = [
        np_cells(n, w, s, p, p, d, ceil)
        for n, w, s, p, d in zip(size, window, stride, padding, dilation, strict=True)
    ]
    y = np.zeros((len(x), *map(len, cells), x.shape[-1]))
    for at in itertools.product(*(range(len(c)) for c in cells)):
        held = list(itertools.product(*(c[i] for c, i in zip(cells, at, strict=True))))
        inside = [h for h in held if all(0 <= i < n for i, n in zip(h, size, strict=True))]
        padded = [
            h
            for h in held
            if all(-p <= i < n + p for i, n, p in zip(h, size, padding, strict=True))
        ]
        flat = np.ravel_multi_index(np.transpose(inside), size)
        values = x.reshape(len(x), -1, x.shape[-1])[:, flat]
        y[:, *at] = reduce(values, flat, len(padded))
    return y


@pytest.mark.parametrize("case", MORE)
def test_ceil_mode_and_dilation(case):
    size, window, options = MORE[case]
    x = jnp.round(numbers(2, *size, 3, mean=-5.0))  # few values: indices are of the first
    dilation = options.get("dilation", 1)
    run = jax.jit(
        lambda x: (
            nn.max_pool(window, **options, return_indices=True)({}, x),
            nn.min_pool(window, **options)({}, x),
        )
    )
    want = lambda reduce: np_more(f64(x), window, options, reduce, dilation)
    largest = want(lambda values, flat, padded: values.max(1))
    places = want(lambda values, flat, padded: flat[values.argmax(1)])
    smallest = want(lambda values, flat, padded: values.min(1))
    (y, indices), low = run(x)
    close((y, indices, low), (largest, places, smallest))
    assert indices.dtype == jnp.int32


@pytest.mark.parametrize("case", list(MORE)[:4])
def test_what_an_average_counts(case):
    size, window, options = MORE[case]
    x = numbers(2, *size, 3, mean=-5.0)
    run = jax.jit(
        lambda x: (
            nn.avg_pool(window, **options)({}, x),
            nn.avg_pool(window, **options, count_include_pad=True)({}, x),
            nn.avg_pool(window, **options, divisor=3)({}, x),
            nn.sum_pool(window, **options)({}, x),
            nn.lp_pool(1.5, window, **options)({}, x),
            nn.lp_pool(2, window, **options)({}, x),
        )
    )
    want = lambda reduce: np_more(f64(x), window, options, reduce)
    total = want(lambda values, flat, padded: values.sum(1))
    norm = lambda p: want(lambda values, flat, n: (np.abs(values) ** p).sum(1) ** (1 / p))
    counted = want(lambda values, flat, padded: values.sum(1) / padded)
    mean = want(lambda values, flat, padded: values.mean(1))
    close(run(x), (mean, counted, total / 3, total, norm(1.5), norm(2)))


def test_windows_that_tile_have_a_gradient_of_no_shifted_sums():
    layer, x = nn.max_pool(2), numbers(2, 4, 6, 3)
    text = str(jax.make_jaxpr(jax.grad(lambda x: layer({}, x).sum()))(x))
    overlapping = str(jax.make_jaxpr(jax.grad(lambda x: nn.max_pool(3)({}, x[:, :4, :5]).sum()))(x))
    shifted = str(jax.make_jaxpr(jax.grad(lambda x: nn.max_pool(2, stride=1)({}, x).sum()))(x))
    assert " pad[" not in text and " pad[" in shifted and " pad[" in overlapping


def test_indices_of_nan_and_of_minus_infinity():
    x = jnp.array([-jnp.inf, -jnp.inf, 1.0, jnp.nan, 5.0, jnp.nan, 0.0]).reshape(7, 1)
    pool = nn.max_pool((2,), stride=2, padding=1, return_indices=True)
    (y, indices), slope = jax.jit(
        lambda x: (pool({}, x), jax.grad(lambda x: pool({}, x)[0][0, 0])(x))
    )(x)
    assert indices.ravel().tolist() == [0, 1 + 1, 3, 5]
    assert bool(jnp.isnan(y).ravel()[2]) and y[0, 0] == -jnp.inf
    assert slope.ravel().tolist() == [1.0] + [0.0] * 6  # never to the padding


@pytest.mark.parametrize("size, window, options", [((6,), (2,), {}), ((7, 8), 3, {"padding": 1})])
def test_unpooling_puts_back_what_pooling_took(size, window, options):
    x = numbers(2, *size, 3)
    pool = nn.max_pool(window, return_indices=True, **options)
    unpool = nn.max_unpool(window, output_size=size, **options)

    @jax.jit
    def run(x):
        y, indices = pool({}, x)
        back, pull = jax.vjp(lambda y: unpool({}, y, indices), y)
        return y, indices, back, pull(x)[0], pool({}, back)[0]

    y, indices, back, pulled, again = run(x)
    want = np.zeros((2, int(np.prod(size)), 3))
    for b, c in np.ndindex(2, 3):
        want[b, np.asarray(indices)[b, ..., c].ravel(), c] = np.asarray(y)[b, ..., c].ravel()
    close(back, want.reshape(x.shape))
    close(pulled, y)  # the gradient is what lies at the indices, here x's own entries
    close(again, jnp.maximum(y, 0) if options else jnp.where(y > 0, y, again))
    small = nn.max_unpool((2,))({}, jnp.ones((2, 1)), jnp.array([[1], [2]]))
    assert small.ravel().tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_a_norm_of_zeros_has_no_slope(p):
    f = lambda x: nn.lp_pool(p, 2)({}, x).sum()
    slope = jax.jit(jax.grad(f))(jnp.zeros((2, 2, 1)))
    assert slope.tolist() == [[[0.0]] * 2] * 2


@pytest.mark.slow
def test_norm_gradients():
    x = numbers(4, 1)
    check_gradients(lambda x: (nn.lp_pool(3, (2,))({}, x), nn.lp_pool(2, (4,))({}, x)), x, order=1)


@pytest.mark.parametrize("window, stride", [(3, 2), ((4,), 2), ((2, 5), (3, 1))])
def test_blur_pool(window, stride):
    axes = 2 if isinstance(window, int) else len(window)
    x = numbers(2, *(7, 6)[:axes], 3, mean=1e3)
    every = lambda v: (v,) * axes if isinstance(v, int) else v
    want = f64(x)
    for axis, (w, s) in enumerate(zip(every(window), every(stride), strict=True), 1):
        weights = np.poly1d([0.5, 0.5]) ** (w - 1)
        taps = weights.coeffs if w > 1 else np.ones(1)
        pads = [(0, 0)] * want.ndim
        pads[axis] = ((w - 1) // 2, w // 2)
        padded = np.pad(want, pads, mode="reflect")
        convolve: Any = np.convolve
        smooth = np.apply_along_axis(convolve, axis, padded, taps, "valid")
        want = smooth.take(range(0, smooth.shape[axis], s), axis)
    close(jax.jit(lambda x: nn.blur_pool(window, stride=stride)({}, x))(x), want)


def test_messages_of_options():
    x = numbers(4, 4, 1)
    with pytest.raises(ValueError, match=r"max_pool\(2\): got padding=1, expected less than"):
        nn.max_pool(2, dilation=3, padding=1, stride=4)({}, x[:2, :2])  # holds -1 and 2
    with pytest.raises(ValueError, match=r"lp_pool\(inf, 2\): got p=inf, expected a positive num"):
        nn.lp_pool(float("inf"), 2)
    with pytest.raises(ValueError, match=r"avg_pool\(2\): got divisor=0, expected a number"):
        nn.avg_pool(2, divisor=0)
    with pytest.raises(ValueError, match=r"blur_pool\(9\): got x of .*, expected at least 5 along"):
        nn.blur_pool(9)({}, x)
    with pytest.raises(
        ValueError, match=r"max_unpool\(2\): got padding='SAME'. Give it in numbers"
    ):
        nn.max_unpool(2, padding="SAME")({}, x, jnp.zeros(x.shape, int))  # type: ignore
