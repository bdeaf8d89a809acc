"""Cases: reparametrization."""

import nnjax as nn
from tests.catalogue.case import FEATURES, IMAGE, Case, call, feature_mistakes, normal

linear = nn.linear(4, 3)


def mistakes(make, name: str):
    noun = rf"{name}: got params \['.*'\], expected weight among them"
    return {
        **feature_mistakes(make(linear), r"linear\(4, 3\)"),
        "param": (call(make(linear, param="weight"), normal(4)), noun),
        "stranger": (lambda: make(4), "got 4 in place of a layer"),
    }


def drop_connect(layer, **options):
    return nn.drop_connect(layer, 0.5, **options)


def doubled(layer, **options):
    return nn.reparametrize(layer, lambda kernel: 2 * kernel, **options)


CASES: dict[str, Case] = {
    "drop_connect": Case(
        drop_connect(linear),
        FEATURES,
        {
            **mistakes(drop_connect, r"drop_connect\(0.5\)"),
            "rate": (lambda: nn.drop_connect(linear, 1), r"drop_connect\(1\): got dropout_rate=1"),
        },
    ),
    "reparametrize": Case(doubled(linear), FEATURES, mistakes(doubled, "reparametrize")),
    "spectral_norm": Case(
        nn.spectral_norm(nn.conv(3, 4, 2)), IMAGE, mistakes(nn.spectral_norm, "spectral_norm")
    ),
    "weight_norm": Case(nn.weight_norm(linear), FEATURES, mistakes(nn.weight_norm, "weight_norm")),
    "weight_standardization": Case(
        nn.weight_standardization(nn.conv(3, 4, 2)),
        IMAGE,
        mistakes(nn.weight_standardization, "weight_standardization"),
    ),
}
