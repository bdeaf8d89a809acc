"""Losses of axis-aligned boxes ``(x1, y1, x2, y2)``: IoU, GIoU, DIoU, CIoU."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.core import check_shape
from nnjax.losses.reduction import Reduction, alike, reduce


def iou_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``1 - IoU``, the shared area over the joint one; no gradient between boxes that are apart.

    Shapes: predictions [..., 4], targets [..., 4] of corners (x1, y1, x2, y2) -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  a ratio of areas. A box with x2 < x1 or y2 < y1 is empty; two empty ones have IoU 0.
    Raises: ValueError, if the shapes do not fit; TypeError, if predictions are not floating.
    """
    return reduce(
        "iou_loss",
        1 - _overlap("iou_loss", predictions, targets, mask).iou,
        weights,
        mask,
        reduction,
    )


def giou_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``1 - IoU + (hull - union) / hull``, the hull being the smallest box around both.

    Shapes: predictions [..., 4], targets [..., 4] of corners (x1, y1, x2, y2) -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  ratios of areas; between 0 and 2.
    Raises: ValueError, if the shapes do not fit; TypeError, if predictions are not floating.
    Source: Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630, algorithm 1.
    """
    o = _overlap("giou_loss", predictions, targets, mask)
    hull = o.width * o.height
    loss = 1 - o.iou + _ratio(hull - o.union, hull)
    return reduce("giou_loss", loss, weights, mask, reduction)


def diou_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``1 - IoU + |centre - centre'|**2 / diagonal**2``, the diagonal of the box around both.

    Shapes: predictions [..., 4], targets [..., 4] of corners (x1, y1, x2, y2) -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  ratios of areas; between 0 and 2.
    Raises: ValueError, if the shapes do not fit; TypeError, if predictions are not floating.
    Source: Zheng et al. 2019, https://arxiv.org/abs/1911.08287, equation 7.
    """
    o = _overlap("diou_loss", predictions, targets, mask)
    return reduce("diou_loss", 1 - o.iou + o.centres, weights, mask, reduction)


def ciou_loss(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``diou_loss + a v`` with ``v = 4 / pi**2 * (atan(w / h) - atan(w' / h'))**2``.

    ``a = v / (1 - IoU + v)`` has no gradient.

    Shapes: predictions [..., 4], targets [..., 4] of corners (x1, y1, x2, y2) -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  ratios of areas.
    Raises: ValueError, if the shapes do not fit; TypeError, if predictions are not floating.
    Source: Zheng et al. 2019, https://arxiv.org/abs/1911.08287, equations 10 and 11.
    """
    o = _overlap("ciou_loss", predictions, targets, mask)
    v = 4 / jnp.pi**2 * jnp.square(o.angles[1] - o.angles[0])
    a = jax.lax.stop_gradient(_ratio(v, 1 - o.iou + v))
    return reduce("ciou_loss", 1 - o.iou + o.centres + a * v, weights, mask, reduction)


class _Overlap(NamedTuple):
    iou: jax.Array
    union: jax.Array
    width: jax.Array  # of the box around both
    height: jax.Array
    centres: jax.Array  # squared distance of the centres, over the squared diagonal around both
    angles: tuple[jax.Array, jax.Array]  # atan(w / h) of each


def _overlap(name: str, predictions: ArrayLike, targets: ArrayLike, mask) -> _Overlap:
    p, t = alike(name, mask, 1, predictions=predictions, targets=targets)
    check_shape(name, "predictions", p, (..., 4), "The last axis is x1, y1, x2, y2.")
    low, high = jnp.maximum(p[..., :2], t[..., :2]), jnp.minimum(p[..., 2:], t[..., 2:])
    shared = jnp.maximum(0, high - low).prod(-1)
    sides = [jnp.maximum(0, box[..., 2:] - box[..., :2]) for box in (p, t)]
    union = sides[0].prod(-1) + sides[1].prod(-1) - shared
    around = jnp.maximum(p[..., 2:], t[..., 2:]) - jnp.minimum(p[..., :2], t[..., :2])
    apart = (p[..., :2] + p[..., 2:] - t[..., :2] - t[..., 2:]) / 2
    centres = _ratio(jnp.square(apart).sum(-1), jnp.square(around).sum(-1))
    p_angle, t_angle = (jnp.arctan2(s[..., 0], jnp.maximum(s[..., 1], 1e-7)) for s in sides)
    iou = _ratio(shared, union)
    return _Overlap(iou, union, around[..., 0], around[..., 1], centres, (p_angle, t_angle))


def _ratio(a: jax.Array, b: jax.Array) -> jax.Array:
    """a / b, and 0 for 0 / 0."""
    return a / jnp.where(b == 0, 1, b)
