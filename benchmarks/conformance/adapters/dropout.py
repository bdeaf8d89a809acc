"""torch.nn's dropout family: compared in evaluation; training is another generator's draw."""

import torch

import nnjax as nn
from benchmarks.conformance.torch_samples import samples
from benchmarks.conformance.twin import NotOurs, Twin, adapter

DRAWS = (
    "training: the two generators draw different masks; mean, variance and independence of ours "
    "are tested in tests/layers/test_dropout.py"
)


def evaluated(m, layer):
    if m.training:
        raise NotOurs(DRAWS)
    return Twin(layer)


@adapter("Dropout")
def dropout(m):
    return evaluated(m, nn.dropout(m.p))


@adapter("Dropout1d", "Dropout2d", "Dropout3d")
def channel_dropout(m):
    axes = int(type(m).__name__[-2])
    return evaluated(m, nn.dropout(m.p, broadcast_axes=tuple(range(-1 - axes, -1))))


@adapter("AlphaDropout")
def alpha_dropout(m):
    return evaluated(m, nn.alpha_dropout(m.p))


@adapter("FeatureAlphaDropout")
def feature_alpha_dropout(m):
    return evaluated(m, nn.alpha_dropout(m.p, broadcast_axes=(-3, -2)))


def _register(name, shape):
    make = getattr(torch.nn, name)
    samples(name)(lambda: [(make(p), (torch.randn(shape),)) for p in (0.0, 0.2, 0.5)])


for _name, _shape in {
    "Dropout": (3, 4),
    "Dropout1d": (2, 3, 5),
    "Dropout2d": (2, 3, 5, 5),
    "Dropout3d": (2, 3, 4, 5, 5),
    "AlphaDropout": (3, 4),
    "FeatureAlphaDropout": (2, 3, 5, 5),
}.items():
    _register(_name, _shape)
