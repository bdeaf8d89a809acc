"""Random noise layers, in training."""

from hypothesis import strategies as st

import nnjax as nn
from tests.properties.family import (
    Case,
    Family,
    Mistake,
    axes,
    batches,
    flags,
    mistake,
    numbers,
    per_axis,
    sizes,
    spec,
)

rates = st.sampled_from([0.0, 0.1, 0.5, 0.9])


@st.composite
def noise(draw) -> Case:
    kind = draw(st.sampled_from(["dropout", "alpha_dropout", "gaussian_dropout", "gaussian_noise"]))
    x = numbers(*draw(batches), *draw(st.lists(sizes, max_size=3)))
    settings = {}
    if kind in ("dropout", "alpha_dropout") and x.ndim:
        places = st.integers(-x.ndim, x.ndim - 1)
        settings["broadcast_axes"] = draw(st.lists(places, max_size=2))
    layer = getattr(nn, kind)(draw(rates), **settings)
    return Case(layer, (x,), spec(*x.shape), train=draw(flags))


@st.composite
def rows(draw) -> Case:
    shape = (*draw(batches), *draw(st.lists(sizes, min_size=1, max_size=3)))
    layer = nn.stochastic_depth(draw(rates), batch_axes=draw(st.integers(0, len(shape))))
    return Case(layer, (numbers(*shape),), spec(*shape), train=draw(flags))


@st.composite
def blocks(draw) -> Case:
    count = draw(axes)
    window = draw(per_axis(count, st.integers(1, 3)))
    size = [w + draw(st.integers(0, 3)) for w in window]
    shape = (*draw(batches), *size, draw(sizes))
    layer = nn.drop_block(draw(rates), window)
    return Case(layer, (numbers(*shape),), spec(*shape), train=draw(flags))


@st.composite
def slopes(draw) -> Case:
    shape = draw(batches)
    return Case(nn.rrelu(0.1, 0.3), (numbers(*shape),), spec(*shape), train=draw(flags))


@st.composite
def mistakes(draw):
    make = draw(st.sampled_from([nn.dropout, nn.alpha_dropout, nn.gaussian_dropout]))
    name, rate = make.__name__, draw(st.sampled_from([-0.1, 1.0, 1.5, float("nan")]))
    extra, x = draw(st.integers(1, 3)), numbers(3, 4)
    trained = Mistake(
        lambda: make(0.5).apply({}, {}, x, train=True), f"{name}.*: got train=True and no key"
    )
    return [
        mistake(make, f"{name}.*: got dropout_rate=", dropout_rate=rate),
        mistake(make, f"{name}.*: got x of dtype", x.astype(int), dropout_rate=0.5),
        trained,
        mistake(nn.stochastic_depth, "stochastic.*: got dropout_rate=", dropout_rate=rate),
        mistake(
            nn.stochastic_depth, "stoch.*: got batch_axes=", dropout_rate=0.1, batch_axes=-extra
        ),
        mistake(
            nn.stochastic_depth,
            "stoch.*: got x of shape",
            x,
            dropout_rate=0.1,
            batch_axes=2 + extra,
        ),
        mistake(nn.gaussian_noise, "gaussian_noise.*: got stddev=", stddev=-float(extra)),
        mistake(nn.drop_block, "drop_block.*: got window=", dropout_rate=0.1, window=1 - extra),
        mistake(
            nn.drop_block,
            "drop_block.*: got x of spatial",
            numbers(2, 3, 3, 1),
            dropout_rate=0.1,
            window=3 + extra,
        ),
        mistake(nn.rrelu, "rrelu.*: got lower=", lower=0.5, upper=0.1),
    ]


FAMILIES = {"dropout": Family(noise() | rows() | blocks() | slopes(), mistakes())}
