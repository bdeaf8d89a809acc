"""torch.nn's pools, and max unpooling."""

import functools
import math
from typing import Any

import jax.numpy as jnp
import torch

import nnjax as nn
from benchmarks.conformance.torch_samples import samples
from benchmarks.conformance.twin import NotOurs, Twin, adapter


def axes_of(m):
    """How many spatial axes: the digit in the name."""
    return int(type(m).__name__[-2])


def every(m, value) -> Any:
    """One entry an axis."""
    return (value,) * axes_of(m) if value is None or isinstance(value, (int, float)) else value


def twin(m, layer, **options):
    """Channels move to the end, and back in each output, whether there is a batch or not."""
    axis = -1 - axes_of(m)
    enter = lambda *xs: tuple(jnp.moveaxis(x, axis, -1) for x in xs)
    back = lambda y: jnp.moveaxis(y, -1, axis)
    leave = lambda y: tuple(map(back, y)) if isinstance(y, tuple) else back(y)
    return Twin(layer, enter=enter, leave=leave, **options)


def windows(m) -> tuple[Any, dict[str, Any]]:
    """PyTorch pads with a number or one an axis."""
    stride = m.kernel_size if m.stride is None else m.stride
    found = {"stride": every(m, stride), "padding": every(m, m.padding)}
    return every(m, m.kernel_size), found


@adapter("MaxPool1d", "MaxPool2d", "MaxPool3d")
def max_pool(m):
    window, options = windows(m)
    options |= {"dilation": every(m, m.dilation), "return_indices": m.return_indices}
    return twin(m, nn.max_pool(window, ceil_mode=m.ceil_mode, **options))


@adapter("AvgPool1d", "AvgPool2d", "AvgPool3d")
def avg_pool(m):
    window, options = windows(m)
    options |= {"ceil_mode": m.ceil_mode, "count_include_pad": m.count_include_pad}
    pool = nn.avg_pool(window, divisor=getattr(m, "divisor_override", None), **options)
    return twin(m, pool, bfloat16=axes_of(m) < 3)  # PyTorch has no 3d mean in bfloat16 on CPU


@adapter("LPPool1d", "LPPool2d", "LPPool3d")
def lp_pool(m):
    if m.norm_type % 2:
        raise NotOurs(
            "p that is not even: PyTorch sums x^p with its sign and yields NaN for negative x, "
            "ours is the norm, of |x|^p"
        )
    if m.ceil_mode:
        raise NotOurs("ceil_mode: PyTorch scales a last partial window up to a full one's size")
    stride = m.kernel_size if m.stride is None else m.stride
    pool = nn.lp_pool(m.norm_type, every(m, m.kernel_size), stride=every(m, stride))
    return twin(m, pool, bfloat16=axes_of(m) < 3)  # as avg_pool, which PyTorch makes it of


@adapter("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d")
def adaptive_avg_pool(m):
    return twin(m, nn.adaptive_avg_pool(every(m, m.output_size)))


@adapter("AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d")
def adaptive_max_pool(m):
    pool = nn.adaptive_max_pool(every(m, m.output_size), return_indices=m.return_indices)
    return twin(m, pool)


@adapter("FractionalMaxPool2d", "FractionalMaxPool3d")
def fractional_max_pool(m):
    sizes = {"output_size": m.output_size, "output_ratio": m.output_ratio}
    sizes = {name: every(m, size) for name, size in sizes.items() if size is not None}
    pool = nn.fractional_max_pool(every(m, m.kernel_size), return_indices=m.return_indices, **sizes)
    samples = jnp.asarray(m._random_samples.float().numpy())
    if axes_of(m) == 2:
        samples = samples[..., ::-1]  # PyTorch's are of width and height; in 3d in order

    def sampled(x):  # PyTorch's module draws in evaluation too, ours in training
        batch = x.shape[: -1 - axes_of(m)]
        own = samples[: math.prod(batch)]  # an example alone takes the first of them
        return pool({}, x, samples=own.reshape(*batch, *own.shape[1:]))

    return twin(m, sampled, bfloat16=False)  # PyTorch then rounds where windows start to 8 bits


@adapter("MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d")
def max_unpool(m):
    window, options = windows(m)

    def unpool(x, indices, output_size=None):
        return nn.max_unpool(window, output_size=output_size, **options)({}, x, indices)

    def enter(x, indices, output_size=None):
        axis = -1 - axes_of(m)
        arrays = tuple(jnp.moveaxis(a, axis, -1) for a in (x, indices))
        return arrays, {"output_size": None if output_size is None else tuple(output_size)}

    leave = lambda y: jnp.moveaxis(y, -1, -1 - axes_of(m))
    return Twin(unpool, enter=enter, leave=leave)


def unpool_samples(axes):
    """Indices from pools without overlap: where windows share one, PyTorch's order decides."""
    made = []
    nth = lambda name: getattr(torch.nn, f"{name}{axes}d")
    for size, window, stride, padding in ((6, 2, None, 0), (7, 3, 3, 1), (7, 2, 3, 0)):
        pool = nth("MaxPool")(window, stride, padding, return_indices=True)
        for batch in ((2, 3), (3,)):
            pooled, indices = pool(torch.randn(*batch, *(size,) * axes))
            unpool = nth("MaxUnpool")(window, stride, padding)
            made.append((unpool, (pooled, indices, [size] * axes)))
            if size == 6:
                made.append((unpool, (pooled, indices)))
    return made


for _axes in (1, 2, 3):
    samples(f"MaxUnpool{_axes}d")(functools.partial(unpool_samples, _axes))
