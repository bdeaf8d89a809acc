"""Resampling: parity with loops over entries and with SciPy, laws, gradients, messages."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

import nnjax as nn
from tests.layers.test_convolution import reference as np_conv
from tests.numerics import bf16, check_gradients, close, f64, numbers


def np_keys(t, a):
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def np_resize_axis(x, new, scale, method, align):
    """x [old, ...]: each new entry is a weighted sum of old ones, the ends going on for ever."""
    old, rows = len(x), []
    for i in range(new):
        if method == "nearest":
            rows.append(x[min(int(i / scale), old - 1)])
            continue
        u = (i + 0.5) / scale - 0.5
        if align:
            u = i * (old - 1) / (new - 1) if new > 1 else 0.0
        kernel = {
            "linear": lambda t: max(0.0, 1 - abs(t)),
            "cubic": lambda t: np_keys(t, -0.75),
            "nearest-exact": lambda t: float(-0.5 < t <= 0.5),
        }[method]
        around = range(int(np.floor(u)) - 2, int(np.floor(u)) + 4)
        rows.append(sum(kernel(k - u) * x[min(max(k, 0), old - 1)] for k in around))
    return np.stack(rows)


def np_resize(x, sizes, scales, method, align=False):
    """x [B, *spatial, C]."""
    for axis, (new, scale) in enumerate(zip(sizes, scales, strict=True), 1):
        rows = np_resize_axis(np.moveaxis(x, axis, 0), new, scale, method, align)
        x = np.moveaxis(rows, 0, axis)
    return x


SIZES = {
    "larger": ((3, 4), (7, 8)),
    "smaller": ((7, 6), (3, 4)),
    "one": ((3, 5), (1, 5)),
    "from one": ((1, 3), (4, 2)),
    "sequence": ((5,), (8,)),
    "volume": ((2, 3, 2), (3, 2, 4)),
}


@pytest.mark.parametrize("case", SIZES)
@pytest.mark.parametrize("method", ["nearest", "nearest-exact", "linear", "cubic", "corners"])
def test_resize(case, method):
    old, new = SIZES[case]
    x = numbers(2, *old, 2, mean=3.0)
    align = method == "corners"
    method = "cubic" if align else method
    scales = [b / a for a, b in zip(old, new, strict=True)]
    want = np_resize(f64(x), new, scales, method, align)
    layer = nn.resize(new, method=method, align_corners=align)
    close(jax.jit(layer)({}, x), want, rtol=3e-6)


@pytest.mark.parametrize("method", ["nearest", "nearest-exact", "linear", "cubic"])
@pytest.mark.parametrize("scale", [2, (3, 1), (1.7, 0.6), (2.5,)])
def test_upsample(method, scale):
    scales = (scale, scale) if isinstance(scale, int) else scale
    x = numbers(2, *(5, 6)[: len(scales)], 2)
    sizes = [int(n * s) for n, s in zip((5, 6), scales, strict=False)]
    layer = nn.upsample(scale, method=method)
    close(jax.jit(layer)({}, x), np_resize(f64(x), sizes, scales, method))


@pytest.mark.parametrize("method", ["linear", "cubic"])
@pytest.mark.parametrize("case", SIZES)
def test_antialias_is_that_of_jax_image(case, method):
    old, new = SIZES[case]
    x = numbers(2, *old, 2)
    layer = nn.resize(new, method=method, antialias=True)
    with jax.numpy_dtype_promotion("standard"):
        want = jax.jit(lambda x: jax.image.resize(x, (2, *new, 2), method))(x)
    close(jax.jit(layer)({}, x), want, atol=1e-5)


def test_a_line_stays_a_line_and_a_parabola_a_parabola():
    place = np.arange(9.0)
    u = (np.arange(18) + 0.5) / 2 - 0.5
    inner = slice(6, -6)
    for method, antialias, f in [
        ("linear", False, lambda t: 3 * t - 5),
        ("cubic", True, lambda t: t * t - 3 * t + 1),
    ]:
        layer = nn.upsample((2,), method=method, antialias=antialias)  # type: ignore
        y = layer({}, jnp.asarray(f(place), jnp.float32)[:, None])[:, 0]
        close(y[inner], f(u)[inner], atol=1e-5)


def test_constants_stay_and_large_ones_in_bfloat16_too():
    x = jnp.full((1, 5, 3, 2), 257.0)
    kinds: Any = itertools.product(("linear", "cubic"), (False, True))
    layers = [nn.resize((3, 7), method=method, antialias=widen) for method, widen in kinds]
    for full, half in jax.jit(lambda: [(layer({}, x), layer({}, bf16(x))) for layer in layers])():
        close(full, np.full((1, 3, 7, 2), 257.0))
        close(half, np.full((1, 3, 7, 2), 256.0))


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_any_number_of_batch_axes(batch):
    x = numbers(*batch, 4, 6, 8)
    layers = (
        nn.resize((3, 5)),
        nn.upsample(2),
        nn.pixel_shuffle(2),
        nn.pixel_unshuffle(2),
        nn.channel_shuffle(2),
        nn.unfold(2),
        nn.fold((5, 7), 2),
    )
    flat = x.reshape(-1, 4, 6, 8)
    for y, z in jax.jit(lambda: [(layer({}, x), layer({}, flat)) for layer in layers])():
        assert y.shape[: len(batch)] == batch
        close(y, z.reshape(y.shape))


@pytest.mark.parametrize("factor", [2, (1, 3), (2,), (2, 1, 2)])
def test_pixel_shuffle(factor):
    factors = (factor, factor) if isinstance(factor, int) else factor
    size, block = (2, 3, 4)[: len(factors)], int(np.prod(factors))
    x = np.asarray(numbers(2, *size, 2 * block))
    y = nn.pixel_shuffle(factor)({}, jnp.asarray(x))
    for place in np.ndindex(*size):
        for c, offsets in itertools.product(range(2), np.ndindex(*factors)):
            at = (p * f + o for p, f, o in zip(place, factors, offsets, strict=True))
            channel = c * block + np.ravel_multi_index(offsets, factors)
            np.testing.assert_array_equal(y[:, *at, c], x[:, *place, channel])
    close(nn.pixel_unshuffle(factor)({}, y), x, rtol=0, atol=0)


def test_channel_shuffle():
    x = jnp.arange(6)
    np.testing.assert_array_equal(nn.channel_shuffle(2)({}, x), [0, 3, 1, 4, 2, 5])
    np.testing.assert_array_equal(nn.channel_shuffle(3)({}, x), [0, 2, 4, 1, 3, 5])


WINDOWS: dict[str, tuple[tuple[int, ...], Any, dict[str, Any]]] = {
    "plain": ((4, 5), 3, {}),
    "patches": ((4, 6), 2, {"stride": 2}),
    "odd": ((7, 6), (3, 2), {"stride": (2, 3), "padding": (1, 2), "dilation": (2, 1)}),
    "leaves out a rest": ((6, 7), 3, {"stride": 2, "padding": ((2, 0), 0)}),
    "gaps": ((7, 7), 2, {"stride": 3}),
    "same": ((5, 4), 3, {"stride": 2, "padding": "SAME"}),
    "sequence": ((6,), (3,), {"padding": "CAUSAL"}),
    "volume": ((3, 3, 4), (2, 1, 3), {"padding": 1}),
}


@pytest.mark.parametrize("case", WINDOWS)
def test_unfold_is_conv_without_its_product_and_fold_its_transpose(case):
    size, window, options = WINDOWS[case]
    sizes = (window,) * 2 if isinstance(window, int) else window
    x = numbers(2, *size, 3)
    kernel = np.random.default_rng(0).normal(size=(*sizes, 3, 4))
    padding = {"padding": "VALID"} | options
    unfold = nn.unfold(window, **options)
    fold = nn.fold(size, window, **options)

    @jax.jit
    def run(x):
        patches, pull = jax.vjp(lambda x: unfold({}, x), x)
        return patches, pull(patches)[0], fold({}, patches), fold({}, jnp.ones_like(patches))

    patches, transposed, back, seen = run(x)
    want = np_conv(f64(x), {"kernel": kernel}, window, padding)
    close(f64(patches) @ kernel.reshape(-1, 4), want)
    close(back, transposed)
    close(back, f64(x) * f64(seen))  # every entry as often as a window saw it


def test_overlaps_are_added_in_float32():
    patches = bf16(jnp.ones((27, 8)).at[:, 0].set(256.0))
    y = jax.jit(nn.fold((20,), (8,), padding=7))({}, patches)
    assert y.dtype == jnp.bfloat16
    close(y, np.full((20, 1), 263.0), rtol=2.0**-8)  # in bfloat16, 256 + 1 is 256


OUTSIDE = {  # (ours, align_corners) -> SciPy's
    ("zeros", True): "grid-constant",
    ("zeros", False): "grid-constant",
    ("border", True): "nearest",
    ("border", False): "nearest",
    ("reflection", True): "mirror",
    ("reflection", False): "reflect",
}


@pytest.mark.parametrize("padding, align", OUTSIDE)
@pytest.mark.parametrize("method", ["nearest", "linear"])
@pytest.mark.parametrize("size", [(4, 5), (5,), (3, 2, 4)], ids=["image", "sequence", "volume"])
def test_grid_sample(size, method, padding, align):
    x = numbers(2, *size, 3)
    grid = numbers(2, 6, 4, len(size), seed=1, scale=1.5)  # many outside, some far
    layer = nn.grid_sample(method=method, padding=padding, align_corners=align)
    y = jax.jit(layer)({}, x, grid)
    order, mode = {"nearest": 0, "linear": 1}[method], OUTSIDE[padding, align]
    for b, c in np.ndindex(2, 3):
        g = f64(grid)[b][..., ::-1]
        n = np.array(size)
        places = (g + 1) / 2 * (n - 1) if align else ((g + 1) * n - 1) / 2
        want = map_coordinates(
            f64(x)[b, ..., c], np.moveaxis(places, -1, 0), order=order, mode=mode
        )
        close(y[b, ..., c], want, atol=1e-5)


@pytest.mark.parametrize("align", [False, True])
def test_cubic_grid_sample_is_a_cubic_resize_within_the_image(align):
    """Points of a finer image; the border's taps are the clamped ones of a resize."""
    x = numbers(2, 4, 5, 3)
    theta = jnp.broadcast_to(jnp.eye(2, 3), (2, 2, 3))
    grid = nn.affine_grid((7, 9), align_corners=align)
    sample = nn.grid_sample(method="cubic", padding="border", align_corners=align)
    resize = nn.resize((7, 9), method="cubic", align_corners=align)
    sampled, resized = jax.jit(lambda: (sample({}, x, grid({}, theta)), resize({}, x)))()
    close(sampled, resized, atol=1e-5)


def test_far_and_undefined_points_read_nothing():
    x = numbers(1, 3, 4, 2)
    grid = jnp.array([[[1e20, 0.0], [0.0, -1e20], [jnp.inf, 0.0], [jnp.nan, 0.0]]])
    methods: Any = ("nearest", "linear", "cubic")
    for y in jax.jit(lambda: [nn.grid_sample(method=m)({}, x, grid) for m in methods])():
        assert not y.any()


def test_affine_grid():
    theta = numbers(2, 3, 4, seed=2)
    for align in (False, True):
        grid = f64(jax.jit(nn.affine_grid((2, 3, 1), align_corners=align))({}, theta))
        lines = {2: [-1, 1], 3: [-1, 0, 1], 1: [0]}
        if not align:
            lines = {n: [(2 * i + 1 - n) / n for i in range(n)] for n in (1, 2, 3)}
        for z, y, x in np.ndindex(2, 3, 1):
            point = np.array([lines[1][x], lines[3][y], lines[2][z], 1.0])
            close(grid[:, z, y, x], f64(theta) @ point)


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_sampling_takes_any_number_of_batch_axes(batch):
    x, theta = numbers(*batch, 4, 5, 2), numbers(*batch, 2, 3)

    @jax.jit
    def run(x, theta):
        grid = nn.affine_grid((3, 6))({}, theta)
        one_point_each = grid[..., 0, 0, :]
        return nn.grid_sample()({}, x, grid), nn.grid_sample()({}, x, one_point_each)

    y, points = run(x, theta)
    assert y.shape == (*batch, 3, 6, 2) and points.shape == (*batch, 2)
    if batch == (2, 3):
        alone, _ = run(x[1, 2], theta[1, 2])
        close(y[1, 2], alone)


def test_gradients():
    layers = (
        nn.resize((3,), method="cubic"),
        nn.upsample((1.5,)),
        nn.unfold((2,), padding=1, stride=2),
        nn.fold((4,), (2,), padding=1),
    )
    check_gradients(lambda x: [jnp.sin(layer({}, x)) for layer in layers], numbers(5, 2))


@pytest.mark.slow
def test_sampling_gradients():
    line = nn.affine_grid((3,))
    kinds = nn.grid_sample(method="cubic"), nn.grid_sample(padding="reflection")
    f = lambda x, theta: [jnp.sin(sample({}, x, line({}, theta))) for sample in kinds]
    check_gradients(f, numbers(4, 1), jnp.array([[1.3, 0.1]]))


X = jnp.ones((4, 6, 3))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.resize(0), r"resize\(0\): got size=0, expected at least 1"),
        (lambda: nn.resize(4, method="bilinear"), "got method='bilinear', expected one of"),  # type: ignore
        (lambda: nn.resize(4, align_corners=True, antialias=True), "expected one of the two"),
        (lambda: nn.upsample(2, antialias=True), "got method='nearest', .*antialias=True, expect"),
        (
            lambda: nn.upsample(0),
            r"upsample\(0\): got scale=0, expected one to three numbers above",
        ),
        (lambda: nn.upsample(0.1)({}, X), r"got x of spatial shape \(4, 6\), expected some of it"),
        (lambda: nn.pixel_shuffle(2)({}, X), "got x with 3 channels, expected a multiple of 4"),
        (lambda: nn.pixel_unshuffle(4)({}, X), r"shape \(4, 6\), expected multiples of \(4, 4\)"),
        (lambda: nn.channel_shuffle(2)({}, X), "got x with 3 channels, expected a multiple of gr"),
        (
            lambda: nn.unfold(5)({}, X),
            r"unfold\(5\): got x of spatial shape \(4, 6\), expected room",
        ),
        (lambda: nn.fold((4, 6), (2,)), r"got window=\(2,\), expected 2 entries"),
        (lambda: nn.fold(3, 4), r"fold\(3, 4\): got x of spatial shape \(3, 3\), expected room"),
        (lambda: nn.fold((5, 7), 2)({}, X), r"got x of places \(4, 6\) and 3 features, expected"),
        (lambda: nn.grid_sample(method="bilinear"), "got method='bilinear', expected one of"),  # type: ignore
        (lambda: nn.grid_sample(padding="SAME"), "got padding='SAME', expected one of"),  # type: ignore
        (lambda: nn.grid_sample()({}, X, jnp.ones((2, 4))), "as many coordinates in grid as x has"),
        (lambda: nn.grid_sample()({}, X[:0], jnp.ones((2, 2))), r"\(0, 6\), expected entries"),
        (lambda: nn.grid_sample()({}, X, jnp.ones((2, 2), int)), "got grid of dtype int32"),
    ],
)
def test_messages(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
