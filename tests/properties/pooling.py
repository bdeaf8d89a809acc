"""Random pools: windows, bins, all positions at once; and pools undone."""

import math

import hypothesis
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import nnjax as nn
from tests.properties.convolution import reaches, sides, spread, starts, windows
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

POOLS = {
    # a pool: what it takes beside window, stride, padding and ceil_mode
    "max_pool": ("dilation", "return_indices"),
    "min_pool": ("dilation",),
    "avg_pool": ("count_include_pad", "divisor"),
    "sum_pool": (),
    "lp_pool": ("p",),
}


@st.composite
def pool(draw) -> Case:
    kind, count = draw(st.sampled_from(list(POOLS))), draw(axes)
    settings = draw(windows(count, "window"))
    further = {
        "dilation": settings.pop("dilation"),
        "return_indices": draw(flags),
        "count_include_pad": draw(flags),
        "divisor": draw(st.none() | st.sampled_from([1.5, 3.0])),
        "p": draw(st.sampled_from([1.0, 2.0, 3.5])),
    }
    settings |= {name: further[name] for name in POOLS[kind]}
    if draw(flags):
        del settings["stride"]
    window = spread(settings["window"], count)
    stride = spread(settings.get("stride", window), count)
    dilation = spread(settings.get("dilation", 1), count)
    reach = reaches(window, dilation)
    # a window of nothing but padding is refused: half of it may be padding, as in PyTorch
    padding = tuple(draw(st.sampled_from([w // 2, 0])) for w in window)
    settings["padding"] = padding
    settings["ceil_mode"] = ceil = draw(st.sampled_from([True, False]))
    size, outputs = [], []
    for w, r, s, d, (before, after) in zip(
        window, reach, stride, dilation, sides(padding, count), strict=True
    ):
        n = max(1, r - before - after) + draw(st.integers(0, 4))
        places = starts(n, r, s, before, after)
        rest = n + after - (places[-1] + r)  # entries that no window has seen
        if ceil and rest and places[-1] + s < n:
            places.append(places[-1] + s)
        filled = [any(0 <= p + k * d < n for k in range(w)) for p in places]
        hypothesis.assume(all(filled))
        size.append(n)
        outputs.append(len(places))
    batch, channels = draw(batches), draw(sizes)
    x = numbers(*batch, *size, channels)
    y = spec(*batch, *outputs, channels)
    if settings.get("return_indices"):
        y = (y, spec(*y.shape, dtype=jnp.int32))
    layer = getattr(nn, kind)(**settings)
    return Case(layer, (x,), y, settings=settings | {"kind": kind})


@st.composite
def unpool(draw) -> Case:
    """Of what pools make of an image; each channel's indices are distinct where there is room."""
    count = draw(axes)
    settings = draw(windows(count, "window"))
    del settings["dilation"]
    window, stride = (spread(settings[key], count) for key in ("window", "stride"))
    settings["padding"] = padding = tuple(draw(st.sampled_from([w // 2, 0])) for w in window)
    pooled, least, size = [], [], []
    for w, s, (before, after) in zip(window, stride, sides(padding, count), strict=True):
        n = max(1, w - before - after) + draw(st.integers(0, 4))
        places = starts(n, w, s, before, after)
        pooled.append(len(places))
        least.append(places[-1] + w - after)
        size.append(n)
    hypothesis.assume(min(least) > 0)
    known = draw(flags)
    settings["output_size"] = tuple(size) if known else None
    shape = (*draw(batches), *pooled, draw(sizes))
    made = (*shape[: -1 - count], *(size if known else least), shape[-1])
    room, positions = math.prod(made[-1 - count : -1]), math.prod(pooled)
    order = np.tile(np.arange(max(room, positions)) % room, (*shape[: -1 - count], shape[-1], 1))
    order = np.random.default_rng(1).permuted(order, axis=-1)[..., :positions]
    indices = np.moveaxis(order, -1, -2).reshape(shape).astype(np.int32)
    about = settings | {"distinct": positions <= room}
    layer = nn.max_unpool(**settings)
    return Case(layer, (numbers(*shape), indices), spec(*made), settings=about)


@st.composite
def adaptive(draw) -> Case:
    kind, count = draw(st.sampled_from(["adaptive_avg_pool", "adaptive_max_pool"])), draw(axes)
    size = draw(per_axis(count, sizes))
    target = draw(per_axis(count, st.none() | st.integers(1, 6)))
    batch, channels = draw(batches), draw(sizes)
    made = tuple(n if m is None else m for n, m in zip(size, target, strict=True))
    layer = getattr(nn, kind)(target)
    x = numbers(*batch, *size, channels)
    settings = {"kind": kind, "output_size": target}
    return Case(layer, (x,), spec(*batch, *made, channels), settings=settings)


@st.composite
def whole(draw) -> Case:
    """Pools of all positions: one value a channel."""
    kind, count = draw(st.sampled_from(["global_avg_pool", "global_max_pool", "gem_pool"])), 2
    count, batch, channels = draw(axes), draw(batches), draw(sizes)
    x = numbers(*batch, *draw(per_axis(count, sizes)), channels)
    return Case(getattr(nn, kind)(count), (x,), spec(*batch, channels))


@st.composite
def blur(draw) -> Case:
    count = draw(axes)
    window, stride = draw(per_axis(count, sizes)), draw(per_axis(count, st.integers(1, 3)))
    size = tuple(w // 2 + draw(sizes) for w in window)
    made = [len(range(0, n, s)) for n, s in zip(size, stride, strict=True)]
    batch, channels = draw(batches), draw(sizes)
    layer = nn.blur_pool(window, stride=stride)
    return Case(layer, (numbers(*batch, *size, channels),), spec(*batch, *made, channels))


@st.composite
def fractional(draw) -> Case:
    count = draw(axes)
    window, made = draw(per_axis(count, st.integers(1, 3))), draw(per_axis(count, sizes))
    size = tuple(w + m - 1 + draw(sizes) for w, m in zip(window, made, strict=True))
    batch, channels, train = draw(batches), draw(sizes), draw(flags)
    layer = nn.fractional_max_pool(window, output_size=made)
    x = numbers(*batch, *size, channels)
    return Case(layer, (x,), spec(*batch, *made, channels), train=train)


@st.composite
def mistakes(draw):
    count, wrong, extra = draw(axes), draw(st.integers(-2, 0)), draw(st.integers(1, 3))
    make = draw(st.sampled_from([nn.max_pool, nn.min_pool, nn.avg_pool, nn.sum_pool]))
    name, size, x = make.__name__, (4,) * count, numbers(2, *(4,) * count, 3)
    window = draw(per_axis(count, st.integers(1, 3)))
    candidates = [
        mistake(make, f"{name}.*: got window=", window=wrong),
        mistake(make, f"{name}.*: got window=", window=(1,) * (3 + extra)),
        mistake(make, f"{name}.*: got stride=", window=window, stride=(1,) * (count + extra)),
        mistake(make, f"{name}.*: got stride=", window=window, stride=wrong),
        mistake(make, f"{name}.*: got padding=", x, window=window, padding="full"),
        mistake(make, f"{name}.*: got padding=", x, window=window, padding=-extra),
        mistake(make, f"{name}.*: got padding=.*less than the window", x, window=window, padding=3),
        mistake(make, f"{name}.*: got x of spatial shape .*", x, window=(4 + extra,) * count),
        mistake(make, f"{name}.*: got x of shape", numbers(*size), window=(1,) * (count))
        if count == 1
        else mistake(make, f"{name}.*: got x of shape", numbers(4), window=window),
        mistake(make, f"{name}.*: got x of dtype", x.astype(int), window=window),
        mistake(nn.lp_pool, "lp_pool.*: got p=", p=float(wrong), window=window),
        mistake(nn.avg_pool, "avg_pool.*: got divisor=0", window=window, divisor=0),
        mistake(nn.adaptive_avg_pool, "adaptive.*: got output_size=", output_size=wrong),
        mistake(nn.adaptive_max_pool, "adaptive.*: got 4 sizes", output_size=(1,) * 4),
        mistake(nn.global_avg_pool, "global_avg.*: got axes=", axes=wrong),
        mistake(nn.global_avg_pool, "global_avg.*: got x of shape", numbers(3), axes=extra),
        mistake(nn.gem_pool, "gem_pool.*: got power=", axes=extra, power=float(wrong)),
        mistake(nn.blur_pool, "blur_pool.*: got x of spatial", x, window=(8,) * count),
        mistake(nn.fractional_max_pool, "fractional.*: got output_size=None", window=window),
        mistake(
            nn.fractional_max_pool, "fractional.*: got x of spatial", x, window=5, output_size=3
        )
        if count == 2
        else mistake(
            nn.fractional_max_pool, "fractional.*: got output_ratio", window=2, output_ratio=1.5
        ),
    ]
    return candidates


@st.composite
def of_unpool(draw):
    count, extra, wrong = draw(axes), draw(st.integers(1, 3)), draw(st.integers(-2, 0))
    window, y = (1 + extra,) * count, numbers(2, *(4,) * count, 3)
    places, one = np.zeros(y.shape, np.int32), numbers(2, *(1,) * count, 3)
    undo = lambda message, *inputs, **settings: mistake(
        nn.max_unpool, f"max_unpool.*: got {message}", *inputs, window=window, **settings
    )
    far = (4 * (1 + extra) + window[0],) * count
    return [
        mistake(nn.max_unpool, "max_unpool.*: got window=", window=wrong),
        undo("stride=", stride=(1,) * (count + extra)),
        undo("output_size=", output_size=(4,) * (count + extra)),
        undo("output_size=", output_size=(wrong,) * count),
        undo("output_size=.* less than a stride", y, places, output_size=far),
        undo("padding='SAME'", y, places, padding="SAME"),
        undo("padding=", y, places, padding=-extra),
        undo("x of spatial shape", one, places[(slice(None), *[slice(1)] * count)], padding=9),
        undo("x of shape", numbers(*(4,) * count), places),
        undo("x of dtype", y.astype(int), places),
        undo("indices of shape", y, places[:, 1:]),
        undo("indices of dtype", y, y),
    ]


FAMILIES = {
    "pool": Family(pool(), mistakes()),
    "unpool": Family(unpool(), of_unpool()),
    "pool_to_size": Family(adaptive() | whole() | blur() | fractional(), mistakes()),
}
