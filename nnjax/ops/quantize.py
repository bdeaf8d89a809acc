"""Quantization: the nearest of a set of vectors."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def nearest(x: Float[Array, "*batch D"], codes: Float[Array, "K D"]) -> Int[Array, "*batch"]:
    """``argmin_k |x - codes_k|^2``, the first of equals; it has no derivative.

    By the half squares ``|codes_k|^2 / 2 - x . codes_k``, taken about the mean code: far from the
    origin they would cancel.
    """
    x, codes = jax.lax.stop_gradient((x, codes))
    centre = codes.mean(0)
    x, codes = x - centre, codes - centre
    dots = jnp.einsum("...d,kd->...k", x, codes, precision="highest")
    return jnp.argmin(jnp.square(codes).sum(-1) / 2 - dots, -1).astype(jnp.int32)
