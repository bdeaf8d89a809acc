"""Products of many vectors with one matrix."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.ops.lowering import backend


def tensordot(x: ArrayLike, kernel: ArrayLike, axes: int = 1) -> jax.Array:
    """``jnp.tensordot(x, kernel, axes)``: x [..., *in] and kernel [*in, *out] -> [..., *out].

    On a CPU all leading axes of x go as one, as a plain product of two matrices. The kernel's
    gradient is then one, too, for which XLA:CPU has its quick routine; summed over two axes or more
    it takes a slow one (forward and backward of [8, 256, 384] by [384, 1536] on two cores: 0.79 of
    the time, ``benchmarks/kernels.py``). Elsewhere XLA merges the axes by itself. An x whose axes
    are sharded explicitly stays as it is.
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    lead, outs = x.shape[: x.ndim - axes], kernel.shape[axes:]
    if len(lead) < 2 or backend() != "cpu" or any(jax.typeof(x).sharding.spec):
        return jnp.tensordot(x, kernel, axes)
    ins = math.prod(kernel.shape[:axes])
    y = x.reshape(math.prod(lead), ins) @ kernel.reshape(ins, math.prod(outs))
    return y.reshape(*lead, *outs)
