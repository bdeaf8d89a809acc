"""Statistics of arrays and what is divided by them: moments, root mean squares, norms.

All compute in float32 or wider and return that; whoever calls them casts back.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from nnjax.ops.lowering import settled
from nnjax.ops.precision import widen


def moments(
    x: Float[Array, "..."],
    axes: Sequence[int],
    mask: Bool[Array, "..."] | None = None,
    axis_name: Any = None,
) -> tuple[Array, Array, Any]:
    """Mean, variance (divided by n) and n of x over ``axes``, which stay as axes of size 1.

    Entries where ``mask``, which broadcasts against x, is False take no part, NaN included. With
    ``axis_name`` the devices or copies of that axis are taken together. Nothing at all has mean and
    variance 0.
    """
    h = widen(x)
    average, n = _averaging(h, axes, mask, axis_name)
    mean = average(h)
    return mean, average(jnp.square(h - mean)), n  # E[x^2] - E[x]^2 would cancel


def _averaging(x, axes, mask, axis_name):
    """What takes the mean of arrays like x, and of how many entries."""
    axes = tuple(axes)
    mask = None if mask is None else jnp.broadcast_to(mask, x.shape)
    together = lambda a: a if axis_name is None else jax.lax.psum(a, axis_name)
    if mask is None:
        copies = 1 if axis_name is None else jax.lax.axis_size(axis_name)
        n = copies * math.prod(x.shape[axis] for axis in axes)
        some = max(n, 1)
    else:
        n = together(mask.sum(axes, keepdims=True, dtype=x.dtype))
        some = jnp.maximum(n, 1)

    def average(a):
        a = a if mask is None else jnp.where(mask, a, 0)
        return together(a.sum(axes, keepdims=True)) / some

    return average, n


def standardize(
    x: Float[Array, "..."],
    axes: Sequence[int],
    eps: float,
    mask: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    """``(x - mean) / sqrt(var + eps)`` over ``axes``; masked entries count for nothing."""
    if mask is None:
        return settled(normalize(settled(widen(x)), None, axes, eps)[0])
    return normalize(jnp.where(mask, widen(x), 0), None, axes, eps, mask)[0]


def normalize(
    x: Float[Array, "..."],
    gain: Float[Array, "..."] | None,
    axes: Sequence[int],
    eps: float,
    mask: Bool[Array, "..."] | None = None,
    axis_name: Any = None,
) -> tuple[Array, Array, Array, Any]:
    """``(x - mean) / sqrt(var + eps) * gain``, and the mean, variance and n of ``moments``.

    The gain is the same along ``axes``. In the derivative it therefore comes first, so that the way
    back takes the means of g and of y g, where y is x standardised: the sums that the gradients of
    gain and bias are. JAX's own derivative keeps x - mean and the variance apart, and passes over x
    four times more.
    """

    @jax.custom_jvp
    def f(x, gain, mask):
        mean, var, _ = moments(x, axes, mask, axis_name)
        y = (x - mean) * jax.lax.rsqrt(var + eps)
        return y if gain is None else y * gain, mean, var

    @f.defjvp
    def _(primals, tangents):
        (x, gain, mask), (dx, to_gain, _) = primals, tangents
        average, _ = _averaging(x, axes, mask, axis_name)
        mean, var, _ = moments(x, axes, mask, axis_name)
        scale = jax.lax.rsqrt(var + eps)
        y = (x - mean) * scale
        u = scale * dx if gain is None else scale * gain * dx
        to_y = u - average(u) - y * average(y * u)
        to_both = average(dx), 2 * average((x - mean) * dx)
        if gain is None:
            return (y, mean, var), (to_y, *to_both)
        return (y * gain, mean, var), (to_y + y * to_gain, *to_both)

    _, n = _averaging(x, axes, mask, axis_name)
    return *f(x, gain, mask), n


def moved(
    state: Mapping[str, Array], decay: float | None, mean: Array, var: Array, n: Any
) -> dict[str, Array]:
    """Running statistics after one batch, of ``mean``, ``var`` and ``n`` as `moments` gives them.

    ``running = decay * running + (1 - decay) * batch``, where the variance is that of a sample
    (divided by n - 1), and the batch's is the mean over all axes but the last. Where ``decay`` is
    None, ``state["count"]`` batches have been averaged so far. Groups of fewer than two values have
    no variance, and do not count.
    """
    n = jnp.broadcast_to(jnp.asarray(n, mean.dtype), mean.shape)
    axes = tuple(range(mean.ndim - 1))
    enough = n > 1
    groups = enough.sum(axes, dtype=mean.dtype)
    average = lambda a: jnp.where(enough, a, 0).sum(axes) / jnp.maximum(groups, 1)
    batch = {"mean": average(mean), "var": average(var * (n / jnp.maximum(n - 1, 1)))}
    keep = decay if decay is not None else 1 - 1 / (state["count"] + 1).astype(mean.dtype)

    def move(old, new):
        new = keep * old.astype(new.dtype) + (1 - keep) * new
        return jnp.where(groups > 0, new.astype(old.dtype), old)

    new = {name: move(state[name], batch[name]) for name in ("mean", "var")}
    if decay is None:
        count = state["count"]
        new["count"] = count + (groups > 0).any().astype(count.dtype)
    return jax.lax.stop_gradient(new)


def rms_normalize(x: Float[Array, "..."], axes: Sequence[int], eps: float) -> Float[Array, "..."]:
    """``x / sqrt(mean(x^2) + eps)`` over ``axes``."""
    h = settled(widen(x))
    return settled(h * jax.lax.rsqrt(jnp.square(h).mean(tuple(axes), keepdims=True) + eps))


def l2_normalize(
    x: Float[Array, "..."], axes: Sequence[int], eps: float = 1e-12
) -> Float[Array, "..."]:
    """``x / max(|x|, eps)``, |x| the Euclidean norm over ``axes``; zero stays zero."""
    h = widen(x)
    squares = jnp.square(h).sum(tuple(axes), keepdims=True)
    return h * jax.lax.rsqrt(jnp.maximum(squares, eps**2))


def l2_norm(x: Float[Array, "..."], axes: Sequence[int]) -> Float[Array, "..."]:
    """The Euclidean norm over ``axes``, which stay as axes of size 1; its slope at zero is zero."""
    squares = jnp.square(widen(x)).sum(tuple(axes), keepdims=True)
    some = squares > 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1)), 0)


def window_sum(x: Float[Array, "... C"], size: int) -> Float[Array, "... C"]:
    """Sums over ``size`` neighbours on the last axis, ``size // 2`` of them before an entry."""
    lead = (1,) * (x.ndim - 1)
    pads = ((0, 0),) * (x.ndim - 1) + ((size // 2, (size - 1) // 2),)
    zero = np.array(0, x.dtype)
    return jax.lax.reduce_window(x, zero, jax.lax.add, (*lead, size), (*lead, 1), pads)


def power_iteration(
    matrix: Shaped[Any, "rows columns"],
    u: Shaped[Any, " columns"],
    v: Shaped[Any, " rows"],
    steps: int,
) -> tuple[Any, Any]:
    """u and v after ``steps`` rounds of ``u = unit(v @ matrix); v = unit(matrix @ u)``.

    They tend to the singular vectors of the largest singular value, which is u by matrix by v.
    Written for NumPy's arrays and JAX's, and with sums in place of products of matrices, which some
    devices round to bfloat16.
    """
    unit = lambda a: a / ((a * a).sum() + 1e-24) ** 0.5
    for _ in range(steps):
        u = unit((matrix * v[:, None]).sum(0))
        v = unit((matrix * u).sum(1))
    return u, v
