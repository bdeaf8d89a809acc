"""What layers over sequences share: which steps of each example take part."""

from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core import check_dtype, check_shape
from nnjax.core.errors import LayerValueError


def running(name: str, shape: tuple[int, ...], lengths: Any, mask: Any) -> jax.Array | None:
    """A mask [..., T] of the steps that take part, of lengths [...] or a mask; None for all.

    ``shape`` is that of the mask: x's batch axes and its steps.
    """
    if lengths is not None and mask is not None:
        raise LayerValueError(
            f"{name}: got lengths and mask, expected at most one. "
            "A mask can say all that lengths do: mask = jnp.arange(T) < lengths[..., None]."
        )
    if lengths is not None:
        check_dtype(name, "lengths", lengths, jnp.integer, "Count the steps of each example.")
        check_shape(name, "lengths", lengths, shape[:-1], "Give one length an example of x.")
        # in the dtype of arange, which they are compared with
        return jnp.arange(shape[-1]) < jnp.asarray(lengths, int)[..., None]
    if mask is not None:
        fix = "Make it boolean, with True where a step takes part."
        check_dtype(name, "mask", mask, jnp.bool_, fix)
        check_shape(name, "mask", mask, shape, "Give one entry a step of x.")
        return jnp.asarray(mask)
    return None
