"""torch.nn's convolutions, plain and transposed, and its windows as features."""

from typing import Any

import jax.numpy as jnp
import torch

import nnjax as nn
from benchmarks.conformance.torch_samples import samples
from benchmarks.conformance.twin import Twin, adapter

MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


def channels_last(axes):
    """PyTorch's [C, *spatial] at the end of the shape, with or without a batch, as ours."""
    return lambda x: jnp.moveaxis(x, -1 - axes, -1)


def channels_first(axes):
    return lambda y: jnp.moveaxis(y, -1, -1 - axes)


@adapter("Conv1d", "Conv2d", "Conv3d", "LazyConv1d", "LazyConv2d", "LazyConv3d")
def conv(m):
    axes, bias = len(m.kernel_size), m.bias is not None
    padding: Any = m.padding.upper() if isinstance(m.padding, str) else m.padding
    layer = nn.conv(
        m.in_channels,
        m.out_channels,
        m.kernel_size,
        stride=m.stride,
        padding=padding,
        padding_mode=MODES[m.padding_mode],  # type: ignore
        dilation=m.dilation,
        groups=m.groups,
        bias=bias,
    )

    def params(get):
        tree = {"kernel": jnp.moveaxis(get("weight"), (0, 1), (-1, -2))}
        return tree | {"bias": get("bias")} if bias else tree

    return Twin(layer, params, enter=channels_last(axes), leave=channels_first(axes))


@adapter(*(f"{lazy}ConvTranspose{n}d" for lazy in ("", "Lazy") for n in (1, 2, 3)))
def conv_transpose(m):
    axes, bias, groups = len(m.kernel_size), m.bias is not None, m.groups
    layer = nn.conv_transpose(
        m.in_channels,
        m.out_channels,
        m.kernel_size,
        stride=m.stride,
        padding=m.padding,
        output_padding=m.output_padding,
        dilation=m.dilation,
        groups=groups,
        bias=bias,
    )

    def params(get):  # [in, out / groups, *size], where in is [groups, in / groups]
        weight = get("weight")
        inside, size = m.in_channels // groups, weight.shape[2:]
        weight = jnp.moveaxis(weight.reshape(groups, inside, -1, *size), (1, 0, 2), (-3, -2, -1))
        tree = {"kernel": weight.reshape(*size, inside, m.out_channels)}
        return tree | {"bias": get("bias")} if bias else tree

    return Twin(layer, params, enter=channels_last(axes), leave=channels_first(axes))


def pair(entry):
    return tuple(entry) if isinstance(entry, (tuple, list)) else (entry, entry)


@adapter("Unfold")
def unfold(m):
    window = pair(m.kernel_size)
    layer = nn.unfold(
        window, stride=pair(m.stride), padding=pair(m.padding), dilation=pair(m.dilation)
    )

    def leave(y):  # [..., H, W, window * C] -> [..., C * window, H * W]
        y = y.reshape(
            *y.shape[:-3], -1, window[0] * window[1], y.shape[-1] // window[0] // window[1]
        )
        return jnp.swapaxes(jnp.moveaxis(y, -1, -2).reshape(*y.shape[:-2], -1), -1, -2)

    return Twin(layer, enter=channels_last(2), leave=leave)


@adapter("Fold")
def fold(m):
    size, window = pair(m.output_size), pair(m.kernel_size)
    stride, padding, dilation = pair(m.stride), pair(m.padding), pair(m.dilation)
    layer = nn.fold(size, window, stride=stride, padding=padding, dilation=dilation)
    sides = zip(size, window, stride, padding, dilation, strict=True)
    sites = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides]

    def enter(x):  # [..., C * window, H * W] -> [..., H, W, window * C]
        x = jnp.swapaxes(x, -1, -2).reshape(*x.shape[:-2], *sites, -1, window[0] * window[1])
        return jnp.swapaxes(x, -1, -2).reshape(*x.shape[:-1][:-1], -1)

    return Twin(layer, enter=enter, leave=channels_first(2))


@samples("Unfold")
def _():
    x, odd = torch.randn(2, 3, 6, 5), {"dilation": (2, 1), "padding": (1, 2), "stride": (2, 3)}
    return [
        (torch.nn.Unfold(2), (x,)),
        (torch.nn.Unfold((3, 2), **odd), (x,)),
        (torch.nn.Unfold(3, stride=2), (x[0],)),
    ]


@samples("Fold")
def _():
    odd = {"dilation": (2, 1), "padding": (1, 2), "stride": (2, 3)}
    return [
        (torch.nn.Fold((6, 5), 2), (torch.randn(2, 12, 20),)),
        (torch.nn.Fold((6, 5), (3, 2), **odd), (torch.randn(2, 18, 6),)),
        (torch.nn.Fold((6, 5), 3, stride=2), (torch.randn(9, 4),)),
    ]
