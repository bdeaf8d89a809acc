"""Convolution in C++, as a primitive of JAX that is linear in each argument."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from nnjax.native.library import CALLS, built
from nnjax.ops.windows import Pads, Sizes

# Of an image x, its convolution g and a kernel k, each call computes one from the other two.
FORWARD, BY_IMAGES, BY_KERNEL = CALLS
NAME = "native_conv"


def fits(x: Array) -> bool:
    """Whether the kernels are here, and take such arrays of one group.

    They take one or two axes and float32 or narrower; not within ``shard_map``, whose types of what
    varies over a mesh they do not tell.
    """
    mapped = jax.sharding.get_abstract_mesh().manual_axes
    return built() and x.ndim in (3, 4) and x.dtype.itemsize <= 4 and not mapped


def conv(
    x: Float[Array, "B *spatial C"],
    kernel: Float[Array, "*size C O"],
    *,
    stride: Sizes,
    pads: Pads,
    dilation: Sizes,
) -> Float[Array, "B *sites O"]:
    """``y[i] = sum_k x[stride * i + dilation * k - before] @ kernel[k]``, summed in float32."""
    sides = zip(x.shape[1:-1], kernel.shape, stride, pads, dilation, strict=False)
    sites = [(n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides]
    return _call(FORWARD, (len(x), *sites, kernel.shape[-1]), x, kernel, stride, pads, dilation)


def paint(
    x: Float[Array, "B *spatial C"],
    kernel: Float[Array, "*size C O"],
    size: Sizes,
    *,
    stride: Sizes,
    pads: Pads,
    dilation: Sizes,
) -> Float[Array, "B *size O"]:
    """``y[stride * i + dilation * k - before] += x[i] @ kernel[k]``: the transpose of ``conv``."""
    kernel = kernel.swapaxes(-1, -2)
    return _call(BY_IMAGES, (len(x), *size, kernel.shape[-2]), x, kernel, stride, pads, dilation)


def _call(call, shape, x, kernel, stride, pads, dilation):
    dtype, lines = x.dtype, x.ndim == 3
    before = [before for before, _ in pads]
    windows = dict(stride=stride, dilation=dilation, before=before)
    if lines:  # an image one pixel high
        x, kernel, shape = x[:, None], kernel[None], (shape[0], 1, *shape[1:])
        windows = dict(stride=(1, *stride), dilation=(1, *dilation), before=(0, *before))
    wide = [v.astype(jnp.float32) for v in (x, kernel)]
    y = _bind(call, shape, *wide, **{name: tuple(map(int, v)) for name, v in windows.items()})
    return (y[:, 0] if lines else y).astype(dtype)


def _bind(call, shape, a, b, **windows):
    return primitive().bind(a, b, call=call, shape=tuple(map(int, shape)), **windows)


def _ffi(a, b, *, call, shape, **windows):
    result = jax.ShapeDtypeStruct(shape, jnp.float32)
    numbers = {name: np.asarray(value, np.int64) for name, value in windows.items()}
    return jax.ffi.ffi_call(call, result)(a, b, **numbers)


@functools.cache
def _jitted(**params):
    return jax.jit(functools.partial(_ffi, **params))


def _to_first(g, a, b, *, call, shape, **windows):
    """What a cotangent g of ``call(a, b)`` makes of a: with b, g is the pair of another call."""
    shape = a.aval.shape
    if call == BY_KERNEL:  # of x
        return _bind(BY_IMAGES, shape, b, g, **windows)
    return _bind(BY_IMAGES if call == FORWARD else FORWARD, shape, g, b, **windows)


def _to_second(g, a, b, *, call, shape, **windows):
    shape = b.aval.shape
    if call == BY_KERNEL:  # of g
        return _bind(FORWARD, shape, a, g, **windows)
    return _bind(BY_KERNEL, shape, *((a, g) if call == FORWARD else (g, a)), **windows)


def _batch(args, axes, *, call, shape, **windows):
    """Images of one kernel are one batch; several kernels take their turns."""
    first, second = (
        v if axis is None else jnp.moveaxis(v, axis, 0) for v, axis in zip(args, axes, strict=True)
    )
    if axes[1] is None and call != BY_KERNEL:
        n, batch = first.shape[:2]
        merged = first.reshape(n * batch, *first.shape[2:])
        y = _bind(call, (n * batch, *shape[1:]), merged, second, **windows)
        return y.reshape(n, *shape), 0
    mapped = {i: v for i, v in enumerate((first, second)) if axes[i] is not None}
    fixed = {i: v for i, v in enumerate((first, second)) if axes[i] is None}

    def once(mapped):
        both: dict[int, Any] = fixed | mapped
        return _bind(call, shape, both[0], both[1], **windows)

    return jax.lax.map(once, mapped), 0


def multiplications(eqn: Any) -> int:
    """Of one equation of this primitive in a jaxpr."""
    a, b = (v.aval.shape for v in eqn.invars)
    y, kernel = {
        FORWARD: (eqn.outvars[0].aval.shape, b),
        BY_IMAGES: (a, b),
        BY_KERNEL: (b, eqn.outvars[0].aval.shape),
    }[eqn.params["call"]]
    return math.prod(y[:-1]) * math.prod(kernel)


@functools.cache
def primitive() -> Any:
    """The primitive; not made before it is used, as jax.extend takes long to import."""
    from jax.extend.core import Primitive

    conv = Primitive(NAME)
    conv.def_impl(lambda a, b, **params: _jitted(**params)(a, b))
    conv.def_abstract_eval(lambda a, b, *, shape, **_: ShapedArray(shape, jnp.float32))
    ad.defbilinear(conv, _to_first, _to_second)
    batching.primitive_batchers[conv] = _batch
    mlir.register_lowering(conv, mlir.lower_fun(_ffi, multiple_results=False), platform="cpu")
    return conv
