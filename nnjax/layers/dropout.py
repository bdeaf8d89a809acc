"""Dropout and noise: what only training has. One draw serves the whole batch.

The key says which generator draws: with ``jax.random.key(seed)`` masks are hashed from the key, the
same on every device and under every sharding; ``jax.random.key(seed, impl="rbg")`` is the device's
own generator.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core import Layer, check_floating, check_rate, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.layers.windows import per_axis
from nnjax.ops import pooling
from nnjax.ops.mask import Generator, bernoulli
from nnjax.ops.precision import widen


def dropout(
    dropout_rate: float, *, broadcast_axes: Sequence[int] = (), generator: Generator = "auto"
) -> Layer:
    """Set each entry to zero with probability dropout_rate, and scale the rest by 1 / (1 - rate).

    The identity when not training. Entries along ``broadcast_axes`` are dropped together: (-3, -2)
    drops whole channels of an image [..., H, W, C], (-2,) those of a sequence [..., T, C].

    generator: "hash" mixes the entries' numbers with the key, see ``nnjax.ops.mask``; "key" is the
        generator of the key. "auto" is "hash" for a threefry key, else "key".

    Shapes: x [...] -> y [...].
    Dtypes: y has x.dtype.
    Raises: ValueError, for a rate outside [0, 1), training without a key, or an x without the
        axes; TypeError, if x is not floating.
    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html; scaled in
        training, not afterwards as the paper has it. Whole channels: Tompson et al. 2015,
        https://arxiv.org/abs/1411.4280, section 3.2.
    """
    name = f"dropout({dropout_rate})"
    check_rate(name, dropout_rate)
    keep = 1.0 - dropout_rate

    def draw(key, x):
        mask = bernoulli(key, keep, _shared(name, x, broadcast_axes), generator)
        return jnp.where(mask, widen(x) / keep, 0)  # a keep of 8 bits would bias the mean

    return _noise(name, draw, dropout_rate > 0)


def alpha_dropout(dropout_rate: float, *, broadcast_axes: Sequence[int] = ()) -> Layer:
    """Dropout for ``selu``: it keeps mean 0 and variance 1 where x has them.

    Entries are set to alpha' = -1.7581, the limit of selu at minus infinity, with probability
    dropout_rate; then ``y = a * x + b`` restores the moments, ``a = ((1 - rate) * (1 + rate *
    alpha'^2))^(-1/2)`` and ``b = -a * rate * alpha'``. ``broadcast_axes`` is that of ``dropout``:
    with the spatial axes it is feature alpha dropout.

    Shapes: x [...] -> y [...].
    Dtypes: y has x.dtype.
    Raises: ValueError, for a rate outside [0, 1), training without a key, or an x without the
        axes; TypeError, if x is not floating.
    Source: Klambauer et al. 2017, https://arxiv.org/abs/1706.02515, section 3.
    """
    name = f"alpha_dropout({dropout_rate})"
    check_rate(name, dropout_rate)
    keep = 1.0 - dropout_rate
    a = 1 / math.sqrt(keep * (1 + dropout_rate * _SELU_LIMIT**2))
    b = -a * dropout_rate * _SELU_LIMIT

    def draw(key, x):
        mask = bernoulli(key, keep, _shared(name, x, broadcast_axes))
        return jnp.where(mask, a * widen(x) + b, a * _SELU_LIMIT + b)

    return _noise(name, draw, dropout_rate > 0)


def gaussian_dropout(dropout_rate: float) -> Layer:
    """Multiply each entry by a normal number of mean 1 and variance rate / (1 - rate).

    These are the mean and the variance of what ``dropout`` of that rate multiplies by. The identity
    when not training.

    Shapes: x [...] -> y [...].
    Dtypes: y has x.dtype.
    Raises: ValueError, for a rate outside [0, 1), or training without a key; TypeError, if x is
        not floating.
    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html, section 10.
    """
    name = f"gaussian_dropout({dropout_rate})"
    check_rate(name, dropout_rate)
    stddev = math.sqrt(dropout_rate / (1.0 - dropout_rate))

    def draw(key, x):
        h = widen(x)
        return h * (1 + stddev * jax.random.normal(key, h.shape, h.dtype))

    return _noise(name, draw, dropout_rate > 0)


def gaussian_noise(stddev: float) -> Layer:
    """Add to each entry a normal number of mean 0 and this standard deviation, when training.

    Shapes: x [...] -> y [...].
    Dtypes: y has x.dtype.
    Units:  stddev has the units of x.
    Raises: ValueError, for a negative stddev, or training without a key; TypeError, if x is not
        floating.
    Source: Bishop 1995, https://doi.org/10.1162/neco.1995.7.1.108.
    """
    name = f"gaussian_noise({stddev})"
    if not stddev >= 0:
        raise LayerValueError(f"{name}: got stddev={stddev}, expected at least 0.")

    def draw(key, x):
        h = widen(x)
        return h + stddev * jax.random.normal(key, h.shape, h.dtype)

    return _noise(name, draw, stddev > 0)


def stochastic_depth(dropout_rate: float, *, batch_axes: int = 1) -> Layer:
    """Set whole examples to zero with probability dropout_rate; scale the rest by 1 / (1 - rate).

    For the end of a residual branch, ``residual(serial(body, stochastic_depth(0.1)))``, which then
    leaves some examples out. The first ``batch_axes`` axes of x number the examples: with 0, the
    batch is kept or left out as one. The identity when not training.

    Shapes: x [*batch, ...] -> y [*batch, ...].
    Dtypes: y has x.dtype.
    Raises: ValueError, for a rate outside [0, 1), training without a key, or an x of fewer axes;
        TypeError, if x is not floating.
    Source: Huang et al. 2016, https://arxiv.org/abs/1603.09382, section 3; scaled in training, not
        afterwards as the paper has it.
    """
    name = f"stochastic_depth({dropout_rate})"
    check_rate(name, dropout_rate)
    if batch_axes < 0:
        raise LayerValueError(f"{name}: got batch_axes={batch_axes}, expected at least 0.")
    keep = 1.0 - dropout_rate

    def draw(key, x):
        mask = bernoulli(key, keep, _shared(name, x, range(batch_axes, x.ndim)))
        return jnp.where(mask, widen(x) / keep, 0)  # a keep of 8 bits would bias the mean

    def check(x):
        check_shape(name, "x", x, (*[None] * batch_axes, ...), "Its first axes are the examples.")

    return _noise(name, draw, dropout_rate > 0, check)


def drop_block(dropout_rate: float, window: int | Sequence[int]) -> Layer:
    """Set square patches of each channel to zero, about dropout_rate of all entries.

    Each place where a window fits starts one with probability ``rate / window area * image area /
    number of places``; windows may overlap. What is left of an example is scaled by its number of
    entries over those left. One integer stands for two spatial axes, as in ``max_pool``. The
    identity when not training.

    Shapes: x [..., H, W, C] -> y [..., H, W, C].
    Dtypes: y has x.dtype.
    Raises: ValueError, for a rate outside [0, 1), training without a key, or an x that is smaller
        than the window; TypeError, if x is not floating.
    Source: Ghiasi et al. 2018, https://arxiv.org/abs/1810.12890, algorithm 1.
    """
    name = f"drop_block({dropout_rate}, {window})"
    check_rate(name, dropout_rate)
    size = per_axis(name, "window", window, 2)
    axes = len(size)

    def check(x):
        check_shape(name, "x", x, (..., *[None] * (axes + 1)), "Give it spatial axes and channels.")
        spatial = x.shape[-1 - axes : -1]
        if any(n < w for n, w in zip(spatial, size, strict=True)):
            raise LayerValueError(
                f"{name}: got x of spatial shape {spatial}, expected room for a window of {size}. "
                "Give a larger x or a smaller window."
            )

    def draw(key, x):
        batch, spatial, channels = x.shape[: -1 - axes], x.shape[-1 - axes : -1], x.shape[-1]
        places = tuple(n - w + 1 for n, w in zip(spatial, size, strict=True))
        rate = dropout_rate / math.prod(size) * math.prod(spatial) / math.prod(places)
        starts = bernoulli(key, min(rate, 1.0), (math.prod(batch), *places, channels)).astype(
            jnp.float32
        )
        pads = tuple((w - 1, w - 1) for w in size)
        dropped = pooling.max_pool(starts, size, (1,) * axes, pads).reshape(x.shape) > 0
        over = tuple(range(x.ndim - 1 - axes, x.ndim))
        left = jnp.sum(~dropped, over, dtype=jnp.float32, keepdims=True)
        share = left / (math.prod(spatial) * channels)
        return jnp.where(dropped, 0, widen(x) / jnp.maximum(share, 1e-6).astype(widen(x).dtype))

    return _noise(name, draw, dropout_rate > 0, check)


_SELU_LIMIT = -1.0507009873554805 * 1.6732632423543772


def _noise(
    name: str,
    draw: Callable[[jax.Array, jax.Array], jax.Array],
    random: bool,
    check: Callable[[jax.Array], None] | None = None,
) -> Layer:
    """``draw(key, x)`` in training, the identity otherwise."""

    def init(key):
        return {}, {}

    def apply(params, state, x, *, key: Any = None, train=False):
        check_floating(name, "x", x)
        if check:
            check(x)
        if not train or not random:
            return x, state
        return draw(key, x).astype(x.dtype), state

    return Layer(init, apply, name, random=random)


def _shared(name: str, x: jax.Array, axes: Sequence[int]) -> tuple[int, ...]:
    """The shape of x, with size 1 along ``axes``."""
    if any(not -x.ndim <= axis < x.ndim for axis in axes):
        raise LayerValueError(
            f"{name}: got x of shape {x.shape}, expected one with broadcast_axes={tuple(axes)}. "
            "Axes counted from the end are negative."
        )
    one = {axis % x.ndim for axis in axes}
    return tuple(1 if axis in one else size for axis, size in enumerate(x.shape))
