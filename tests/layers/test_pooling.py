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
