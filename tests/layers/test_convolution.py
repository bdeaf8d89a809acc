"""conv: parity with float64 NumPy over 1, 2 and 3 axes, every padding, gradients, bfloat16."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import BFLOAT16, bf16, check_gradients, close, f64, moved, numbers


def np_pads(padding, size, reach, stride):
    """(before, after) of each axis, by trying amounts of padding until enough windows fit."""
    if padding == "VALID":
        return [(0, 0)] * len(size)
    if padding == "SAME":
        fits = lambda n, r, s, total: len(range(0, n + total - r + 1, s)) >= -(-n // s)
        totals = [
            next(t for t in itertools.count() if fits(n, r, s, t))
            for n, r, s in zip(size, reach, stride, strict=True)
        ]
        return [(t // 2, t - t // 2) for t in totals]
    sides = [padding] * len(size) if isinstance(padding, int) else padding
    return [(p, p) if isinstance(p, int) else p for p in sides]


def np_conv(params, x, stride, padding, dilation, groups):
    """x [B, *spatial, in]: for each kernel position, a strided view of x times a matrix."""
    kernel = params["kernel"]
    size, (inside, out) = kernel.shape[:-2], kernel.shape[-2:]
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    x = np.pad(x, [(0, 0), *np_pads(padding, x.shape[1:-1], reach, stride), (0, 0)])
    windows = zip(x.shape[1:-1], reach, stride, strict=True)
    y = np.zeros((len(x), *((n - r) // s + 1 for n, r, s in windows), out))
    for position in itertools.product(*map(range, size)):
        axes = zip(position, dilation, stride, y.shape[1:-1], strict=True)
        view = x[:, *(slice(p * d, p * d + (m - 1) * s + 1, s) for p, d, s, m in axes)]
        for g in range(groups):
            features = slice(g * inside, (g + 1) * inside)
            outputs = slice(g * out // groups, (g + 1) * out // groups)
            y[..., outputs] += view[..., features] @ kernel[position][:, outputs]
    return y + params.get("bias", 0.0)


CASES: dict[str, tuple[tuple[int, ...], Any, dict[str, Any]]] = {
    # name: (shape of x, kernel_size, options), with 4 features in and 6 out
    "3x3": ((5, 7), 3, {}),
    "1x1": ((4, 3), 1, {}),
    "even kernel": ((5, 6), (2, 4), {}),
    "no bias": ((5, 4), 3, {"bias": False}),
    "stride, odd size": ((7, 5), 3, {"stride": 2}),
    "stride over the kernel": ((8, 7), 2, {"stride": 3}),
    "valid": ((7, 6), (3, 2), {"stride": (2, 1), "padding": "VALID"}),
    "one padding": ((5, 5), 3, {"stride": 2, "padding": 2}),
    "padding by axis": ((5, 6), 3, {"padding": (0, 2)}),
    "padding by side": ((5, 6), 2, {"padding": ((0, 3), (2, 1)), "stride": 2}),
    "dilation": ((9, 8), 3, {"dilation": (2, 3)}),
    "dilation, stride": ((9, 10), (3, 2), {"dilation": 2, "stride": (3, 2)}),
    "groups": ((5, 4), 3, {"groups": 2}),
    "sequence": ((9,), (4,), {"stride": 2}),
    "sequence, dilation": ((9,), [3], {"dilation": 3, "padding": 1}),
    "volume": ((3, 5, 4), (3, 2, 3), {"stride": (1, 2, 2)}),
    "volume, groups": ((3, 4, 3), (2, 2, 2), {"groups": 2, "padding": "VALID"}),
}


def reference(x, params, kernel_size, options):
    axes = 2 if isinstance(kernel_size, int) else len(kernel_size)
    every = lambda v: (v,) * axes if isinstance(v, int) else tuple(v)
    stride, dilation = every(options.get("stride", 1)), every(options.get("dilation", 1))
    padding, groups = options.get("padding", "SAME"), options.get("groups", 1)
    return np_conv(params, x, stride, padding, dilation, groups)


@pytest.mark.parametrize("case", CASES)
def test_parity(case):
    size, kernel_size, options = CASES[case]
    layer = nn.conv(4, 6, kernel_size, **options)
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(2, *size, 4)
    close(layer(params, x), reference(f64(x), f64(params), kernel_size, options))


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise(multiplier):
    layer = nn.conv(4, 4 * multiplier, 3, groups=4)
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(2, 5, 4, 4)
    y = layer(params, x)
    assert params["kernel"].shape == (3, 3, 1, 4 * multiplier)
    for feature in range(4):  # each is a convolution of its own
        own = slice(feature * multiplier, (feature + 1) * multiplier)
        p = {"kernel": params["kernel"][..., own], "bias": params["bias"][own]}
        close(y[..., own], reference(f64(x)[..., [feature]], f64(p), 3, {}))


@pytest.mark.parametrize("batch", [(), (0,), (2, 0), (2, 3)])
def test_any_number_of_batch_axes(batch):
    layer = nn.conv(2, 3, 3, stride=2)
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(*batch, 5, 4, 2)
    y = reference(f64(x).reshape(-1, 5, 4, 2), f64(params), 3, {"stride": 2})
    close(layer(params, x), y.reshape(*batch, 3, 2, 3))


@pytest.mark.parametrize(
    "size, kernel_size, options",
    [((4, 3), 2, {"stride": 2}), ((5,), (2,), {"groups": 2, "dilation": 2})],
    ids=["image", "sequence"],
)
def test_gradients(size, kernel_size, options):
    layer = nn.conv(2, 2, kernel_size, **options)
    check_gradients(layer, moved(layer.init(jax.random.key(0))[0]), numbers(1, *size, 2))


def test_bfloat16_is_that_of_the_rounded_numbers():
    layer = nn.conv(16, 3, 3)
    params, x = bf16((moved(layer.init(jax.random.key(0))[0]), numbers(2, 4, 4, 16)))
    y = layer(params, x)
    assert y.dtype == jnp.bfloat16
    # 144 products add up; in float32, or the sum would be rounded as often
    close(y, reference(f64(x), f64(params), 3, {}), **BFLOAT16)


def test_starts_with_unit_gain_counted_over_the_receptive_field():
    params, _ = nn.conv(64, 32, 3, groups=2).init(jax.random.key(0))
    assert not params["bias"].any()
    np.testing.assert_allclose(np.std(params["kernel"]), (9 * 32) ** -0.5, rtol=0.03)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.conv(4, 6, 3, groups=3), "got groups=3, expected a divisor of both in_fea"),
        (lambda: nn.conv(4, 6, 3, stride=(1, 1, 1)), r"got stride=\(1, 1, 1\), expected 2 entries"),
        (lambda: nn.conv(4, 6, 0), "got kernel_size=0, expected at least 1"),
        (lambda: nn.conv(4, 6, (1,) * 4), r"kernel_size=\(1, 1, 1, 1\), expected one to three"),
        (lambda: nn.conv(4, 6, 3, dilation=1.5), "got dilation=1.5, expected an integer"),  # type: ignore
    ],
)
def test_messages(make, message):
    with pytest.raises((ValueError, TypeError), match=rf"conv\(4, 6, .*\): .*{message}"):
        make()


def test_an_image_smaller_than_the_kernel_is_refused():
    layer = nn.conv(1, 1, 3, padding="VALID", dilation=2)
    message = r"got x of spatial shape \(4, 9\), expected room for a window of \(5, 5\)"
    with pytest.raises(ValueError, match=message):
        layer(layer.init(jax.random.key(0))[0], numbers(4, 9, 1))


def test_mixed_dtypes_are_refused():
    layer = nn.conv(1, 2, 3)
    params, _ = layer.init(jax.random.key(0))
    with pytest.raises(TypeError, match=r"got x of dtype bfloat16 and params of float32, expected"):
        layer(params, jnp.ones((4, 4, 1), jnp.bfloat16))
