"""torch.nn's activations."""

import functools

import jax.numpy as jnp
import torch

import nnjax as nn
from benchmarks.conformance.torch_samples import samples
from benchmarks.conformance.twin import NotOurs, Twin, adapter, first, last

PLAIN = {
    "Hardsigmoid": nn.hard_sigmoid,
    "Hardswish": nn.hard_silu,
    "LogSigmoid": nn.log_sigmoid,
    "Mish": nn.mish,
    "ReLU": nn.relu,
    "ReLU6": nn.relu6,
    "SELU": nn.selu,
    "SiLU": nn.silu,
    "Sigmoid": nn.sigmoid,
    "Softsign": nn.soft_sign,
    "Tanh": nn.tanh,
    "Tanhshrink": nn.tanhshrink,
}


@adapter(*PLAIN)
def plain(m):
    return Twin(PLAIN[type(m).__name__])


SETTINGS = {  # our function, and its settings by the names that PyTorch has for them
    "CELU": (nn.celu, {"alpha": "alpha"}),
    "ELU": (nn.elu, {"alpha": "alpha"}),
    "GLU": (nn.glu, {"axis": "dim"}),
    "Hardshrink": (nn.hardshrink, {"threshold": "lambd"}),
    "Hardtanh": (nn.hard_tanh, {"low": "min_val", "high": "max_val"}),
    "LeakyReLU": (nn.leaky_relu, {"negative_slope": "negative_slope"}),
    "Softshrink": (nn.softshrink, {"threshold": "lambd"}),
    "Threshold": (nn.threshold, {"threshold": "threshold", "value": "value"}),
}


@adapter(*SETTINGS)
def with_settings(m):
    function, names = SETTINGS[type(m).__name__]
    settings = {ours: getattr(m, theirs) for ours, theirs in names.items()}
    return Twin(functools.partial(function, **settings))


@adapter("GELU")
def gelu(m):
    return Twin(functools.partial(nn.gelu, approximate=m.approximate == "tanh"))


@adapter("Softplus")
def softplus(m):
    if m.threshold != 20:
        raise NotOurs(
            "threshold: softplus is exact at every x; turning linear early is a guard against "
            "overflow, which the formula of logaddexp has no need of"
        )
    return Twin(lambda x: nn.softplus(m.beta * x) / m.beta)


AXIS = {"LogSoftmax": nn.log_softmax, "Softmax": nn.softmax, "Softmin": nn.softmin}


@adapter(*AXIS)
def along_an_axis(m):
    function = functools.partial(AXIS[type(m).__name__], axis=m.dim)
    return Twin(
        lambda x: function(jnp.atleast_1d(x)).reshape(x.shape)
    )  # a number has an axis there


@adapter("Softmax2d")
def softmax_2d(m):
    move = lambda x: jnp.moveaxis(x, -3, -1)
    return Twin(nn.softmax, enter=move, leave=lambda y: jnp.moveaxis(y, -1, -3))


@adapter("PReLU")
def prelu(m):
    if m.num_parameters == 1:
        return Twin(nn.prelu(), lambda get: {"slope": get("weight").reshape(())})
    layer = nn.prelu(m.num_parameters)
    return Twin(layer, lambda get: {"slope": get("weight")}, enter=last, leave=first)


@adapter("RReLU")
def rrelu(m):
    if m.training and m.lower < m.upper:
        raise NotOurs(
            "training draws other random slopes than PyTorch; their law is tested in tests/layers"
        )
    return Twin(nn.rrelu(m.lower, m.upper))


@samples("Hardsigmoid")
def _hardsigmoid_samples():
    kinks = torch.tensor([-3.0, 3.0, 0.0, -4.0, 4.0])
    return [(torch.nn.Hardsigmoid(), (x,)) for x in (kinks, 3 * torch.randn(2, 3, 4))]


@samples("RReLU")
def _rrelu_samples():
    modules = [torch.nn.RReLU(), torch.nn.RReLU(0.1, 0.9), torch.nn.RReLU(0.2, 0.2)]
    return [(m, (x,)) for m in modules for x in (torch.randn(2, 3, 4), torch.tensor([-1.0, 0.0]))]
