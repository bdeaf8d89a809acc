"""Linear layers: linear, einsum_linear, bilinear, and the MLP made of them."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from nnjax.core import (
    Layer,
    check_entries,
    check_floating,
    check_positive,
    check_shape,
    serial,
)
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, draw, lecun_normal, zeros
from nnjax.layers.dropout import dropout
from nnjax.ops.product import tensordot


def linear(
    in_features: int | Sequence[int],
    out_features: int | Sequence[int],
    *,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Affine map of the last axis, ``y = x @ kernel + bias``, or of the last axes.

    ``linear(64, (8, 16))`` makes 8 heads of 16 features, ``linear((8, 16), 64)`` joins them again.
    The initializer sees several axes as one: the kernel as [in, out].

    Shapes: x [..., in] -> y [..., out]; kernel [in, out], bias [out]; a tuple stands for as many
        axes.
    Dtypes: params are made in float32; y has the dtype that x and params promote to.
    Raises: ValueError, if the last axes of x are not in_features; TypeError, if x is not floating.
    Source: init from LeCun et al. 1998, "Efficient BackProp", section 4.6.
    """
    name = f"linear({in_features}, {out_features})"
    ins = _axes(name, "in_features", in_features)
    outs = _axes(name, "out_features", out_features)
    shapes = {"kernel": ins + outs} | ({"bias": outs} if bias else {})

    def init(key):
        kernel = _as_matrix(kernel_init, math.prod(ins), math.prod(outs))
        return draw(key, shapes, kernel=kernel, bias=bias_init), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., *ins))
        kernel, *shift = check_entries(name, "params", params, **shapes)
        y = tensordot(x, kernel, len(ins))
        return y + shift[0] if bias else y, state

    return Layer(init, apply, name)


def einsum_linear(
    equation: str,
    kernel_shape: Sequence[int],
    *,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Affine map by an Einstein sum, ``y = einsum(equation, x, kernel) + bias``.

    ``"...d,dhk->...hk"`` makes heads; ``"...gi,gio->...go"`` maps each of g groups by a matrix of
    its own. The bias has the axes of y that the kernel has, too. Of the kernel's letters, those
    that y lacks are its inputs for the initializer, the others its outputs.

    Shapes: as the equation says; only x and y may have ``...``, and they begin with it.
    Dtypes: params are made in float32; y has the dtype that x and params promote to.
    Raises: ValueError, for an equation that is not ``x,kernel->y``, or an x that does not fit it;
        TypeError, if x is not floating.
    """
    name = f"einsum_linear({equation!r})"
    operands, arrow, output = equation.replace(" ", "").partition("->")
    given, comma, letters = operands.partition(",")
    plain = [part.removeprefix("...") for part in (given, output)]
    known = arrow and comma and letters.isalpha() and all(p.isalpha() or not p for p in plain)
    if not known or set(plain[1]) - set(plain[0] + letters) or len(set(letters)) < len(letters):
        fix = "Only x and y may begin with '...'; the kernel's letters differ from one another."
        raise LayerValueError(f"{name}: got {equation!r}, expected 'x,kernel->y'. {fix}")
    if len(letters) != len(kernel_shape):
        got = f"got kernel_shape={tuple(kernel_shape)}, expected {len(letters)} sizes"
        raise LayerValueError(f"{name}: {got}, one for each of {letters!r}.")
    check_positive(name, **dict(zip(letters, kernel_shape, strict=True)))
    sizes = dict(zip(letters, kernel_shape, strict=True))
    x_shape = (*[...] * given.startswith("..."), *(sizes.get(c) for c in plain[0]))
    ins, outs = ([c for c in letters if (c in plain[1]) == kept] for kept in (False, True))
    biased = [c for c in plain[1] if c in sizes]
    shapes = {"kernel": tuple(sizes.values())}
    shapes |= {"bias": tuple(sizes[c] for c in biased)} if bias else {}

    def kernel(key, shape):
        fans = [math.prod(sizes[c] for c in side) for side in (ins, outs)]
        drawn = kernel_init(key, tuple(fans)).reshape([sizes[c] for c in ins + outs])
        return drawn.transpose([(ins + outs).index(c) for c in letters])

    def init(key):
        return draw(key, shapes, kernel=kernel, bias=bias_init), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, x_shape)
        kernel, *shift = check_entries(name, "params", params, **shapes)
        y = jnp.einsum(equation, x, kernel)
        if bias:
            y = y + shift[0].reshape([sizes.get(c, 1) for c in plain[1]])
        return y, state

    return Layer(init, apply, name)


def bilinear(
    in1_features: int,
    in2_features: int,
    out_features: int,
    *,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Linear in each of two inputs, ``y[o] = sum_ij x1[i] kernel[i, j, o] x2[j] + bias[o]``.

    Shapes: x1 [..., in1] and x2 [..., in2] -> y [..., out], with the same batch axes; kernel
        [in1, in2, out], bias [out].
    Dtypes: params are made in float32; y has the dtype that x1, x2 and params promote to.
    Raises: ValueError, if x1 or x2 does not fit, or not the other; TypeError, if one of them is not
        floating.
    """
    name = f"bilinear({in1_features}, {in2_features}, {out_features})"
    check_positive(
        name, in1_features=in1_features, in2_features=in2_features, out_features=out_features
    )
    shapes = {"kernel": (in1_features, in2_features, out_features)}
    shapes |= {"bias": (out_features,)} if bias else {}

    def init(key):
        return draw(key, shapes, kernel=kernel_init, bias=bias_init), {}

    def apply(params, state, x1, x2, *, key=None, train=False):
        check_floating(name, "x1", x1)
        check_floating(name, "x2", x2)
        check_shape(name, "x1", x1, (..., in1_features))
        check_shape(name, "x2", x2, (*x1.shape[:-1], in2_features))
        kernel, *shift = check_entries(name, "params", params, **shapes)
        y = jnp.einsum("...i,...j,ijo->...o", x1, x2, kernel)
        return y + shift[0] if bias else y, state

    return Layer(init, apply, name)


def _axes(name: str, argument: str, sizes: int | Sequence[int]) -> tuple[int, ...]:
    several = tuple(sizes) if isinstance(sizes, Sequence) else (sizes,)
    if not several:
        raise LayerValueError(f"{name}: got {argument}={sizes}, expected at least one size.")
    for size in several:
        check_positive(name, **{argument: size})
    return several


def _as_matrix(init: Initializer, ins: int, outs: int) -> Initializer:
    """An initializer of any kernel that draws it as [ins, outs], to count its fans rightly."""
    return lambda key, shape: init(key, (ins, outs)).reshape(shape)


def mlp(
    *sizes: int,
    activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
    dropout_rate: float = 0.0,
) -> Layer:
    """Multi-layer perceptron: linear layers of these sizes, an activation between any two.

    ``mlp(64, 32, 10)`` maps 64 features through 32 hidden units to 10 outputs. Dropout, if any,
    follows each activation.

    Shapes: x [..., sizes[0]] -> y [..., sizes[-1]].
    Raises: ValueError, for fewer than two sizes.
    Source: Rumelhart, Hinton, Williams 1986, https://doi.org/10.1038/323533a0.
    """
    name = f"mlp({', '.join(map(str, sizes))})"
    if len(sizes) < 2:
        raise LayerValueError(f"{name}: got {len(sizes)} sizes, expected an input and an output.")
    *hidden, last = zip(sizes[:-1], sizes[1:], strict=True)
    layers = []
    for size in hidden:
        layers += [linear(*size), activation]
        if dropout_rate:
            layers.append(dropout(dropout_rate))
    return serial(*layers, linear(*last)).named(name)
