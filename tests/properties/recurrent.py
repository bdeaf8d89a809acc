"""Random recurrent layers: one and both ways, stacked, of each kind, with lengths or a mask."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import nnjax as nn
from tests.properties.family import (
    Case,
    Family,
    Mistake,
    batches,
    booleans,
    called,
    flags,
    integers,
    mistake,
    numbers,
    per_axis,
    sizes,
    spec,
)

KINDS = {
    # what each kind takes beside the sizes
    "rnn": (),
    "lstm": ("projection", "peephole"),
    "gru": ("reset_after",),
}


@st.composite
def networks(draw) -> dict[str, Any]:
    kind = draw(st.sampled_from(list(KINDS)))
    further = {
        "projection": draw(st.none() | sizes),
        "peephole": draw(flags),
        "reset_after": draw(flags),
    }
    settings = {name: further[name] for name in KINDS[kind]}
    settings |= {"in_features": draw(sizes), "hidden_features": draw(sizes), "bias": draw(flags)}
    return (
        settings
        | {"layers": draw(st.integers(1, 2)), "bidirectional": draw(flags)}
        | {"kind": kind}
    )


def carries(settings: dict[str, Any], batch: tuple[int, ...], make) -> Any:
    """The carry as documented: a tuple a layer, a pair where both ways, (h, c) for an LSTM."""
    hidden = settings["hidden_features"]
    one = make(*batch, hidden)
    if settings["kind"] == "lstm":
        one = (make(*batch, settings["projection"] or hidden), make(*batch, hidden))
    both = (one, one) if settings["bidirectional"] else one
    return both if settings["layers"] == 1 else (both,) * settings["layers"]


@st.composite
def network(draw) -> Case:
    settings = draw(networks())
    plain = {name: value for name, value in settings.items() if name != "kind"}
    layer = getattr(nn, settings["kind"])(**plain)
    batch, steps = draw(batches), draw(sizes)
    named: dict[str, Any] = {"reverse": True} if draw(flags) else {}
    which = draw(st.sampled_from(["all", "lengths", "mask"]))
    if which == "lengths":
        named["lengths"] = integers(0, steps + 1, *batch)
    elif which == "mask":
        named["mask"] = booleans(*batch, steps)
    if draw(flags):
        named["carry"] = carries(settings, batch, numbers)
    width = settings.get("projection") or settings["hidden_features"]
    outputs = spec(*batch, steps, width * (2 if settings["bidirectional"] else 1))
    x = numbers(*batch, steps, settings["in_features"])
    return with_static(layer, (x,), (outputs, carries(settings, batch, spec)), named, settings)


def with_static(layer, inputs, outputs, named, settings) -> Case:
    """``reverse`` is no array: it is bound before the call is traced."""
    reverse = named.pop("reverse", False)
    settings = settings | {"reverse": reverse}
    if not reverse:
        return Case(layer, inputs, outputs, named, settings)

    def apply(params, state, *inputs, key=None, train=False, **named):
        return layer.apply(params, state, *inputs, key=key, train=train, reverse=True, **named)

    return Case(nn.Layer(layer.init, apply, layer.name), inputs, outputs, named, settings)


@st.composite
def linear_recurrence(draw) -> Case:
    kind, features, hidden = (
        draw(st.sampled_from(["min_gru", "rg_lru", "s5"])),
        draw(sizes),
        draw(sizes),
    )
    batch, steps = draw(batches), draw(sizes)
    made, part, layer = {
        "min_gru": (hidden, (hidden,), nn.min_gru(features, hidden)),
        "rg_lru": (features, (features,), nn.rg_lru(features)),
        "s5": (features, (hidden, 2), nn.s5(features, hidden)),
    }[kind]
    named: dict[str, Any] = {"reverse": True} if draw(flags) else {}
    if draw(flags):
        named["lengths"] = integers(0, steps + 1, *batch)
    if draw(flags):
        named["carry"] = numbers(*batch, *part)
    x = numbers(*batch, steps, features)
    outputs = (spec(*batch, steps, made), spec(*batch, *part))
    return with_static(layer, (x,), outputs, named, {"kind": kind})


@st.composite
def cell(draw) -> Case:
    ins, hidden, batch = draw(sizes), draw(sizes), draw(batches)
    kind = draw(st.sampled_from(["elman", "gru", "minimal_gru", "conv_lstm"]))
    size: tuple[int, ...] = ()
    if kind == "conv_lstm":
        count = draw(st.integers(1, 3))
        size = draw(per_axis(count, sizes))
        kernel = draw(per_axis(count, st.integers(1, 3)))
        layer = nn.conv_lstm_cell(ins, hidden, kernel)
    else:
        layer = getattr(nn, f"{kind}_cell")(ins, hidden, bias=draw(flags))
    h = numbers(*batch, *size, hidden)
    carry = (h, h) if kind == "conv_lstm" else h
    y = spec(*h.shape)
    outputs = (y, (y, y) if kind == "conv_lstm" else y)
    inputs = (numbers(*batch, *size, ins), carry) if draw(flags) else (numbers(*batch, *size, ins),)
    return Case(layer, inputs, outputs)


@st.composite
def mistakes(draw):
    kind = draw(st.sampled_from(list(KINDS)))
    make = getattr(nn, kind)
    ins, hidden, extra, wrong = (
        draw(sizes),
        draw(sizes),
        draw(st.integers(1, 3)),
        draw(st.integers(-2, 0)),
    )
    plain = {"in_features": ins, "hidden_features": hidden}
    layer, x = make(**plain), numbers(2, 4, ins)
    carry = numbers(2, hidden + extra)
    carry = (carry, carry) if kind == "lstm" else carry
    named = lambda message, **inputs: Mistake(
        called(layer, x, **inputs), message, f"{kind}{inputs}"
    )
    candidates = [
        mistake(make, f"{kind}.*: got x of shape", numbers(2, 4, ins + extra), **plain),
        mistake(make, f"{kind}.*: got x of shape", numbers(ins), **plain),
        mistake(make, f"{kind}.*: .*got x of dtype", x.astype(int), **plain),
        mistake(make, f"{kind}.*: got hidden_features=", **plain | {"hidden_features": wrong}),
        mistake(make, f"{kind}.*: got layers=", **plain, layers=wrong),
        mistake(make, f"{kind}.*: got dropout_rate=", **plain, dropout_rate=0.5),
        mistake(make, ".*cell.*: got dropout_rate=", **plain, recurrent_dropout_rate=1.0 + extra),
        named(f"{kind}.*got lengths of shape", lengths=jnp.ones(2 + extra, int)),
        named(f"{kind}.*got lengths of dtype", lengths=jnp.ones(2)),
        named(f"{kind}.*got mask of shape", mask=jnp.ones((2, 4 + extra), bool)),
        named(f"{kind}.*got mask of dtype", mask=jnp.ones((2, 4))),
        named(f"{kind}.*got lengths and mask", mask=np.ones((2, 4), bool), lengths=np.ones(2, int)),
        named(f"{kind}.*got carry", carry=carry),
        named(f"{kind}.*got carry", carry=(carry,) * (2 + extra)),
        mistake(nn.lstm, "lstm.*: got projection=", **plain, projection=-extra),
        mistake(nn.s5, "s5.*: got states=", features=ins, states=wrong),
    ]
    return candidates


FAMILIES = {
    "recurrent": Family(network(), mistakes()),
    "recurrence": Family(linear_recurrence() | cell(), mistakes()),
}
