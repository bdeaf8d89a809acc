"""Products of many vectors with one matrix."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.ops.lowering import backend, settled


def tensordot(x: ArrayLike, kernel: ArrayLike, axes: int = 1) -> jax.Array:
    """``jnp.tensordot(x, kernel, axes)``: x [..., *in] and kernel [*in, *out] -> [..., *out].

    On a CPU all leading axes of x go as one, as a plain product of two matrices. The kernel's
    gradient is then one, too, for which XLA:CPU has its quick routine; summed over two axes or more
    it takes a slow one (forward and backward of [8, 256, 384] by [384, 1536] on two cores: 0.8 to
    0.9 of the time, ``benchmarks/kernels.py``). Where x is far taller than the kernel is wide, its
    gradient ``x^T @ dy`` is quicker as the transpose of ``dy^T @ x`` ([2708, 1433] by [1433, 16]:
    0.58 of the time), which XLA would merge into the other, were the kernel not transposed first.
    Elsewhere XLA knows what is best. An x whose axes are sharded explicitly stays as it is.
    """
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    lead, outs = x.shape[: x.ndim - axes], kernel.shape[axes:]
    if not lead or backend() != "cpu" or any(jax.typeof(x).sharding.spec):
        return jnp.tensordot(x, kernel, axes)
    rows, ins, width = math.prod(lead), math.prod(kernel.shape[:axes]), math.prod(outs)
    x, kernel = x.reshape(rows, ins), kernel.reshape(ins, width)
    if rows >= _TALL * width:
        y = x @ settled(kernel.T).T
    else:
        y = x @ kernel
    return y.reshape(*lead, *outs)


_TALL = 8  # times as many rows as columns
