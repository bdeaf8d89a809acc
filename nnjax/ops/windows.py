"""Windows over spatial axes: what each place in them sees, and whether they tile."""

import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

Sizes = Sequence[int]
Pads = Sequence[tuple[int, int]]


def views(
    x: jax.Array, window: Sizes, stride: Sizes, pads: Pads, dilation: Sizes, fill: float = 0
) -> Iterator[jax.Array]:
    """What all windows over x [B, *spatial, C] have at their first place, their second, and so on.

    Arrays [B, *sites, C]; padding is ``fill``.
    """
    if np.any(pads):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=fill)
    sites = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[1:-1], window, stride, dilation, strict=True)
    ]
    for place in itertools.product(*map(range, window)):
        starts = [p * d for p, d in zip(place, dilation, strict=True)]
        limits = [a + (m - 1) * s + 1 for a, m, s in zip(starts, sites, stride, strict=True)]
        ends = (x.shape[0], *limits, x.shape[-1])
        yield jax.lax.slice(x, (0, *starts, 0), ends, (1, *stride, 1))


def tile(size: Sizes, window: Sizes, stride: Sizes, pads: Pads, dilation: Sizes) -> bool:
    """Whether every entry of an image of this size is in one window."""
    axes = zip(size, window, stride, pads, dilation, strict=True)
    return all(
        k == s and n % k == 0 and (before, after) == (0, 0) and (d == 1 or k == 1)
        for n, k, s, (before, after), d in axes
    )
