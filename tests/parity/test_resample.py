"""Convolutions, padding and resampling against PyTorch in settings that its samples lack."""

from typing import Any

import numpy as np
import pytest

import nnjax as nn

torch: Any = pytest.importorskip("torch", reason="needs `pip install torch==2.13.0`")

from tests.parity.test_torch import (  # noqa: E402  # it imports torch
    channels_first,
    check,
    conv_params,
    numbers,
    randomize,
)

pytestmark = pytest.mark.parity

SIZES = {1: (7,), 2: (6, 5), 3: (4, 5, 3)}
MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "options",
    [
        {"padding": 2, "stride": 2},
        {"padding": "same", "dilation": 2},
        {"padding": 1, "groups": 2, "bias": False},
    ],
    ids=["stride", "dilation", "groups"],
)
def test_conv(options, mode, axes):
    make = getattr(torch.nn, f"Conv{axes}d")
    theirs = randomize(make(4, 6, 3, padding_mode=mode, **options))
    padding = options["padding"]
    padding = padding.upper() if isinstance(padding, str) else padding
    settings: Any = {**options, "padding": padding, "padding_mode": MODES[mode]}
    ours = nn.conv(4, 6, (3,) * axes, **settings)
    x = numbers(2, *SIZES[axes], 4)
    check(ours, channels_first(theirs, axes), x, params=conv_params(theirs))


def transposed_params(module):
    """[in, out / groups, *size] as [*size, in / groups, out], with in = [groups, in / groups]."""

    def params(of):
        weight = of(module.weight)
        groups, (inside, outside, *size) = module.groups, weight.shape
        weight = weight.reshape(groups, inside // groups, outside, *size)
        weight = np.moveaxis(weight, (1, 0, 2), (-3, -2, -1))
        kernel = weight.reshape(*size, inside // groups, groups * outside)
        return {"kernel": kernel} | ({} if module.bias is None else {"bias": of(module.bias)})

    return params


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": 3, "kernel_size": 2, "output_padding": 2},
        {"stride": 2, "dilation": 3, "groups": 2, "padding": 2, "output_padding": 1},
        {"padding": 3, "kernel_size": 2, "bias": False, "dilation": 2},
    ],
    ids=["output padding", "gaps", "groups", "padding beyond the kernel"],
)
def test_conv_transpose(options, axes):
    options = {"kernel_size": 3, "padding": 0, **options}
    theirs = randomize(getattr(torch.nn, f"ConvTranspose{axes}d")(4, 6, **options))
    settings: Any = {**options, "kernel_size": (options["kernel_size"],) * axes}
    ours = nn.conv_transpose(4, 6, **settings)
    x = numbers(2, *((7,), (6, 7), (5, 6, 7))[axes - 1], 4)
    # in three axes the bias's gradient adds 13,000 cotangents, each side in its own order
    check(ours, channels_first(theirs, axes), x, params=transposed_params(theirs), atol=3e-6)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(3, 7), (8, 2)])
def test_antialias(mode, size):
    resized = lambda x: torch.nn.functional.interpolate(x, size=size, mode=mode, antialias=True)
    method: Any = {"bilinear": "linear", "bicubic": "cubic"}[mode]
    ours = nn.resize(size, method=method, antialias=True)
    check(ours, channels_first(resized, 2), numbers(2, 6, 5, 3))


TORCH = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}


def there(x, axes):
    return x.permute(0, axes + 1, *range(1, axes + 1))


def back(y, axes):
    return y.permute(0, *range(2, axes + 2), 1)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("method, axes", [*((m, 2) for m in TORCH), ("linear", 3), ("nearest", 3)])
def test_grid_sample(method, axes, padding, align):
    def theirs(x, grid):
        y = torch.nn.functional.grid_sample(
            there(x, axes), grid, mode=TORCH[method], padding_mode=padding, align_corners=align
        )
        return back(y, axes)

    grid = 1.5 * numbers(2, *(3, 4, 2)[:axes], axes, seed=1)
    ours = nn.grid_sample(method=method, padding=padding, align_corners=align)
    check(ours, theirs, numbers(2, *SIZES[axes], 3), grid, atol=3e-6)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(4, 5), (2, 4, 3)], ids=["image", "volume"])
def test_affine_grid(size, align):
    axes = len(size)
    theirs = lambda theta: torch.nn.functional.affine_grid(theta, (2, 3, *size), align)
    check(nn.affine_grid(size, align_corners=align), theirs, numbers(2, axes, axes + 1))


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_points_on_the_ends_themselves(padding):
    """The derivative there is a choice: past the border and at a mirror the point stops."""
    theta = np.broadcast_to(np.eye(2, 3, dtype=np.float32), (2, 2, 3)).copy()

    def theirs(x, theta):
        grid = torch.nn.functional.affine_grid(theta, (2, 3, 2, 2), True)
        y = torch.nn.functional.grid_sample(
            there(x, 2), grid, padding_mode=padding, align_corners=True
        )
        return back(y, 2)

    grid = nn.affine_grid((2, 2), align_corners=True)
    sample = nn.grid_sample(padding=padding, align_corners=True)
    ours = lambda params, x, theta: sample({}, x, grid({}, theta))
    check(ours, theirs, numbers(2, 5, 4, 3), theta, atol=3e-6)
