"""How far apart, or how well aligned, two vectors are."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from nnjax.ops.precision import widen


def cosine_similarity(
    x: Float[Array, "..."], y: Float[Array, "..."], *, axis: int = -1, eps: float = 1e-8
) -> Float[Array, "..."]:
    """``x . y / (max(|x|, eps) max(|y|, eps))`` along an axis.

    Shapes: x and y broadcast; the result lacks axis.
    Dtypes: computed in float32 or wider; the result has the dtype that x and y promote to.
    Units:  eps has those of x and y.
    """

    def unit(a):
        squared = jnp.square(a).sum(axis, keepdims=True)
        return a / jnp.sqrt(jnp.maximum(squared, eps**2))

    return (unit(widen(x)) * unit(widen(y))).sum(axis).astype(jnp.result_type(x, y))


def pairwise_distance(
    x: Float[Array, "..."],
    y: Float[Array, "..."],
    *,
    p: int | float = 2.0,
    axis: int = -1,
    eps: float = 1e-6,
) -> Float[Array, "..."]:
    """``(sum_i |x_i - y_i + eps|^p)^(1/p)`` along an axis: the p-norm of the difference.

    p may be infinite, for the largest difference, or 0, for how many entries differ from -eps. The
    eps keeps the derivative finite where x equals y.

    Shapes: x and y broadcast; the result lacks axis.
    Dtypes: computed in float32 or wider; the result has the dtype that x and y promote to.
    Units:  eps has those of x and y.
    """
    gap = jnp.abs(widen(x) - widen(y) + eps)
    if p == 0:
        norm = (gap != 0).sum(axis).astype(gap.dtype)
    elif p == 1:
        norm = gap.sum(axis)
    elif p == 2:
        norm = jnp.sqrt(jnp.square(gap).sum(axis))
    elif math.isinf(p):
        norm = gap.max(axis)
    else:
        norm = (gap**p).sum(axis) ** (1.0 / p)
    return norm.astype(jnp.result_type(x, y))
