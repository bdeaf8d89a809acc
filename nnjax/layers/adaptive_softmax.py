"""Log probabilities over many classes, the rare ones through narrow projections."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from nnjax.core import Layer, check_floating, check_shape, compose, serial
from nnjax.core.errors import LayerValueError
from nnjax.layers.linear import linear
from nnjax.ops.precision import widen


def adaptive_log_softmax(
    in_features: int,
    classes: int,
    cutoffs: Sequence[int],
    *,
    div_value: float = 4.0,
    bias: bool = False,
) -> Layer:
    """``log p(class) = log p(class's cluster) + log p(class | cluster)``, classes sorted by use.

    The classes below ``cutoffs[0]`` and one entry a cluster are the head's; cluster i holds the
    classes from ``cutoffs[i]`` to the next cutoff and sees x through ``in_features //
    div_value**(i + 1)`` features, which is what saves parameters and time. ``bias`` is the head's.
    Train it by ``nn.losses.negative_log_likelihood``.

    Shapes: x [..., in] -> log probabilities [..., classes]; params head and tail_0, tail_1, ...
    Dtypes: softmax in float32 or wider, whatever x; the result has x.dtype.
    Raises: ValueError, if the cutoffs do not rise from above 0 to below classes, or the last axis
            of x is not in_features; TypeError, if x is not floating.
    Source: Grave et al. 2016, https://arxiv.org/abs/1609.04309. All classes are computed, while the
            paper's training computes for each example its own cluster's alone.
    """
    name = f"adaptive_log_softmax({in_features}, {classes}, {list(cutoffs)})"
    edges = [0, *cutoffs, classes]
    if len(edges) < 3 or any(a >= b for a, b in itertools.pairwise(edges)):
        got = f"got cutoffs={list(cutoffs)}, expected them to rise between 0 and {classes}"
        raise LayerValueError(f"{name}: {got}. Sort the classes by how often they occur.")
    first = edges[1]
    sizes = [b - a for a, b in itertools.pairwise(edges[1:])]
    tails = {}
    for i, size in enumerate(sizes):
        narrow = max(1, int(in_features // div_value ** (i + 1)))
        down, up = linear(in_features, narrow, bias=False), linear(narrow, size, bias=False)
        tails[f"tail_{i}"] = serial(down=down, up=up)

    def forward(net, x):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., in_features))
        log_softmax = lambda z: jax.nn.log_softmax(widen(z))
        head = log_softmax(net.head(x))
        parts = [head[..., :first]]
        for i in range(len(sizes)):
            cluster = head[..., first + i, None]
            parts.append(cluster + log_softmax(getattr(net, f"tail_{i}")(x)))
        return jnp.concatenate(parts, -1).astype(x.dtype)

    head = linear(in_features, first + len(sizes), bias=bias)
    return compose(forward, head=head, **tails).named(name)
