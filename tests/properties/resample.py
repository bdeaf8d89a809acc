"""Random resampling: sizes, scales, shuffles, windows as features, grids, borders."""

import math

import numpy as np
from hypothesis import strategies as st

import nnjax as nn
from tests.properties.convolution import MODES, images as room, paddings, windows
from tests.properties.family import (
    Case,
    Family,
    axes,
    batches,
    flags,
    mistake,
    numbers,
    per_axis,
    sizes,
    spec,
)

few = st.integers(1, 3)


@st.composite
def methods(draw) -> dict:
    method = draw(st.sampled_from(["linear", "cubic", "nearest", "nearest-exact"]))
    smooth = not method.startswith("nearest")
    choice = draw(st.sampled_from(["none", "align", "antialias"])) if smooth else "none"
    return {
        "method": method,
        "align_corners": choice == "align",
        "antialias": choice == "antialias",
    }


@st.composite
def images(draw, count: int, channels: int | None = None) -> np.ndarray:
    channels = draw(sizes) if channels is None else channels
    return numbers(*draw(batches), *draw(per_axis(count, sizes)), channels)


def lead(x: np.ndarray, count: int) -> tuple[int, ...]:
    return x.shape[: -1 - count]


@st.composite
def resize(draw) -> Case:
    count, settings = draw(axes), draw(methods())
    x, size = draw(images(count)), draw(per_axis(count, st.integers(1, 7)))
    outputs = spec(*lead(x, count), *size, x.shape[-1])
    settings["size"] = size
    return Case(nn.resize(**settings), (x,), outputs, settings=settings | {"kind": "resize"})


@st.composite
def upsample(draw) -> Case:
    count, settings = draw(axes), draw(methods())
    scale = draw(per_axis(count, st.sampled_from([1.0, 1.5, 2.0, 2.5, 3.0])))
    x = draw(images(count))
    made = [int(n * s) for n, s in zip(x.shape[-1 - count : -1], scale, strict=True)]
    outputs = spec(*lead(x, count), *made, x.shape[-1])
    settings["scale"] = scale
    return Case(nn.upsample(**settings), (x,), outputs, settings=settings | {"kind": "upsample"})


@st.composite
def shuffle(draw) -> Case:
    count = draw(axes)
    factor, channels = draw(per_axis(count, few)), draw(few)
    size, batch = draw(per_axis(count, few)), draw(batches)
    small = (*batch, *size, channels * math.prod(factor))
    large = (*batch, *(n * f for n, f in zip(size, factor, strict=True)), channels)
    if draw(flags):
        layer = nn.pixel_shuffle(factor)
        settings = {"factor": factor, "kind": "pixel_shuffle"}
        return Case(layer, (numbers(*small),), spec(*large), settings=settings)
    settings = {"factor": factor, "kind": "pixel_unshuffle"}
    layer = nn.pixel_unshuffle(factor)
    return Case(layer, (numbers(*large),), spec(*small), settings=settings)


@st.composite
def channel_shuffle(draw) -> Case:
    groups = draw(few)
    shape = (*draw(batches), groups * draw(few))
    settings = {"groups": groups, "kind": "channel_shuffle"}
    return Case(nn.channel_shuffle(groups), (numbers(*shape),), spec(*shape), settings=settings)


@st.composite
def borders(draw) -> Case:
    """pad and crop."""
    count, batch, channels = draw(axes), draw(batches), draw(sizes)
    amount = draw(per_axis(count, st.integers(0, 3) | st.tuples(few, few)))
    pairs = [(a, a) if isinstance(a, int) else a for a in amount]
    mode = draw(st.sampled_from(MODES))
    least = {"reflect": 1}.get(mode, 0)
    size = tuple(max(1, max(pair) + least) + draw(st.integers(0, 3)) for pair in pairs)
    wide = tuple(n + sum(pair) for n, pair in zip(size, pairs, strict=True))
    small, large = ((*batch, *inner, channels) for inner in (size, wide))
    if draw(flags):
        return Case(nn.crop(amount), (numbers(*large),), spec(*small))
    settings = {"amount": amount, "mode": mode, "value": draw(st.sampled_from([0.0, -1.5]))}
    layer = nn.pad(**settings)
    return Case(layer, (numbers(*small),), spec(*large), settings=settings | {"kind": "pad"})


@st.composite
def folds(draw) -> Case:
    """unfold and fold."""
    count = draw(axes)
    settings = draw(windows(count, "window")) | {"padding": draw(paddings(count))}
    size, places = draw(room(settings, count, "window"))
    window, channels, batch = settings["window"], draw(few), draw(batches)
    entries = window**count if isinstance(window, int) else math.prod(window)
    image, patches = (*batch, *size, channels), (*batch, *places, entries * channels)
    if draw(flags):
        layer = nn.unfold(**settings)
        settings |= {"kind": "unfold"}
        return Case(layer, (numbers(*image),), spec(*patches), settings=settings)
    settings |= {"size": size, "kind": "fold"}
    layer = nn.fold(**{k: v for k, v in settings.items() if k != "kind"})
    return Case(layer, (numbers(*patches),), spec(*image), settings=settings)


@st.composite
def grid_sample(draw) -> Case:
    count = draw(axes)
    settings = {
        "method": draw(st.sampled_from(["nearest", "linear", "cubic"])),
        "padding": draw(st.sampled_from(["zeros", "border", "reflection"])),
        "align_corners": draw(flags),
    }
    x = draw(images(count))
    points = draw(per_axis(count, few))
    grid = 0.7 * numbers(*lead(x, count), *points, count, seed=1)
    outputs = spec(*lead(x, count), *points, x.shape[-1])
    layer = nn.grid_sample(**settings)
    return Case(layer, (x, grid), outputs, settings=settings | {"kind": "grid_sample"})


@st.composite
def affine_grid(draw) -> Case:
    count = draw(axes)
    settings = {"size": draw(per_axis(count, sizes)), "align_corners": draw(flags)}
    batch = draw(batches)
    theta = numbers(*batch, count, count + 1)
    outputs = spec(*batch, *settings["size"], count)
    layer = nn.affine_grid(**settings)
    return Case(layer, (theta,), outputs, settings=settings | {"kind": "affine_grid"})


@st.composite
def mistakes(draw):
    count, extra, wrong = draw(axes), draw(few), draw(st.integers(-2, 0))
    x, size = numbers(2, *(4,) * count, 5), (4,) * count
    flat, grid = numbers(*(4,) * count), numbers(3, *(2,) * count, count)
    both = {"align_corners": True, "antialias": True}
    return [
        mistake(nn.resize, "resize.*: got size=", size=wrong),
        mistake(nn.resize, "resize.*: got x of shape", numbers(4), size=size),
        mistake(nn.resize, "resize.*: got method=", size=size, method="area"),
        mistake(nn.resize, "resize.*: got method=", size=size, **both),
        mistake(nn.resize, "resize.*: got method=", size=2, method="nearest", align_corners=True),
        mistake(nn.resize, "resize.*: got x of spatial", x[:, :0], size=size),
        mistake(nn.upsample, "upsample.*: got scale=", scale=float(wrong)),
        mistake(nn.upsample, "upsample.*: got scale=", scale=(2.0,) * (3 + extra)),
        mistake(nn.upsample, "upsample.*: got x of spatial", x, scale=(0.1,) * count),
        mistake(nn.pixel_shuffle, "pixel_sh.*: got x with 5 channels", x, factor=(2,) * count),
        mistake(nn.pixel_shuffle, "pixel_sh.*: got factor=", factor=wrong),
        mistake(nn.pixel_unshuffle, "pixel_un.*: got x of spatial", x, factor=(3,) * count),
        mistake(nn.channel_shuffle, "channel_sh.*: got x with 5", x, groups=5 + extra),
        mistake(nn.channel_shuffle, "channel_sh.*: got groups=", groups=wrong),
        mistake(nn.pad, "pad.*: got amount=", amount=-extra),
        mistake(nn.pad, "pad.*: got amount=", amount=(1,) * (3 + extra)),
        mistake(nn.pad, "pad.*: got mode=", amount=1, mode="edge"),
        mistake(nn.pad, "pad.*: got x of spatial", x, amount=(4,) * count, mode="reflect"),
        mistake(nn.crop, "crop.*: got x of spatial", x, amount=(1 + extra,) * count),
        mistake(nn.unfold, "unfold.*: got x of spatial", x, window=(4 + extra,) * count),
        mistake(nn.unfold, "unfold.*: got window=", window=wrong),
        mistake(nn.fold, "fold.*: got x of places", x, size=size, window=(2,) * count),
        mistake(nn.fold, "fold.*: got window=", size=size, window=(2,) * (count % 3 + 1)),
        mistake(nn.grid_sample, "grid_sample.*: got method=", method="area"),
        mistake(nn.grid_sample, "grid_sample.*: got padding=", padding="circular"),
        mistake(nn.grid_sample, "grid_sample.*: got x of shape", x, grid),
        mistake(nn.affine_grid, "affine_grid.*: got theta of shape", flat, size=size),
        mistake(nn.affine_grid, "affine_grid.*: got size=", size=wrong),
    ]


FAMILIES = {
    "resample": Family(resize() | upsample() | grid_sample() | affine_grid(), mistakes()),
    "rearrange": Family(shuffle() | channel_shuffle() | borders() | folds(), mistakes()),
}
