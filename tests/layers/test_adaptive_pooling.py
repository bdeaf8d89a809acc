"""Pools to a given size: parity with bins cut one by one, ties, gradients, extremes, errors."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers


def np_bins(x, sizes, reduce):
    """x [B, *spatial, C]: reduce(values [B, entries, C], their flat indices) of each bin."""
    spatial = x.shape[1:-1]
    y = np.zeros((len(x), *sizes, x.shape[-1]))
    for at in itertools.product(*map(range, sizes)):
        sides = [
            range(int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m)))
            for i, n, m in zip(at, spatial, sizes, strict=True)
        ]
        flat = np.ravel_multi_index(np.transpose(list(itertools.product(*sides))), spatial)
        y[:, *at] = reduce(x.reshape(len(x), -1, x.shape[-1])[:, flat], flat)
    return y


CASES = [
    # spatial shape, output size
    ((6, 4), (3, 2)),  # bins side by side
    ((5, 7), (3, 4)),  # neighbours share entries
    ((3, 2), (5, 2)),  # more bins than entries
    ((7,), (1,)),
    ((4, 3, 5), (2, 3, 4)),
]


@pytest.mark.parametrize("spatial, sizes", CASES)
def test_parity(spatial, sizes):
    x = jnp.round(numbers(2, *spatial, 3, mean=-5.0) * 2)  # few values: most bins hold a tie
    asked = tuple(None if n == m else m for n, m in zip(spatial, sizes, strict=True))
    avg = nn.adaptive_avg_pool(asked)
    top = nn.adaptive_max_pool(asked, return_indices=True)
    cotangent = numbers(2, *sizes, 3, seed=1)

    @jax.jit
    def run(x):
        y, pull, indices = jax.vjp(lambda x: top({}, x), x, has_aux=True)
        return avg({}, x), y, indices, pull(cotangent)[0]

    mean, largest, indices, gradient = run(x)
    close(mean, np_bins(f64(x), sizes, lambda values, flat: values.mean(1)))
    close(largest, np_bins(f64(x), sizes, lambda values, flat: values.max(1)))
    first = np_bins(f64(x), sizes, lambda values, flat: flat[values.argmax(1)]).astype(int)
    assert (indices == first).all() and indices.dtype == jnp.int32
    want = np.zeros((2, int(np.prod(spatial)), 3))
    images, channels = np.ogrid[:2, :1, :3][0], np.ogrid[:2, :1, :3][2]
    flat = lambda a: np.asarray(a).reshape(2, -1, 3)
    np.add.at(want, (images, flat(first), channels), flat(cotangent))
    close(gradient, want.reshape(x.shape))


def test_one_number_is_for_two_axes_and_none_leaves_them():
    x = numbers(4, 6, 5, 2)
    assert nn.output_shape(nn.adaptive_avg_pool(3), x.shape) == (4, 3, 3, 2)
    assert nn.output_shape(nn.adaptive_max_pool((None, 2)), x.shape) == (4, 6, 2, 2)
    close(nn.adaptive_avg_pool(None)({}, x), x)


def test_an_infinity_stays_in_its_bins():
    x = jnp.zeros((6, 1)).at[2].set(jnp.inf)
    assert nn.adaptive_avg_pool((4,))({}, x).ravel().tolist() == [0.0, jnp.inf, 0.0, 0.0]


@pytest.mark.slow
def test_adaptive_gradients():
    x = np.random.default_rng(0).permutation(10).reshape(1, 5, 2)  # no ties to cross
    both = nn.parallel(nn.adaptive_avg_pool((3,)), nn.adaptive_max_pool((3,)))
    check_gradients(lambda x: both({}, x), x, order=1)


def np_fractional(x, window, counts, samples):
    """One channel, x [*spatial]: windows where the formula puts them."""
    starts = []
    for n, w, m, u in zip(x.shape, window, counts, samples, strict=True):
        alpha = (n - w) / max(m - 1, 1)
        inner = [int((i + u) * alpha) - int(u * alpha) for i in range(m - 1)]
        starts.append([*inner, n - w])
    y = np.zeros((2, *counts))
    for at in itertools.product(*map(range, counts)):
        corner = [s[i] for s, i in zip(starts, at, strict=True)]
        part = x[tuple(slice(c, c + w) for c, w in zip(corner, window, strict=True))]
        best = np.unravel_index(part.argmax(), part.shape)
        place = [c + b for c, b in zip(corner, best, strict=True)]
        y[0, *at], y[1, *at] = part.max(), np.ravel_multi_index(place, x.shape)
    return y


@pytest.mark.parametrize(
    "spatial, window, options, counts",
    [
        ((7, 9), 2, {"output_ratio": 0.5}, (3, 4)),
        ((7, 6), (2, 3), {"output_size": (4, 3)}, (4, 3)),
        ((6,), (3,), {"output_size": 1}, (1,)),
        ((5, 4, 6), (2, 2, 1), {"output_ratio": (0.7, 0.5, 0.9)}, (3, 2, 5)),
    ],
)
def test_fractional_max_pool(spatial, window, options, counts):
    x = jnp.round(numbers(2, *spatial, 3))
    samples = np.random.default_rng(1).random((2, 3, len(spatial)), np.float32)
    samples[0, 0], samples[1, 2] = 0.0, 0.999  # the ends
    pool = nn.fractional_max_pool(window, return_indices=True, **options)
    y, indices = jax.jit(lambda x, u: pool({}, x, samples=u))(x, jnp.asarray(samples))
    window = (window,) * len(spatial) if isinstance(window, int) else window
    for b, c in np.ndindex(2, 3):
        want = np_fractional(f64(x)[b, ..., c], window, counts, f64(samples)[b, c])
        close((y[b, ..., c], indices[b, ..., c]), tuple(want))


def test_fractional_samples_by_channel_and_example():
    pool = nn.fractional_max_pool((1,), output_size=5)
    x = jnp.broadcast_to(jnp.arange(8.0)[:, None], (50, 8, 2))
    draw = jax.jit(lambda key: pool({}, x, key=key, train=True))
    y = np.asarray(draw(jax.random.key(0)))
    rows = {tuple(row) for image in y for row in image.T}
    assert len(rows) == 4 and (y[..., 0] != y[..., 1]).any()  # u falls between multiples of 1/4
    assert (y != draw(jax.random.key(1))).any()
    half = pool({}, x, samples=jnp.full((50, 2, 1), 0.5))
    close(pool({}, x), half)  # not training


@pytest.mark.parametrize("batch, axes", [((), 3), ((0,), 2), ((2, 3), 1)])
def test_global_max_pool(batch, axes):
    x = jnp.round(numbers(*batch, 3, 4, 5, 2) * 3)[..., :2, :]
    spatial = tuple(range(x.ndim - 1 - axes, x.ndim - 1))
    close(jax.jit(lambda x: nn.global_max_pool(axes)({}, x))(x), np.max(f64(x), spatial))


def test_global_max_gradient_goes_to_the_first():
    x = jnp.array([[1.0, 3.0], [3.0, 0.0]])[..., None]
    slope = jax.jit(jax.grad(lambda x: nn.global_max_pool()({}, x).sum()))(x)
    assert slope.ravel().tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("power", [1.0, 3.0, 40.0])
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_gem_pool(power, scale):
    layer = nn.gem_pool(power=power)
    params, _ = layer.init(jax.random.key(0))
    x = numbers(2, 4, 3, 5, mean=1.0, scale=scale)  # 1e6^40 is no float32; a third is negative
    h = np.maximum(f64(x), 1e-6)
    want = ((h / scale) ** power).mean((1, 2)) ** (1 / power) * scale
    close(jax.jit(layer)(params, x), want, rtol=1e-5)


@pytest.mark.slow
def test_gem_gradients():
    layer = nn.gem_pool(1, power=2.0, eps=1e-3)
    x = numbers(4, 2, mean=1.0, scale=0.3)
    check_gradients(lambda p, x: layer(p, x), layer.init(jax.random.key(0))[0], x, order=1)


def test_attention_pool():
    layer = nn.attention_pool(6, 2)
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(3, 5, 6)
    mask = np.array([[1] * 5, [0, 1, 1, 0, 0], [0] * 5], bool)  # the last has nothing to see
    y, plain = jax.jit(lambda p, x: (layer(p, x, mask=jnp.asarray(mask)), layer(p, x)))(params, x)
    part = lambda name, h: h @ p["attention"][name]["kernel"] + p["attention"][name]["bias"]
    p, x64 = f64(params), f64(x)
    q, k, v = part("query", p["query"]["embedding"]), part("key", x64), part("value", x64)
    for seen, got in ((mask, y), (np.ones_like(mask), plain)):
        heads = np.zeros((3, 6))
        for b, h in itertools.product(np.flatnonzero(seen.any(1)), range(2)):
            own = slice(3 * h, 3 * h + 3)
            shares = softmax(k[b, seen[b], own] @ q[0, own] / 3**0.5)
            heads[b, own] = shares @ v[b, seen[b], own]
        close(got, part("out", heads), rtol=1e-4, atol=1e-5)


def test_means_in_bfloat16_are_summed_in_float32():
    x = bf16(numbers(2, 64, 33, 3, mean=1.0))  # a sum in bfloat16 sticks at 256
    y = jax.jit(lambda x: nn.adaptive_avg_pool((1, 2))({}, x))(x)
    assert y.dtype == jnp.bfloat16
    want = np_bins(f64(x), (1, 2), lambda values, flat: values.mean(1))
    close(y, want, rtol=2.0**-8)


def test_messages():
    x = numbers(4, 4, 1)
    with pytest.raises(ValueError, match=r"fractional_max_pool\(2\): got output_size=None and out"):
        nn.fractional_max_pool(2)
    with pytest.raises(ValueError, match=r"got output_ratio=1.5, expected 2 numbers in \(0, 1\)"):
        nn.fractional_max_pool(2, output_ratio=1.5)
    with pytest.raises(ValueError, match=r"expected room for \(4, 4\) windows of \(2, 2\). Ask"):
        nn.fractional_max_pool(2, output_size=4)({}, x)
    with pytest.raises(ValueError, match=r"got samples of shape \(1, 1\), expected \[1, 2\]. Give"):
        nn.fractional_max_pool(2, output_size=2)({}, x, samples=jnp.zeros((1, 1)))
    with pytest.raises(ValueError, match="adaptive_avg_pool.*: got output_size=0, expected at lea"):
        nn.adaptive_avg_pool((2, 0))
    with pytest.raises(ValueError, match="adaptive_max_pool.*: got 4 sizes, expected one to three"):
        nn.adaptive_max_pool((1, 1, 1, 1))
