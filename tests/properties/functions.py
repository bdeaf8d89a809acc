"""Random calls of activations and losses, which are layers without parameters."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

import nnjax as nn
from nnjax import losses
from tests.properties.family import (
    Case,
    Family,
    Mistake,
    batches,
    booleans,
    called,
    flags,
    integers,
    numbers,
    sizes,
    spec,
)

ENTRYWISE = (
    *("celu", "elu", "gelu", "hardshrink", "hard_sigmoid", "hard_silu", "hard_tanh", "identity"),
    *("leaky_relu", "log_sigmoid", "mish", "relu", "relu6", "relu_squared", "selu", "sigmoid"),
    *("silu", "sine", "snake", "softshrink", "soft_sign", "softplus", "sparse_plus"),
    *("sparse_sigmoid", "squareplus", "tanh", "tanhshrink"),
)
ALONG = ("log_softmax", "softmax", "softmin", "sparsemax", "entmax15")
GATED = ("glu", "reglu", "geglu", "swiglu")


@st.composite
def activation(draw) -> Case:
    kind = draw(st.sampled_from((*ENTRYWISE, *ALONG, *GATED, "squash")))
    shape = (*draw(batches), draw(sizes))
    settings: dict[str, Any] = {"kind": kind}
    outputs = shape
    if kind in ALONG + GATED:
        axis = draw(st.integers(-len(shape), -1).filter(lambda a: shape[a]))
        settings["axis"] = axis
        if kind in GATED:
            shape = tuple(n * 2 if i - len(shape) == axis else n for i, n in enumerate(shape))
    function = getattr(nn, kind)
    if "axis" in settings:
        function = functools.partial(function, axis=settings["axis"])
    return Case(nn.as_layer(function), (2 * numbers(*shape),), spec(*outputs), settings=settings)


# A loss: how its inputs look, for a shape [..., C], and its own settings.
# "same": two arrays of one shape, a value an entry; "rows": two of one shape, a value a row;
# "labels": logits and integers, a value a row; "signs": the second is -1 and 1.
LOSSES: dict[str, tuple[str, dict[str, Any]]] = {
    "squared_error": ("same", {}),
    "absolute_error": ("same", {}),
    "huber_loss": ("same", {"delta": 0.7}),
    "smooth_l1_loss": ("same", {"beta": 0.7}),
    "log_cosh": ("same", {}),
    "absolute_percentage_error": ("same", {}),
    "quantile_loss": ("same", {"quantile": 0.3}),
    "cosine_distance": ("rows", {}),
    "softmax_cross_entropy": ("labels", {"label_smoothing": 0.1}),
    "negative_log_likelihood": ("labels", {}),
    "softmax_focal_loss": ("labels", {}),
    "poly_loss_cross_entropy": ("labels", {}),
    "sparsemax_loss": ("labels", {}),
    "multiclass_hinge_loss": ("labels", {}),
    "multiclass_perceptron_loss": ("labels", {}),
    "multi_margin_loss": ("labels", {"margin": 0.7}),
    "arcface_loss": ("labels", {}),
    "capsule_margin_loss": ("labels", {}),
    "sigmoid_binary_cross_entropy": ("shares", {}),
    "sigmoid_focal_loss": ("shares", {}),
    "multilabel_soft_margin_loss": ("share rows", {}),
    "multilabel_margin_loss": ("hot rows", {}),
    "hinge_loss": ("signs", {}),
    "perceptron_loss": ("signs", {}),
    "soft_margin_loss": ("signs", {}),
    "hinge_embedding_loss": ("signs", {"margin": 0.7}),
    "poisson_nll": ("same", {}),
    "kl_divergence": ("share rows", {}),
    "kl_divergence_with_log_targets": ("rows", {}),
    "distillation_loss": ("rows", {}),
}


def targets(form: str, shape: tuple[int, ...]) -> np.ndarray:
    match form.removesuffix(" rows"):
        case "labels":
            return integers(0, shape[-1], *shape[:-1], seed=1)
        case "shares":
            return np.random.default_rng(1).random(shape, np.float32).reshape(shape)
        case "share":
            return np.random.default_rng(1).dirichlet(np.ones(shape[-1]), shape[:-1]).astype("f")
        case "hot":
            return booleans(*shape).astype(np.float32)
        case "signs":
            return np.where(booleans(*shape), 1, -1).astype(np.float32)
        case _:
            return numbers(*shape, seed=1)


@st.composite
def reduced(
    draw, kind: str, inputs: Sequence[Any], values: tuple[int, ...], settings: dict[str, Any]
) -> Case:
    """A loss with ``values`` to hide, to weigh and to reduce."""
    named: dict[str, Any] = {}
    stretched = tuple(draw(st.sampled_from([1, n])) for n in values)
    if draw(flags):
        named["mask"] = booleans(*stretched)
    if draw(flags):
        named["weights"] = np.abs(numbers(*stretched, seed=5))
    reduction = draw(st.sampled_from(["none", "mean", "sum"]))
    function = functools.partial(getattr(losses, kind), reduction=reduction, **settings)
    outputs = spec(*(values if reduction == "none" else ()))
    about = {"kind": kind, "reduction": reduction, **settings}
    return Case(nn.as_layer(function), tuple(inputs), outputs, named, about)


@st.composite
def loss(draw) -> Case:
    kind = draw(st.sampled_from(list(LOSSES)))
    form, settings = LOSSES[kind]
    shape = (*draw(batches), draw(sizes))
    values = shape if form in ("same", "shares", "signs") else shape[:-1]
    x = numbers(*shape)
    if kind in ("arcface_loss", "capsule_margin_loss"):
        x = np.tanh(x)  # cosines, or lengths
    return draw(reduced(kind, (x, targets(form, shape)), values, settings))


@st.composite
def mistakes(draw):
    kind = draw(st.sampled_from(list(LOSSES)))
    form, settings = LOSSES[kind]
    extra, gate = draw(st.integers(1, 3)), draw(st.sampled_from(GATED))
    shape = (2, 3, 4)
    x, y = numbers(*shape), targets(form, shape)
    layer = nn.as_layer(functools.partial(getattr(losses, kind), **settings))
    other = targets(form, (2, 3 + extra, 4))
    mistake = lambda message, *inputs, **named: Mistake(
        called(layer, *inputs, **named), f"{kind}: {message}", f"{kind} {named}"
    )
    return [
        mistake("got .* of shape", x, other),
        mistake("got .* of shape", x, y[:, :1]),  # it would broadcast
        mistake("got .* of dtype", x.astype(int), y),
        mistake("got mask of shape", x, y, mask=np.ones((2, 3 + extra), bool)),
        mistake("got mask of dtype", x, y, mask=np.ones((2, 3), int)),
        mistake("got weights of shape", x, y, weights=numbers(3 + extra)),
        Mistake(
            called(nn.as_layer(functools.partial(getattr(nn, gate))), numbers(3, 2 * extra + 1)),
            f"{gate}: got x of shape",
        ),
    ]


FAMILIES = {
    "activation": Family(activation(), mistakes(), checked=False),
    "loss": Family(loss(), mistakes()),
}
