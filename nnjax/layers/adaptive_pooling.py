"""Pooling to a given size, or to one value a channel: adaptive, fractional, global, learned."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nnjax.core import (
    Layer,
    check_dtype,
    check_entries,
    check_floating,
    check_positive,
    check_shape,
    compose,
)
from nnjax.core.errors import LayerValueError
from nnjax.initializers import constant, normal
from nnjax.layers.attention import attention
from nnjax.layers.images import image_layer, join_batch
from nnjax.layers.windows import per_axis
from nnjax.ops import adaptive_pooling
from nnjax.ops.precision import widen

Sizes = int | None | Sequence[int | None]


def adaptive_avg_pool(output_size: Sizes) -> Layer:
    """The mean of each of output_size bins an axis, channel by channel, whatever the size of x.

    Bin i of m along an axis of n entries is [floor(i n / m), ceil((i + 1) n / m)). One integer
    stands for two spatial axes; None leaves an axis as it is.

    Shapes: x [..., H, W, C] -> y [..., *output_size, C].
    Dtypes: y has x.dtype; the sum is taken in float32 or wider.
    Raises: ValueError, if x has too few axes or an empty one; TypeError, if x is not floating.
    Source: the bins are those of PyTorch's AdaptiveAvgPool2d; He et al. 2015, section 2.2, cut them
        alike, https://arxiv.org/abs/1406.4729.
    """
    name = f"adaptive_avg_pool({output_size})"
    sizes = _output_sizes(name, output_size)

    def run(x):
        return adaptive_pooling.adaptive_avg_pool(x, _filled(name, x, sizes))

    return image_layer(name, len(sizes), run)


def adaptive_max_pool(output_size: Sizes, *, return_indices: bool = False) -> Layer:
    """The largest entry of each of output_size bins an axis, channel by channel.

    The bins are those of ``adaptive_avg_pool``. Of equal entries the first takes the derivative.

    Shapes: x [..., H, W, C] -> y [..., *output_size, C]; with return_indices (y, indices), both of
        that shape.
    Dtypes: y has x.dtype; indices int32, as ``max_pool`` counts them.
    Raises: ValueError, if x has too few axes or an empty one; TypeError, if x is not floating.
    """
    name = f"adaptive_max_pool({output_size})"
    sizes = _output_sizes(name, output_size)

    def run(x):
        pooled = adaptive_pooling.adaptive_max_pool(x, _filled(name, x, sizes))
        return pooled if return_indices else pooled[0]

    return image_layer(name, len(sizes), run)


def fractional_max_pool(
    window: int | Sequence[int],
    *,
    output_size: int | Sequence[int] | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
) -> Layer:
    """The largest entry of windows that start at pseudo-random steps, output_size of them an axis.

    Give either output_size or output_ratio, the share of each axis that is kept, in (0, 1). Each
    axis of each channel has one number u in [0, 1): with alpha = (size - window) / (count - 1),
    window i starts at floor((i + u) alpha) - floor(u alpha). Training draws u. Otherwise it is 1/2,
    or what ``layer(params, x, samples=u)`` gives.

    Shapes: x [..., H, W, C] -> y [..., *output_size, C]; samples [..., C, 2], in the order of the
        axes; with return_indices (y, indices), both of y's shape.
    Dtypes: y has x.dtype; indices int32, as ``max_pool`` counts them.
    Raises: ValueError, for both or neither of output_size and output_ratio, if x has too few axes
        or no room for so many windows, or training without a key; TypeError, if x is not floating.
    Source: Graham 2014, https://arxiv.org/abs/1412.6071, section 2.
    """
    name = f"fractional_max_pool({window})"
    window = per_axis(name, "window", window, 2)
    axes = len(window)
    if (output_size is None) == (output_ratio is None):
        got = f"got output_size={output_size} and output_ratio={output_ratio}"
        raise LayerValueError(f"{name}: {got}, expected one of them.")
    if output_size is not None:
        sizes = per_axis(name, "output_size", output_size, axes)
        count = lambda spatial: sizes
    else:
        several = isinstance(output_ratio, Sequence)
        ratios: Any = tuple(output_ratio) if several else (output_ratio,) * axes
        if len(ratios) != axes or not all(0 < r < 1 for r in ratios):
            fix = f"expected {axes} numbers in (0, 1)"
            raise LayerValueError(f"{name}: got output_ratio={output_ratio}, {fix}.")
        count = lambda spatial: tuple(int(n * r) for n, r in zip(spatial, ratios, strict=True))

    def init(key):
        return {}, {}

    def apply(params, state, x, *, samples=None, key: Any = None, train=False):
        images, part = join_batch(name, x, axes)
        spatial, channels = images.shape[1:-1], x.shape[-1]
        counts = count(spatial)
        for n, w, m in zip(spatial, window, counts, strict=True):
            if m < 1 or m + w - 1 > n:
                raise LayerValueError(
                    f"{name}: got x of spatial shape {spatial}, expected room for {counts} "
                    f"windows of {window}. Ask for fewer, or for smaller ones."
                )
        shape = (*x.shape[: -1 - axes], channels, axes)
        if samples is not None:
            fix = "Give each channel a number in [0, 1) for each axis."
            check_shape(name, "samples", samples, shape, fix)
            check_floating(name, "samples", samples)
        elif train:
            samples = jax.random.uniform(key, shape)
        else:
            samples = jnp.full(shape, 0.5, jnp.float32)
        samples = samples.reshape(len(images), channels, axes)
        pooled = adaptive_pooling.fractional_max_pool(images, window, counts, samples)
        return part(pooled if return_indices else pooled[0]), state

    return Layer(init, apply, name, random=True)


def global_avg_pool(axes: int = 2) -> Layer:
    """The mean over all positions of the last ``axes`` spatial axes, channel by channel.

    Shapes: x [..., H, W, C] -> y [..., C] for axes = 2.
    Dtypes: y has x.dtype; the mean is taken in float32 or wider.
    Raises: ValueError, if x has too few axes; TypeError, if x is not floating.
    Source: Lin, Chen, Yan 2014, https://arxiv.org/abs/1312.4400, section 3.2.
    """

    def run(x):
        return widen(x).mean(tuple(range(1, axes + 1))).astype(x.dtype)

    return image_layer(f"global_avg_pool({axes})", axes, run)


def global_max_pool(axes: int = 2) -> Layer:
    """The largest entry over all positions of the last ``axes`` spatial axes, channel by channel.

    Of equal entries the first takes the derivative.

    Shapes: x [..., H, W, C] -> y [..., C] for axes = 2.
    Dtypes: y has x.dtype.
    Raises: ValueError, if x has too few axes or an empty one; TypeError, if x is not floating.
    """
    name = f"global_max_pool({axes})"

    def run(x):
        one = _filled(name, x, (1,) * axes)
        return adaptive_pooling.adaptive_max_pool(x, one)[0].reshape(len(x), x.shape[-1])

    return image_layer(name, axes, run)


def gem_pool(axes: int = 2, *, power: float = 3.0, eps: float = 1e-6) -> Layer:
    """The generalised mean over all positions, ``y = (mean max(x, eps)^p)^(1/p)``, with p trained.

    p = 1 is the mean, large p nears the maximum. One p serves all channels.

    Shapes: x [..., H, W, C] -> y [..., C] for axes = 2; power [].
    Dtypes: params float32; powers as logarithms in float32 or wider, so that they cannot overflow;
        y has x.dtype.
    Units:  eps has those of x.
    Raises: ValueError, if power or eps is not positive, or x has too few axes; TypeError, if x is
        not floating.
    Source: Radenovic, Tolias, Chum 2018, https://arxiv.org/abs/1711.02512, section 3.2.
    """
    name = f"gem_pool({axes})"
    check_positive(name, axes=axes)
    if not (power > 0 and eps > 0):
        got = f"got power={power} and eps={eps}"
        raise LayerValueError(f"{name}: {got}, expected positive numbers.")

    def init(key):
        return {"power": constant(power)(key, ())}, {}

    def apply(params, state, x, *, key=None, train=False):
        images, part = join_batch(name, x, axes)
        (p,) = check_entries(name, "params", params, power=())
        n = math.prod(images.shape[1:-1])
        logs = jnp.log(jnp.maximum(widen(images), eps))
        p = p.astype(logs.dtype)
        log_mean = jax.nn.logsumexp(p * logs, tuple(range(1, axes + 1))) - math.log(max(n, 1))
        return part(jnp.exp(log_mean / p).astype(x.dtype)), state

    return Layer(init, apply, name)


def attention_pool(dim: int, heads: int) -> Layer:
    """One vector from many: a trained query attends to the positions of x.

    ``y = attention(query, x)``, of as many heads. ``layer(params, x, mask=mask)`` leaves positions
    out.

    Shapes: x [..., T, D] -> y [..., D]; mask [..., T]; query/embedding [1, D].
    Dtypes: params float32; scores and softmax in float32; mask boolean, True = takes part; where
        nothing takes part, y is what ``attention`` makes of zeros.
    Raises: ValueError, if heads does not divide dim, or a shape does not fit; TypeError, if x is
        not floating or mask not boolean.
    Source: Lee et al. 2019, https://arxiv.org/abs/1810.00825, section 3.2, with k = 1, without the
        feed-forward layers around it.
    """
    name = f"attention_pool({dim}, {heads})"
    check_positive(name, dim=dim, heads=heads)

    def query_init(key):
        return {"embedding": normal(dim**-0.5)(key, (1, dim))}, {}

    def query_apply(params, state, *, key=None, train=False):
        (embedding,) = check_entries(f"{name}: query", "params", params, embedding=(1, dim))
        return embedding, state

    def forward(net, x, *, mask=None):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., None, dim))
        if mask is not None:
            check_dtype(name, "mask", mask, jnp.bool_, "Make it True where a position takes part.")
            check_shape(name, "mask", mask, x.shape[:-1], "Give it one entry a position.")
            mask = mask[..., None, None, :]
        query = jnp.broadcast_to(net.query().astype(x.dtype), (*x.shape[:-2], 1, dim))
        return net.attention(query, x, mask=mask).squeeze(-2)

    query = Layer(query_init, query_apply, f"query({dim})")
    return compose(forward, name, query=query, attention=attention(dim, heads))


def _output_sizes(name: str, output_size: Sizes) -> tuple[int | None, ...]:
    """One integer an axis, or None where the axis stays."""
    several = isinstance(output_size, Sequence)
    sizes: Any = tuple(output_size) if several else (output_size,) * 2
    if not 1 <= len(sizes) <= 3:
        raise LayerValueError(f"{name}: got {len(sizes)} sizes, expected one to three.")
    for size in sizes:
        if size is not None:
            check_positive(name, output_size=size)
    return sizes


def _filled(name: str, x: jax.Array, sizes: Sequence[int | None]) -> tuple[int, ...]:
    """The sizes, None being x's own."""
    spatial = x.shape[1:-1]
    if 0 in spatial:
        raise LayerValueError(
            f"{name}: got x of spatial shape {spatial}, expected an entry for each bin."
        )
    return tuple(n if m is None else m for n, m in zip(spatial, sizes, strict=True))
