"""Random convolutions: plain, depthwise, separable, masked, transposed."""

from typing import Any

from hypothesis import strategies as st

import nnjax as nn
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

MODES = ("constant", "reflect", "replicate", "circular")


def starts(size: int, reach: int, stride: int, before: int, after: int) -> list[int]:
    """Where windows begin that lie within the padded axis."""
    return list(range(-before, size + after - reach + 1, stride))


def sides(padding: Any, count: int) -> list[tuple[int, int]]:
    """(before, after) an axis, of a number, or of a number or a pair an axis."""
    entries = (padding,) * count if isinstance(padding, int) else padding
    return [(e, e) if isinstance(e, int) else e for e in entries]


@st.composite
def paddings(draw, count: int, most: int = 3) -> Any:
    """A word, a number, or a number or a pair an axis."""
    amount = st.integers(0, most)
    entry = amount | st.tuples(amount, amount)
    words = st.sampled_from(["SAME", "VALID", "CAUSAL"])
    return draw(words | amount | per_axis(count, entry))


@st.composite
def windows(draw, count: int, name: str = "kernel_size") -> dict[str, Any]:
    """Kernel, stride and dilation; a number stands for all axes, where there are two of them."""
    few = st.integers(1, 3)
    settings: dict[str, Any] = {}
    for argument, entries in ((name, few), ("stride", few), ("dilation", st.integers(1, 2))):
        one = draw(entries)
        several = draw(per_axis(count, entries))
        simple = draw(flags) and (count == 2 or argument != name)
        settings[argument] = one if simple else several
    return settings


def spread(value: Any, count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)


def reaches(kernel: tuple[int, ...], dilation: tuple[int, ...]) -> list[int]:
    return [len(range(0, k * d, d)) * d - d + 1 for k, d in zip(kernel, dilation, strict=True)]


@st.composite
def images(draw, settings: dict[str, Any], count: int, name: str = "kernel_size"):
    """A spatial shape with room for the windows, and the shape of what they make of it."""
    kernel, stride, dilation = (
        spread(settings.get(key, 1), count) for key in (name, "stride", "dilation")
    )
    padding = settings.get("padding", "SAME")
    size, outputs = [], []
    reach = reaches(kernel, dilation)
    for axis, (r, s) in enumerate(zip(reach, stride, strict=True)):
        more = draw(st.integers(0, 4))
        if padding in ("SAME", "CAUSAL"):
            size.append(1 + more)
            outputs.append(len(range(0, size[-1], s)))
            continue
        before, after = (0, 0) if padding == "VALID" else sides(padding, count)[axis]
        mode = settings.get("padding_mode", "constant")
        least = {"reflect": max(before, after) + 1, "circular": max(before, after)}.get(mode, 1)
        size.append(max(1, least, r - before - after) + more)
        outputs.append(len(starts(size[-1], r, s, before, after)))
    if padding in ("SAME", "CAUSAL") and settings.get("padding_mode", "constant") != "constant":
        size = [n + r for n, r in zip(size, reach, strict=True)]  # room to be mirrored
        outputs = [len(range(0, n, s)) for n, s in zip(size, stride, strict=True)]
    return tuple(size), tuple(outputs)


@st.composite
def conv(draw) -> Case:
    count, groups = draw(axes), draw(st.integers(1, 3))
    settings = draw(windows(count)) | {
        "in_features": groups * draw(st.integers(1, 2)),
        "out_features": groups * draw(st.integers(1, 2)),
        "groups": groups,
        "padding": draw(paddings(count)),
        "padding_mode": draw(st.sampled_from(MODES)),
        "bias": draw(flags),
    }
    batch = draw(batches)
    size, outputs = draw(images(settings, count))
    x = numbers(*batch, *size, settings["in_features"])
    outputs = spec(*batch, *outputs, settings["out_features"])
    return Case(nn.conv(**settings), (x,), outputs, settings=settings)


@st.composite
def depthwise(draw) -> Case:
    count = draw(axes)
    settings = draw(windows(count)) | {
        "multiplier": draw(st.integers(1, 2)),
        "padding": draw(paddings(count)),
        "bias": draw(flags),
    }
    features, batch = draw(st.integers(1, 3)), draw(batches)
    size, outputs = draw(images(settings, count))
    if draw(flags):
        settings |= {"in_features": features, "out_features": draw(sizes)}
        layer, made = nn.separable_conv(**settings), settings["out_features"]
    else:
        settings |= {"features": features}
        layer, made = nn.depthwise_conv(**settings), features * settings["multiplier"]
    x = numbers(*batch, *size, features)
    return Case(layer, (x,), spec(*batch, *outputs, made), settings=settings)


@st.composite
def masked(draw) -> Case:
    colors = draw(st.integers(1, 2))
    ins, outs = colors * draw(st.integers(1, 2)), colors * draw(st.integers(1, 2))
    count = draw(axes)
    kernel = draw(per_axis(count, st.sampled_from([1, 3])))
    layer = nn.masked_conv(ins, outs, kernel, centre=draw(flags), colors=colors)
    batch, size = draw(batches), draw(per_axis(count, sizes))
    return Case(layer, (numbers(*batch, *size, ins),), spec(*batch, *size, outs))


@st.composite
def conv_transpose(draw) -> Case:
    count, groups = draw(axes), draw(st.integers(1, 3))
    settings = draw(windows(count)) | {
        "in_features": groups * draw(st.integers(1, 2)),
        "out_features": groups * draw(st.integers(1, 2)),
        "groups": groups,
        "padding": draw(paddings(count).filter(lambda p: p != "CAUSAL")),
        "bias": draw(flags),
    }
    kernel, stride, dilation = (
        spread(settings[key], count) for key in ("kernel_size", "stride", "dilation")
    )
    room = zip(stride, dilation, strict=True)
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in room)
    settings["output_padding"] = extra
    size, outputs, padding = [], [], settings["padding"]
    for axis, (r, s, e) in enumerate(zip(reaches(kernel, dilation), stride, extra, strict=True)):
        n = draw(sizes)
        if padding == "SAME":
            made = s * n + e
        elif padding == "VALID":
            made = s * n + max(r - s, 0) + e
        else:
            cut = sum(sides(padding, count)[axis])
            while s * (n - 1) + r - cut + e < 1:
                n += 1
            made = s * (n - 1) + r - cut + e
        size.append(n)
        outputs.append(made)
    batch = draw(batches)
    x = numbers(*batch, *size, settings["in_features"])
    outputs = spec(*batch, *outputs, settings["out_features"])
    return Case(nn.conv_transpose(**settings), (x,), outputs, settings=settings)


@st.composite
def mistakes(draw):
    make = draw(st.sampled_from([nn.conv, nn.conv_transpose]))
    name, count = make.__name__, draw(axes)
    ins, outs, extra = draw(sizes), draw(sizes), draw(st.integers(1, 3))
    kernel = draw(per_axis(count, st.integers(1, 3)))
    plain = {"in_features": ins, "out_features": outs, "kernel_size": kernel}
    size = (6,) * count
    wrong = draw(st.integers(-2, 0))
    x = numbers(2, *size, ins)
    candidates = [
        mistake(make, f"{name}.*: got stride=", **plain, stride=(1,) * (count + extra)),
        mistake(make, f"{name}.*: got stride=", **plain, stride=wrong),
        mistake(make, f"{name}.*: got dilation=", **plain, dilation=wrong),
        mistake(make, f"{name}.*: got groups=", **plain, groups=ins + outs + extra),
        mistake(make, f"{name}.*: got groups=", **plain, groups=wrong),
        *(  # groups that divide one of both
            mistake(
                make,
                f"{name}.*: got groups=",
                in_features=one,
                out_features=other,
                kernel_size=kernel,
                groups=1 + extra,
            )
            for one, other in ((1 + extra, 2 + extra), (2 + extra, 1 + extra))
        ),
        mistake(make, f"{name}.*: got kernel_size=", **plain | {"kernel_size": (1,) * 4}),
        mistake(make, f"{name}.*: got kernel_size=", **plain | {"kernel_size": ()}),
        mistake(make, f"{name}.*: got kernel_size=", **plain | {"kernel_size": wrong}),
        mistake(make, f"{name}.*: got padding=", x, **plain, padding=-extra),
        mistake(make, f"{name}.*: got padding=", x, **plain, padding="same"),
        mistake(make, f"{name}.*: got padding=", x, **plain, padding=(1,) * (count + extra)),
        mistake(make, f"{name}.*: got x of shape .*, expected", numbers(*size), **plain)
        if count > 1 or ins != 6
        else mistake(make, f"{name}.*: got x of shape", numbers(6), **plain),
        mistake(make, f"{name}.*: got x of shape", numbers(2, *size, ins + extra), **plain),
        mistake(
            nn.conv,
            "conv.*: got x of spatial shape .*, expected room",
            x,
            **plain | {"kernel_size": (6 + extra,) * count},
            padding="VALID",
        ),
        mistake(nn.conv, "conv.*: got padding_mode=", **plain, padding_mode="mirror"),
        mistake(
            nn.conv,
            "conv.*: got x of spatial shape .*, expected room for padding",
            x,
            **plain,
            padding=6 + extra,
            padding_mode=draw(st.sampled_from(["reflect", "circular"])),
        ),
        mistake(
            nn.conv_transpose, "conv_transpose.*: got output_padding=", **plain, output_padding=1
        ),
        mistake(nn.conv_transpose, "conv_transpose.*: got padding=", **plain, padding="CAUSAL"),
        mistake(
            nn.conv_transpose,
            "conv_transpose.*: got x of spatial shape .*, expected more",
            x,
            **plain,
            padding=6 + extra,
        ),
    ]
    return candidates


FAMILIES = {
    "conv": Family(conv() | depthwise() | masked(), mistakes()),
    "conv_transpose": Family(conv_transpose(), mistakes()),
}
