"""torch.nn's normalization family."""

import jax.numpy as jnp
import torch
from torch.nn.modules.instancenorm import _InstanceNorm as InstanceNorm

import nnjax as nn
from benchmarks.conformance.torch_samples import samples
from benchmarks.conformance.twin import REASONS, Twin, adapter


def affine(m):
    """weight and bias, as many of them as the module has."""
    names = {"scale": "weight", "bias": "bias"}
    has = {ours: name for ours, name in names.items() if getattr(m, name, None) is not None}
    return {name: name in has for name in names}, lambda get: {n: get(t) for n, t in has.items()}


def averages(m):
    """The running statistics, and what makes them."""
    names = {"mean": "running_mean", "var": "running_var"}
    decay = None if m.momentum is None else 1 - m.momentum
    if decay is None and isinstance(m, InstanceNorm):
        decay = 1.0  # where PyTorch's instance norm moves nothing, nor counts
    names |= {"count": "num_batches_tracked"} if decay is None else {}
    names = names if m.track_running_stats else {}
    options = {
        "decay": decay,
        "running": m.track_running_stats,
        "eps": m.eps,
    }
    return options, lambda get: {ours: get(theirs) for ours, theirs in names.items()}


@adapter(
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "SyncBatchNorm",
)
def batch_norm(m):
    has, params = affine(m)
    options, state = averages(m)
    layer = nn.batch_norm(m.num_features, **has, **options)
    to_last, to_first = lambda x: jnp.moveaxis(x, 1, -1), lambda y: jnp.moveaxis(y, -1, 1)
    return Twin(layer, params, state, to_last, to_first)


@adapter(
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
)
def instance_norm(m):
    axes = int(type(m).__name__[-2])
    has, params = affine(m)
    options, state = averages(m)
    layer = nn.instance_norm(m.num_features, axes=axes, **has, **options)
    channel = -1 - axes
    to_last = lambda x: jnp.moveaxis(x, channel, -1)
    return Twin(layer, params, state, to_last, lambda y: jnp.moveaxis(y, -1, channel))


@adapter("LayerNorm")
def layer_norm(m):
    has, params = affine(m)
    return Twin(nn.layer_norm(m.normalized_shape, eps=m.eps, **has), params)


@adapter("RMSNorm")
def rms_norm(m):
    has, params = affine(m)
    eps = torch.finfo(torch.float32).eps if m.eps is None else m.eps  # it computes in float32
    return Twin(nn.rms_norm(m.normalized_shape, eps=eps, scale=has["scale"]), params)


@adapter("GroupNorm")
def group_norm(m):
    has, params = affine(m)
    layer = nn.group_norm(m.num_channels, m.num_groups, axes=1, eps=m.eps, **has)
    shape = []

    def enter(x):  # all spatial axes as one: the module does not say how many it is given
        shape[:] = x.shape
        return x.reshape(*x.shape[:2], -1).swapaxes(1, 2)

    return Twin(layer, params, enter=enter, leave=lambda y: y.swapaxes(1, 2).reshape(shape))


@adapter("LocalResponseNorm")
def local_response_norm(m):
    layer = nn.local_response_norm(m.size, alpha=m.alpha, beta=m.beta, k=m.k)
    to_last, to_first = lambda x: jnp.moveaxis(x, 1, -1), lambda y: jnp.moveaxis(y, -1, 1)
    return Twin(layer, enter=to_last, leave=to_first, bfloat16=False)


REASONS["CrossMapLRN2d"] = (
    "its gradients fail torch.autograd.gradcheck (the backward's window is a channel off) and its "
    "forward never takes channel 0 out of the running sum; LocalResponseNorm is the same formula"
)


def _batches(make, axes):
    """A lazy module knows its size after a first batch, seen here in evaluation."""
    for options in ({}, {"eps": 1e-3, "momentum": None}, {"momentum": 0.3, "affine": False}):
        module = make(**options)
        x = torch.randn(4, 3, *(5, 4, 2)[:axes])
        module.eval()(x)
        yield module, (x + 0.5,)


for _axes in (1, 2, 3):
    _batch = getattr(torch.nn, f"LazyBatchNorm{_axes}d")
    samples(f"LazyBatchNorm{_axes}d")(lambda make=_batch, axes=_axes: [*_batches(make, axes)])
    _instance = getattr(torch.nn, f"LazyInstanceNorm{_axes}d")
    samples(f"LazyInstanceNorm{_axes}d")(lambda make=_instance, axes=_axes: [*_batches(make, axes)])


@samples("SyncBatchNorm")
def sync_batch_norm():  # of one process; tests/layers/test_normalization.py has several devices
    x = torch.randn(4, 3, 5, 5)
    make = torch.nn.SyncBatchNorm
    modules = make(3), make(3, momentum=None), make(3, affine=False)
    return [(m, (x,)) for m in (*modules, make(3, track_running_stats=False))]
