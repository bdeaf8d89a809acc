"""The linear layer, and the MLP made of it."""

from collections.abc import Callable

import jax

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


def linear(
    in_features: int,
    out_features: int,
    *,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """Affine map of the last axis, ``y = x @ kernel + bias``.

    Shapes: x [..., in] -> y [..., out]; kernel [in, out], bias [out].
    Dtypes: params are made in float32; y has the dtype that x and params promote to.
    Raises: ValueError, if the last axis of x is not in_features; TypeError, if x is not floating.
    Source: init from LeCun et al. 1998, "Efficient BackProp", section 4.6.
    """
    name = f"linear({in_features}, {out_features})"
    check_positive(name, in_features=in_features, out_features=out_features)
    shapes = {"kernel": (in_features, out_features)} | ({"bias": (out_features,)} if bias else {})

    def init(key):
        return draw(key, shapes, kernel=kernel_init, bias=bias_init), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., in_features))
        kernel, *shift = check_entries(name, "params", params, **shapes)
        y = x @ kernel
        return y + shift[0] if bias else y, state

    return Layer(init, apply, name)


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
