"""Random norms: over features, groups, instances, batches, and by responses."""

import math

import numpy as np
from hypothesis import strategies as st

import nnjax as nn
from tests.properties.family import (
    Case,
    Family,
    batches,
    booleans,
    flags,
    mistake,
    numbers,
    per_axis,
    sizes,
    spec,
)

eps = st.sampled_from([1e-5, 1e-2])


@st.composite
def over_features(draw) -> Case:
    kind = draw(st.sampled_from(["layer_norm", "rms_norm"]))
    features = draw(sizes | st.integers(1, 3).flatmap(lambda n: per_axis(n, sizes)))
    settings = {"features": features, "eps": draw(eps), "scale": draw(flags)}
    settings |= {"bias": draw(flags)} if kind == "layer_norm" else {}
    shape = (*draw(batches), *(features if isinstance(features, tuple) else (features,)))
    layer = getattr(nn, kind)(**settings)
    return Case(layer, (numbers(*shape),), spec(*shape), settings=settings | {"kind": kind})


@st.composite
def images(draw, features: int, least: int = 2):
    """An image and maybe a mask; as many positions as have a variance."""
    count, batch = draw(st.integers(1, 3)), draw(batches)
    size = draw(per_axis(count, st.integers(1, 4)))
    if math.prod(size) < least:
        size = (least, *size[1:])
    x = numbers(*batch, *size, features)
    return count, x, {"mask": booleans(*x.shape[:-1])} if draw(flags) else {}


@st.composite
def group(draw) -> Case:
    groups = draw(st.integers(1, 3))
    features = groups * draw(st.integers(1, 3))
    count, x, named = draw(images(features))
    settings = {"features": features, "groups": groups, "axes": count, "eps": draw(eps)}
    settings |= {"scale": draw(flags), "bias": draw(flags)}
    outputs = spec(*x.shape)
    return Case(nn.group_norm(**settings), (x,), outputs, named, settings)


@st.composite
def instance(draw) -> Case:
    features = draw(sizes)
    count, x, named = draw(images(features))
    settings = {"features": features, "axes": count, "eps": draw(eps), "running": draw(flags)}
    settings |= {"scale": draw(flags), "bias": draw(flags)}
    settings |= {"decay": draw(st.sampled_from([0.9, 0.5, None]))}
    layer = nn.instance_norm(**settings)
    return Case(layer, (x,), spec(*x.shape), named, settings, draw(flags))


@st.composite
def batch(draw) -> Case:
    features = draw(sizes)
    _, x, named = draw(images(features))
    settings = {"features": features, "eps": draw(eps)}
    if draw(flags):
        layer = nn.batch_renorm(**settings)
    else:
        settings |= {"scale": draw(flags), "bias": draw(flags), "running": draw(flags)}
        settings |= {"decay": draw(st.sampled_from([0.9, 0.5, None]))}
        layer = nn.batch_norm(**settings)
    return Case(layer, (x,), spec(*x.shape), named, settings, draw(flags))


@st.composite
def response(draw) -> Case:
    features = draw(sizes)
    count, x, _ = draw(images(features))
    kind = draw(st.sampled_from(["local_response_norm", "global_response_norm", "unit_norm"]))
    settings = {}
    if kind == "local_response_norm":
        settings |= {"size": draw(st.integers(1, 7)), "alpha": 0.5, "beta": 0.6, "k": 1.5}
    elif kind == "global_response_norm":
        settings |= {"features": features, "axes": count}
    else:
        places = st.integers(-x.ndim, x.ndim - 1)
        several = st.lists(places, min_size=1, unique_by=lambda a: a % x.ndim).map(tuple)
        settings |= {"axis": draw(places | several)}
    layer = getattr(nn, kind)(**settings)
    return Case(layer, (x,), spec(*x.shape), settings=settings | {"kind": kind})


@st.composite
def mistakes(draw):
    features, extra, wrong = draw(sizes), draw(st.integers(1, 3)), draw(st.integers(-2, 0))
    x = numbers(2, 4, features + extra)
    of = {"features": features}
    norms = [nn.layer_norm, nn.rms_norm, nn.batch_norm, nn.batch_renorm, nn.instance_norm]
    make = draw(st.sampled_from(norms))
    name = make.__name__
    candidates = [
        mistake(make, rf"{name}\({features}\): got x of shape", x, **of),
        mistake(make, f"{name}.*: got features=", features=wrong),
        mistake(make, f"{name}.*: got x of dtype", np.ones((2, 2, 2, features), int), **of),
        mistake(make, f"{name}.*: got x of shape", numbers(), **of),
        mistake(nn.layer_norm, "layer_norm.*: got features=", features=(features, wrong)),
        mistake(nn.group_norm, "group_norm.*: got groups=", **of, groups=features + extra),
        mistake(nn.group_norm, "group_norm.*: got groups=", **of, groups=wrong),
        mistake(nn.batch_norm, "batch_norm.*: got decay=", **of, decay=1.0 + extra),
        mistake(nn.instance_norm, "instance_norm.*: got decay=", **of, decay=float(wrong) - 1),
        mistake(nn.batch_renorm, "batch_renorm.*: got max_scale=", **of, max_scale=0.5),
        mistake(
            nn.instance_norm,
            "instance_norm.*: got x of shape .*, expected two or more",
            numbers(2, 1, features),
            **of,
            axes=1,
        ),
        mistake(
            nn.group_norm,
            "group_norm.*: got x of shape .*, expected two or more",
            numbers(2, 1, features),
            **of,
            groups=features,
            axes=1,
        ),
        mistake(nn.local_response_norm, "local_resp.*: got size=", size=wrong),
        mistake(nn.global_response_norm, "global_resp.*: got x of shape", x, **of),
        mistake(nn.unit_norm, "unit_norm.*: got x of shape .*, expected one", x, axis=3),
    ]
    return candidates


FAMILIES = {
    "norm": Family(over_features() | group() | response(), mistakes()),
    "running_norm": Family(instance() | batch(), mistakes()),
}
