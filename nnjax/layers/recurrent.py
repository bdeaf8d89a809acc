"""Recurrent cells: one step each, ``y, carry = cell(params, x, carry)``.

A call without a carry starts at zero: ``cell(params, x)`` is the first step of a sequence, and its
carry has the shape of all later ones. ``scan_time`` in ``unroll.py`` runs a cell along a sequence.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core import (
    Layer,
    check_entries,
    check_floating,
    check_positive,
    check_rate,
    check_shape,
    compose,
)
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, draw, lecun_normal, orthogonal, zeros
from nnjax.layers.convolution import conv
from nnjax.layers.dropout import dropout
from nnjax.ops.product import tensordot
from nnjax.ops.recurrence import Step, hidden

sigmoid, tanh = jax.nn.sigmoid, jnp.tanh


def elman_cell(
    in_features: int,
    hidden_features: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    bias: bool = True,
    recurrent_dropout_rate: float = 0.0,
    kernel_init: Initializer = lecun_normal(),
    recurrent_init: Initializer = orthogonal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """The simple recurrent network, ``h = activation(x @ kernel + h @ recurrent + bias)``.

    In training, ``recurrent_dropout_rate`` drops entries of h before the product with recurrent.

    Shapes: x [..., in], carry h [..., H] -> y [..., H], h [..., H]; kernel [in, H], recurrent
        [H, H], bias [H]; y is h.
    Dtypes: params are made in float32; x, carry, params and y share the dtype of the call.
    Raises: ValueError, for another number of features, or a carry that does not fit x; TypeError,
        if x is not floating.
    Source: Elman 1990, https://doi.org/10.1207/s15516709cog1402_1.
    """

    def update(p, gates, h):
        h = activation(gates)
        return h, h

    name = f"elman_cell({in_features}, {hidden_features})"
    inits = {"kernel": kernel_init, "recurrent": recurrent_init, "bias": bias_init}
    shapes = _shapes(name, in_features, hidden_features, 1, bias)
    step = Step(project, feed, jnp.add, update)
    return _cell(name, step, shapes, inits, (hidden_features,), recurrent_dropout_rate)


def lstm_cell(
    in_features: int,
    hidden_features: int,
    *,
    projection: int | None = None,
    peephole: bool = False,
    bias: bool = True,
    recurrent_dropout_rate: float = 0.0,
    kernel_init: Initializer = lecun_normal(),
    recurrent_init: Initializer = orthogonal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Long short-term memory. With gates i, f, g, o = x @ kernel + h @ recurrent + bias::

        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)

    With ``peephole``, i and f also see the old c, and o the new one, entry by entry. With
    ``projection``, h is multiplied by a kernel [H, P] at last. In training,
    ``recurrent_dropout_rate`` drops entries of h before the product with recurrent.

    Shapes: x [..., in], carry (h [..., P or H], c [..., H]) -> y, (h, c), where y is h; kernel
        [in, 4H], recurrent [P or H, 4H], bias [4H], gates side by side in the order i, f, g, o;
        peephole [3, H] for i, f, o; projection [H, P].
    Dtypes: params are made in float32; x, carry, params and y share the dtype of the call.
    Raises: ValueError, for another number of features, or a carry that does not fit x; TypeError,
        if x is not floating.
    Source: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735, with the
        forget gate of Gers et al. 2000; peepholes of Gers et al. 2002,
        https://jmlr.org/papers/v3/gers02a.html; projection of Sak et al. 2014,
        https://arxiv.org/abs/1402.1128; gate order as in PyTorch, whose two biases are one here.
    """

    def update(p, gates, carry):
        _, c = carry
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        if peephole:
            i, f = i + p["peephole"][0] * c, f + p["peephole"][1] * c
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        if peephole:
            o = o + p["peephole"][2] * c
        h = sigmoid(o) * tanh(c)
        if projection is not None:
            h = h @ p["projection"]
        return h, (h, c)

    name = f"lstm_cell({in_features}, {hidden_features})"
    shapes = _shapes(name, in_features, hidden_features, 4, bias)
    inits = {"kernel": kernel_init, "recurrent": recurrent_init, "bias": bias_init}
    outputs = hidden_features
    if peephole:
        shapes["peephole"], inits["peephole"] = (3, hidden_features), zeros
    if projection is not None:
        check_positive(name, projection=projection)
        outputs = projection
        shapes["recurrent"] = (projection, 4 * hidden_features)
        shapes["projection"], inits["projection"] = (hidden_features, projection), kernel_init
    step = Step(project, feed, jnp.add, update)
    return _cell(name, step, shapes, inits, (outputs, hidden_features), recurrent_dropout_rate)


def gru_cell(
    in_features: int,
    hidden_features: int,
    *,
    reset_after: bool = True,
    bias: bool = True,
    recurrent_dropout_rate: float = 0.0,
    kernel_init: Initializer = lecun_normal(),
    recurrent_init: Initializer = orthogonal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Gated recurrent unit. With U_r, U_z, U_n the columns of recurrent, likewise W of kernel::

        r = sigmoid(x @ W_r + h @ U_r + b_r)
        z = sigmoid(x @ W_z + h @ U_z + b_z)
        n = tanh(x @ W_n + b_n + r * (h @ U_n + recurrent_bias))  # reset_after
        n = tanh(x @ W_n + b_n + (r * h) @ U_n)                   # not reset_after
        h = (1 - z) * n + z * h

    In training, ``recurrent_dropout_rate`` drops entries of h before the products with U.

    Shapes: x [..., in], carry h [..., H] -> y [..., H], h [..., H]; kernel [in, 3H], recurrent
        [H, 3H], bias [3H], side by side in the order r, z, n; recurrent_bias [H], only with
        reset_after; y is h.
    Dtypes: params are made in float32; x, carry, params and y share the dtype of the call.
    Raises: ValueError, for another number of features, or a carry that does not fit x; TypeError,
        if x is not floating.
    Source: Cho et al. 2014, https://arxiv.org/abs/1406.1078. Version 1 resets after the product, as
        do PyTorch, cuDNN and Flax; version 3 before. Order and signs as in PyTorch.
    """

    def update(p, gates, h):
        now, fed = gates
        if reset_after:
            r, z, n = jnp.split(now, 3, axis=-1)
            from_r, from_z, from_n = jnp.split(fed, 3, axis=-1)
            if bias:
                from_n = from_n + p["recurrent_bias"]
            r, z = sigmoid(r + from_r), sigmoid(z + from_z)
            n = tanh(n + r * from_n)
        else:
            gates, candidate = jnp.split(p["recurrent"], [2 * hidden_features], axis=-1)
            rz, n = jnp.split(now, [2 * hidden_features], axis=-1)
            r, z = jnp.split(sigmoid(rz + fed @ gates), 2, axis=-1)
            n = tanh(n + (r * fed) @ candidate)
        h = n + z * (h - n)  # the slope in z is h - n: no difference of two large terms
        return h, h

    name = f"gru_cell({in_features}, {hidden_features})"
    shapes = _shapes(name, in_features, hidden_features, 3, bias)
    inits = {"kernel": kernel_init, "recurrent": recurrent_init, "bias": bias_init}
    if reset_after and bias:
        shapes["recurrent_bias"], inits["recurrent_bias"] = (hidden_features,), bias_init
    step = Step(project, feed if reset_after else as_it_is, both, update)
    return _cell(name, step, shapes, inits, (hidden_features,), recurrent_dropout_rate)


def minimal_gru_cell(
    in_features: int,
    hidden_features: int,
    *,
    bias: bool = True,
    recurrent_dropout_rate: float = 0.0,
    kernel_init: Initializer = lecun_normal(),
    recurrent_init: Initializer = orthogonal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Minimal gated unit, whose one gate both forgets and resets::

        f = sigmoid(x @ W_f + h @ U_f + b_f)
        n = tanh(x @ W_n + (f * h) @ U_n + b_n)
        h = (1 - f) * h + f * n

    In training, ``recurrent_dropout_rate`` drops entries of h before the products with U.

    Shapes: x [..., in], carry h [..., H] -> y [..., H], h [..., H]; kernel [in, 2H], recurrent
        [H, 2H], bias [2H], side by side in the order f, n; y is h.
    Dtypes: params are made in float32; x, carry, params and y share the dtype of the call.
    Raises: ValueError, for another number of features, or a carry that does not fit x; TypeError,
        if x is not floating.
    Source: Zhou et al. 2016, https://arxiv.org/abs/1603.09420, equations 6.
    """

    def update(p, gates, h):
        now, fed = gates
        f, n = jnp.split(now, 2, axis=-1)
        gate, candidate = jnp.split(p["recurrent"], 2, axis=-1)
        f = sigmoid(f + fed @ gate)
        n = tanh(n + (f * fed) @ candidate)
        h = h + f * (n - h)
        return h, h

    name = f"minimal_gru_cell({in_features}, {hidden_features})"
    shapes = _shapes(name, in_features, hidden_features, 2, bias)
    inits = {"kernel": kernel_init, "recurrent": recurrent_init, "bias": bias_init}
    step = Step(project, as_it_is, both, update)
    return _cell(name, step, shapes, inits, (hidden_features,), recurrent_dropout_rate)


def conv_lstm_cell(
    in_features: int,
    hidden_features: int,
    kernel_size: int | Sequence[int],
    *,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Long short-term memory over images: the products of ``lstm_cell`` are convolutions.

    One integer as kernel_size stands for two spatial axes, as in ``conv``; borders are padded with
    zeros. Over a sequence of images: ``scan_time(cell, time_axis=-4)``.

    Shapes: x [..., H, W, in], carry (h, c), each [..., H, W, hidden] -> y, (h, c), where y is h.
        Children: input, a conv to 4 * hidden features in the order i, f, g, o, and recurrent, one
        from h to the same without a bias.
    Dtypes: params are made in float32; x, carry, params and y share the dtype of the call.
    Raises: ValueError, for another number of channels or axes, or a carry that does not fit x;
        TypeError, if x is not floating.
    Source: Shi et al. 2015, https://arxiv.org/abs/1506.04214, equation 3, without the peepholes,
        which would tie the parameters to one size of image.
    """
    name = f"conv_lstm_cell({in_features}, {hidden_features}, {kernel_size})"
    check_positive(name, in_features=in_features, hidden_features=hidden_features)

    def forward(net, x, carry=None):
        gates = net.input(x)
        h, c = _parts(name, carry, (hidden_features,) * 2, x.shape[:-1], gates.dtype)
        i, f, g, o = jnp.split(gates + net.recurrent(h), 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return h, (h, c)

    def convolution(features, bias):
        inits: Any = {"kernel_init": kernel_init, "bias_init": bias_init}
        return conv(features, 4 * hidden_features, kernel_size, bias=bias, **inits)

    children = {
        "input": convolution(in_features, bias),
        "recurrent": convolution(hidden_features, False),
    }
    return compose(forward, name, **children)


def _shapes(name, in_features, hidden_features, gates, bias) -> dict[str, tuple[int, ...]]:
    check_positive(name, in_features=in_features, hidden_features=hidden_features)
    wide = gates * hidden_features
    shapes = {"kernel": (in_features, wide), "recurrent": (hidden_features, wide)}
    return shapes | ({"bias": (wide,)} if bias else {})


def project(weights, x):
    """What these cells make of x, one step's or all: ``x @ kernel + bias``."""
    now = tensordot(x, weights["kernel"])
    return now + weights["bias"] if "bias" in weights else now


def feed(weights, h):
    """What most of them make of h."""
    return tensordot(h, weights["recurrent"])


def as_it_is(weights, h):
    """h, for the cells that reset it before its product."""
    return h


def both(now, fed):
    return now, fed


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Gated(Layer):
    """A cell that is known in its parts, so that a loop over it may take some of them out."""

    step: Step = None  # type: ignore  # always given
    noise: Layer = None  # type: ignore

    def weights(self, params) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """The parameters of project and feed, and the others."""
        names = {"kernel", "bias"} | ({"recurrent"} if self.step.feed is feed else set())
        ours = {name: a for name, a in params.items() if name in names}
        return ours, {name: a for name, a in params.items() if name not in names}

    def kept(self, carry, key) -> jax.Array:
        """What h is multiplied by where it is fed back: the dropout of ones like it."""
        return self.noise({}, jnp.ones_like(hidden(carry)), key=key, train=True)


def _cell(name: str, step: Step, shapes, inits, sizes: tuple[int, ...], rate: float) -> Gated:
    """The step as a layer; its carry has parts of ``sizes``."""
    check_rate(name, rate)
    noise = dropout(rate)

    def init(key):
        return draw(key, shapes, **inits), {}

    def apply(params, state, x, carry=None, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., shapes["kernel"][0]))
        check_entries(name, "params", params, **shapes)
        carry = _parts(name, carry, sizes, x.shape[:-1], x.dtype)
        h = noise({}, hidden(carry), key=key, train=train)
        gates = step.join(step.project(params, x), step.feed(params, h))
        return step.update(params, gates, carry), state

    return Gated(init, apply, name, random=rate > 0, step=step, noise=noise)


def _parts(name: str, carry: Any, sizes: tuple[int, ...], batch: tuple[int, ...], dtype) -> Any:
    """The carry, checked: one array, or a pair where there are two sizes; zeros for None."""
    fix = "A carry has x's batch axes and the hidden features; pass what an earlier call returned."
    if len(sizes) == 1:
        if carry is None:
            return jnp.zeros((*batch, *sizes), dtype)
        if isinstance(carry, tuple | list):
            got = f"got carry of {len(carry)} parts, expected one array"
            raise LayerValueError(f"{name}: {got}. Pass h as an earlier call returned it.")
        check_shape(name, "carry", carry, (*batch, *sizes), fix)
        return carry
    if carry is None:
        return tuple(jnp.zeros((*batch, size), dtype) for size in sizes)
    if not isinstance(carry, tuple | list) or len(carry) != 2:
        many = len(carry) if isinstance(carry, tuple | list) else "one"
        raise LayerValueError(
            f"{name}: got carry of {many} parts, expected two. "
            "Pass (h, c) as an earlier call returned them."
        )
    for part, value, size in zip(("carry[0]", "carry[1]"), carry, sizes, strict=True):
        check_shape(name, part, value, (*batch, size), fix)
    return tuple(carry)
