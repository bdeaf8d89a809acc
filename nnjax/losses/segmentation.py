"""Losses of overlap between predicted and true regions: dice, Tversky, Lovász."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.core import check_shape
from nnjax.losses.reduction import Reduction, alike, hide, integer_labels, is_integer, reduce


def dice_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    smooth: float = 1.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``mean_c 1 - (2 |P_c T_c| + 2 smooth) / (|P_c| + |T_c| + 2 smooth)``, P = softmax(logits).

    ``|.|`` sums over an example's pixels and T is the label, one-hot. One logit is a sigmoid's.

    Shapes: logits [B, ..., C]; labels [B, ...] of integers, or [B, ..., C] of probabilities; mask
            [B, ...], of pixels -> [B]. An example without a pixel left is hidden; weights [B].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Units:  1 less an overlap; smooth counts pixels.
    Raises: ValueError, if the shapes do not fit; TypeError, if logits are not floating.
    Source: Milletari, Navab, Ahmadi 2016, https://arxiv.org/abs/1606.04797; smooth as optax has it.
    """
    p, t, shown = _regions("dice_loss", logits, labels, mask)
    loss = 1 - _tversky_index(p, t, 0.5, 0.5, smooth).mean(-1)
    return reduce("dice_loss", loss, weights, shown, reduction)


def tversky_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    false_positives: float = 0.3,
    false_negatives: float = 0.7,
    gamma: float = 1.0,
    smooth: float = 1.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``mean_c (1 - (|PT| + smooth) / (|PT| + a |P (1 - T)| + b |(1 - P) T| + smooth))**gamma``.

    a and b weigh false positives and false negatives: 1/2 each is dice_loss, 1 each the soft
    intersection over union. A gamma other than 1 is the focal form.

    Shapes: as dice_loss: logits [B, ..., C], labels [B, ...] or [B, ..., C], mask [B, ...] -> [B].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Units:  1 less an overlap; smooth counts pixels.
    Raises: ValueError, if the shapes do not fit; TypeError, if logits are not floating.
    Source: Salehi et al. 2017, https://arxiv.org/abs/1706.05721, equation 4; gamma from
            Abraham, Khan 2018, https://arxiv.org/abs/1810.07842, there 1 / gamma.
    """
    name = "tversky_loss"
    p, t, shown = _regions(name, logits, labels, mask)
    loss = 1 - _tversky_index(p, t, false_positives, false_negatives, smooth)
    loss = loss if gamma == 1 else loss**gamma
    return reduce(name, loss.mean(-1), weights, shown, reduction)


def generalized_dice_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    eps: float = 1e-6,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``1 - 2 sum_c w_c |P_c T_c| / sum_c w_c (|P_c| + |T_c|)`` with ``w_c = 1 / |T_c|**2``.

    Rare classes weigh as much as common ones. A class that is absent has weight 0. (optax's
    multiclass_generalized_dice_loss is another formula: the mean of class-weighted dice losses,
    the weights counted over the whole batch.)

    Shapes: as dice_loss: logits [B, ..., C], labels [B, ...] or [B, ..., C], mask [B, ...] -> [B].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Units:  1 less an overlap.
    Raises: ValueError, if the shapes do not fit; TypeError, if logits are not floating.
    Source: Sudre et al. 2017, https://arxiv.org/abs/1707.03237, section 2.1.
    """
    name = "generalized_dice_loss"
    p, t, shown = _regions(name, logits, labels, mask)
    size = t.sum(1)
    w = jnp.where(size > eps, 1 / jnp.square(jnp.maximum(size, eps)), 0)
    both, total = (w * (p * t).sum(1)).sum(-1), (w * (p.sum(1) + size)).sum(-1)
    loss = 1 - 2 * both / jnp.where(total > 0, total, 1)
    return reduce(name, loss, weights, shown, reduction)


def lovasz_softmax_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """The Lovász extension of ``1 - IoU`` at the errors ``|T_c - softmax(logits)_c|``.

    Mean over the classes that an example's labels have.

    Shapes: logits [B, ..., C], labels [B, ...] of integers; mask [B, ...], of pixels -> [B]. An
            example without a pixel left is hidden; weights [B].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Units:  1 less an intersection over union.
    Raises: ValueError, if the shapes do not fit; TypeError, if labels are not integers.
    Source: Berman, Rannen Triki, Blaschko 2018, https://arxiv.org/abs/1705.08790, equation 11.
    """
    name = "lovasz_softmax_loss"
    p, t, shown = _regions(name, logits, labels, mask)
    p, t = jnp.moveaxis(p, 1, -1), jnp.moveaxis(t, 1, -1)  # [B, C, pixels]
    loss = _lovasz(jnp.abs(t - p), t)
    present = (t.sum(-1) != 0).astype(loss.dtype)
    loss = (loss * present).sum(-1) / jnp.maximum(present.sum(-1), 1)
    return reduce(name, loss, weights, shown, reduction)


def lovasz_hinge_loss(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """The Lovász extension of ``1 - IoU`` of one class at the errors ``max(0, 1 - s * scores)``.

    The sign s is 1 where the label is, else -1.

    Shapes: scores [B, ...], labels [B, ...] of 0 and 1; mask [B, ...], of pixels -> [B]. An example
            without a pixel left is hidden; weights [B].
    Dtypes: labels of any dtype; computed and returned in float32 or wider.
    Units:  1 less an intersection over union.
    Raises: ValueError, if the shapes differ; TypeError, if scores are not floating.
    Source: Berman, Rannen Triki, Blaschko 2018, https://arxiv.org/abs/1705.08790, section 3.1.
    """
    name = "lovasz_hinge_loss"
    scores, labels = alike(name, mask, scores=scores, labels=labels)
    check_shape(name, "scores", scores, (None, ...), "Give it an axis of examples.")
    errors = hide(name, jnp.maximum(0, 1 - (2 * labels - 1) * scores), mask)
    rows = lambda x: x.reshape(x.shape[0], x[:1].size if x.shape[0] else 1)
    shown = None if mask is None else rows(_shown(mask, scores.shape)).any(-1)
    return reduce(name, _lovasz(rows(errors), rows(labels)), weights, shown, reduction)


def _lovasz(errors: jax.Array, t: jax.Array) -> jax.Array:
    """``errors`` in descending order times what each adds to the Jaccard distance; [..., P]."""
    order = jnp.argsort(-jax.lax.stop_gradient(errors), -1)
    t = jnp.take_along_axis(t, order, -1)
    inside = t.sum(-1, keepdims=True) - jnp.cumsum(t, -1)
    union = t.sum(-1, keepdims=True) + jnp.cumsum(1 - t, -1)
    jaccard = 1 - inside / jnp.where(union > 0, union, 1)
    gain = jnp.diff(jaccard, axis=-1, prepend=jnp.zeros_like(jaccard[..., :1]))
    return (jnp.take_along_axis(errors, order, -1) * gain).sum(-1)


def _tversky_index(p, t, false_positives, false_negatives, smooth) -> jax.Array:
    both = (p * t).sum(1)
    wrong = false_positives * (p.sum(1) - both) + false_negatives * (t.sum(1) - both)
    return (both + smooth) / jnp.where(both + wrong + smooth == 0, 1, both + wrong + smooth)


def _regions(name, logits, labels, mask):
    """Probabilities and labels [B, pixels, C], 0 where hidden, and which examples have a pixel."""
    (logits,) = alike(name, mask, 1, logits=logits)
    check_shape(name, "logits", logits, (None, ..., None), "Give it an axis of examples.")
    classes = logits.shape[-1]
    p = jax.nn.sigmoid(logits) if classes == 1 else jax.nn.softmax(logits)
    if is_integer(labels) and jnp.shape(labels) != logits.shape:
        labels, valid = integer_labels(name, labels, (*logits.shape[:-1], max(classes, 2)), mask)
        valid = valid.astype(p.dtype)[..., None]
        one_hot = jax.nn.one_hot(labels, classes, dtype=p.dtype)
        labels = one_hot if classes > 1 else labels[..., None].astype(p.dtype)
        p, labels = p * valid, labels * valid
    p, t = alike(name, mask, 1, logits=p, labels=labels)
    shown = None
    if mask is not None:
        shown = _shown(mask, p.shape[:-1]).reshape(p.shape[0], -1).any(-1)
    pixels = lambda x: x.reshape(x.shape[0], -1, classes) if x.size else x.reshape(0, 1, classes)
    return pixels(p), pixels(t), shown


def _shown(mask: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray(mask), shape)
