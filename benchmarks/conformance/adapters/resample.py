"""torch.nn's padding layers, shuffles and upsampling."""

from typing import Any

import torch

import nnjax as nn
from benchmarks.conformance.adapters.convolution import channels_first, channels_last
from benchmarks.conformance.torch_samples import samples
from benchmarks.conformance.twin import Twin, adapter

PADS = {
    "ZeroPad": "constant",
    "ConstantPad": "constant",
    "ReflectionPad": "reflect",
    "ReplicationPad": "replicate",
    "CircularPad": "circular",
}


@adapter(*(f"{kind}{axes}d" for kind in PADS for axes in (1, 2, 3)))
def pad(m):
    kind, axes = type(m).__name__[:-2], int(type(m).__name__[-2])
    sides = list(zip(m.padding[::2], m.padding[1::2], strict=True))[
        ::-1
    ]  # PyTorch: last axis first
    value = getattr(m, "value", 0.0)
    layer = nn.pad([(max(a, 0), max(b, 0)) for a, b in sides], mode=PADS[kind], value=value)  # type: ignore
    if min(m.padding) < 0:  # PyTorch crops by a negative padding
        layer = nn.serial(nn.crop([(max(-a, 0), max(-b, 0)) for a, b in sides]), layer)
    return Twin(layer, enter=channels_last(axes), leave=channels_first(axes))


@adapter("PixelShuffle", "PixelUnshuffle")
def pixel_shuffle(m):
    if isinstance(m, torch.nn.PixelShuffle):
        layer = nn.pixel_shuffle(m.upscale_factor)
    else:
        layer = nn.pixel_unshuffle(m.downscale_factor)
    return Twin(layer, enter=channels_last(2), leave=channels_first(2))


@adapter("ChannelShuffle")
def channel_shuffle(m):
    enter, leave = channels_last(2), channels_first(2)
    return Twin(nn.channel_shuffle(m.groups), enter=enter, leave=leave)


# mode -> our method, and how many axes the mode is for
MODES = {
    "linear": ("linear", 1),
    "bilinear": ("linear", 2),
    "trilinear": ("linear", 3),
    "bicubic": ("cubic", 2),
}


@adapter("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d")
def upsample(m):
    given = m.size if m.size is not None else m.scale_factor
    count = len(given) if isinstance(given, tuple) else 2
    method, axes = MODES.get(m.mode, (m.mode, count))
    given = given if isinstance(given, tuple) else (given,) * axes
    settings: Any = {"method": method, "align_corners": bool(m.align_corners)}
    if m.size is not None:
        layer = nn.resize(given, **settings)
    elif m.recompute_scale_factor:  # sizes from scales, then scales from sizes
        layer = lambda x: nn.resize(
            [int(n * s) for n, s in zip(x.shape[-1 - axes : -1], given, strict=True)], **settings
        )({}, x)
    else:
        layer = nn.upsample(given, **settings)
    return Twin(layer, enter=channels_last(axes), leave=channels_first(axes))


@samples("PixelShuffle")
def _():
    return [(torch.nn.PixelShuffle(r), (torch.randn(2, 18, 3, 4),)) for r in (1, 3)] + [
        (torch.nn.PixelShuffle(2), (torch.randn(8, 3, 4),))
    ]


@samples("PixelUnshuffle")
def _():
    return [(torch.nn.PixelUnshuffle(r), (torch.randn(2, 2, 6, 3),)) for r in (1, 3)] + [
        (torch.nn.PixelUnshuffle(2), (torch.randn(3, 6, 4),))
    ]


@samples("ChannelShuffle")
def _():
    return [(torch.nn.ChannelShuffle(g), (torch.randn(2, 12, 3, 4),)) for g in (1, 3, 4)]


@samples("Upsample")
def _():
    found = []
    for mode, axes in [("linear", 1), ("bilinear", 2), ("trilinear", 3), ("bicubic", 2)]:
        x = torch.randn(2, 3, 5, 4, 3)[(..., *[0] * (3 - axes))]
        size, scale = (7, 2, 5)[:axes], (2.0, 1.7, 0.6)[:axes]
        for corners in (False, True):
            found.append((torch.nn.Upsample(size, mode=mode, align_corners=corners), (x,)))
            found.append(
                (torch.nn.Upsample(scale_factor=scale, mode=mode, align_corners=corners), (x,))
            )
    for mode in ("nearest", "nearest-exact"):
        for axes in (1, 2, 3):
            x = torch.randn(2, 3, 5, 4, 3)[(..., *[0] * (3 - axes))]
            for scale in ((2.0, 3.0, 1.0), (1.7, 0.6, 2.5)):
                found.append((torch.nn.Upsample(scale_factor=scale[:axes], mode=mode), (x,)))
            found.append((torch.nn.Upsample((7, 2, 5)[:axes], mode=mode), (x,)))
    x = torch.randn(2, 3, 5, 4)
    settings = {"scale_factor": (1.7, 0.6), "recompute_scale_factor": True}
    return [*found, (torch.nn.Upsample(mode="bilinear", **settings), (x,))]


@samples("UpsamplingNearest2d")
def _():
    x = torch.randn(2, 3, 5, 4)
    makers = [{"scale_factor": 2}, {"size": (7, 3)}, {"scale_factor": (1.5, 3.0)}]
    return [(torch.nn.UpsamplingNearest2d(**m), (x,)) for m in makers]


@samples("UpsamplingBilinear2d")
def _():
    x = torch.randn(2, 3, 5, 4)
    makers = [{"scale_factor": 2}, {"size": (7, 3)}, {"size": (1, 9)}]
    return [(torch.nn.UpsamplingBilinear2d(**m), (x,)) for m in makers]
