"""widen: what sums, statistics and losses are computed in."""

from typing import Any

import jax
import jax.numpy as jnp


def widen(x: Any) -> jax.Array:
    """x in float32, or as it is where it is a wider float (or complex).

    ``jnp.promote_types(x.dtype, jnp.float32)`` says the same, but not to users who have set
    ``jax_numpy_dtype_promotion="strict"``: there it raises.
    """
    dtype = jnp.result_type(x)
    wide = jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits >= 32
    return jnp.asarray(x, dtype if wide else jnp.float32)
