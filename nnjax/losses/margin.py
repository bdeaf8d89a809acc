"""Losses that ask for a margin: of scores against a sign, of a class's score, of embeddings."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from nnjax.core import check_shape
from nnjax.core.errors import LayerValueError
from nnjax.losses.reduction import Reduction, alike, integer_labels, reduce


def hinge_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``max(0, 1 - targets * scores)`` for targets of -1 and 1.

    Shapes: scores [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Raises: ValueError, if the shapes differ; TypeError, if scores are not floating.
    Source: Cortes, Vapnik 1995, https://doi.org/10.1007/BF00994018.
    """
    name = "hinge_loss"
    scores, targets = alike(name, mask, scores=scores, targets=targets)
    return reduce(name, optax.losses.hinge_loss(scores, targets), weights, mask, reduction)


def perceptron_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``max(0, -targets * scores)`` for targets of -1 and 1.

    Shapes: scores [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Raises: ValueError, if the shapes differ; TypeError, if scores are not floating.
    Source: Rosenblatt 1958, https://doi.org/10.1037/h0042519.
    """
    name = "perceptron_loss"
    scores, targets = alike(name, mask, scores=scores, targets=targets)
    return reduce(name, optax.losses.perceptron_loss(scores, targets), weights, mask, reduction)


def soft_margin_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``log(1 + exp(-targets * scores))`` for targets of -1 and 1: the logistic loss.

    Shapes: scores [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if scores are not floating.
    """
    name = "soft_margin_loss"
    scores, targets = alike(name, mask, scores=scores, targets=targets)
    return reduce(name, jax.nn.softplus(-targets * scores), weights, mask, reduction)


def margin_ranking_loss(
    first: ArrayLike,
    second: ArrayLike,
    targets: ArrayLike,
    *,
    margin: float = 0.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``max(0, margin - targets * (first - second))``; a target of 1 wants the first to be larger.

    Shapes: first [...], second [...], targets [...] of -1 and 1 -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  margin has those of the scores.
    Raises: ValueError, if the shapes differ; TypeError, if first is not floating.
    Source: Herbrich, Graepel, Obermayer 2000, "Large margin rank boundaries".
    """
    name = "margin_ranking_loss"
    first, second, targets = alike(name, mask, first=first, second=second, targets=targets)
    loss = jnp.maximum(0, margin - targets * (first - second))
    return reduce(name, loss, weights, mask, reduction)


def hinge_embedding_loss(
    distances: ArrayLike,
    targets: ArrayLike,
    *,
    margin: float = 1.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``distances`` of alike pairs (target 1), ``max(0, margin - distances)`` of others (-1).

    Shapes: distances [...], targets [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the distances, margin's too.
    Raises: ValueError, if the shapes differ; TypeError, if distances are not floating.
    """
    name = "hinge_embedding_loss"
    distances, targets = alike(name, mask, distances=distances, targets=targets)
    loss = jnp.where(targets > 0, distances, jnp.maximum(0, margin - distances))
    return reduce(name, loss, weights, mask, reduction)


def cosine_embedding_loss(
    first: ArrayLike,
    second: ArrayLike,
    targets: ArrayLike,
    *,
    margin: float = 0.0,
    eps: float = 1e-12,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``1 - cos`` of alike pairs (target 1), ``max(0, cos - margin)`` of others (-1).

    Shapes: first [..., D], second [..., D], targets [...] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  margin is a cosine; eps bounds the squared lengths from below.
    Raises: ValueError, if the shapes do not fit; TypeError, if first is not floating.
    """
    name = "cosine_embedding_loss"
    first, second = alike(name, mask, 1, first=first, second=second)
    check_shape(name, "targets", targets, first.shape[:-1], "Give one a pair.")
    cos = optax.losses.cosine_similarity(first, second, epsilon=eps)
    loss = jnp.where(jnp.asarray(targets) > 0, 1 - cos, jnp.maximum(0, cos - margin))
    return reduce(name, loss, weights, mask, reduction)


def multiclass_hinge_loss(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``max(0, 1 + max_{c != label} scores_c - scores_label)``: the worst rival's margin.

    Shapes: scores [..., C], labels [...] of integers -> [...].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Raises: ValueError, if the shapes do not fit; TypeError, if labels are not integers.
    Source: Crammer, Singer 2001, https://www.jmlr.org/papers/v2/crammer01a.html.
    """
    name = "multiclass_hinge_loss"
    (scores,) = alike(name, mask, 1, scores=scores)
    labels, valid = integer_labels(name, labels, scores.shape, mask)
    loss = optax.losses.multiclass_hinge_loss(scores, labels) * valid.astype(scores.dtype)
    return reduce(name, loss, weights, mask, reduction)


def multiclass_perceptron_loss(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``max_c scores_c - scores_label``.

    Shapes: scores [..., C], labels [...] of integers -> [...].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Raises: ValueError, if the shapes do not fit; TypeError, if labels are not integers.
    Source: Collins 2002, https://aclanthology.org/W02-1001/.
    """
    name = "multiclass_perceptron_loss"
    (scores,) = alike(name, mask, 1, scores=scores)
    labels, valid = integer_labels(name, labels, scores.shape, mask)
    loss = optax.losses.multiclass_perceptron_loss(scores, labels) * valid.astype(scores.dtype)
    return reduce(name, loss, weights, mask, reduction)


def multi_margin_loss(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 1.0,
    power: int = 1,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``sum_{c != label} max(0, margin - scores_label + scores_c)**power / C``: every rival's.

    Class weights are ``weights=class_weights[labels]``.

    Shapes: scores [..., C], labels [...] of integers -> [...].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Units:  margin has those of the scores.
    Raises: ValueError, if the shapes do not fit; TypeError, if labels are not integers.
    Source: Weston, Watkins 1999, "Support vector machines for multi-class pattern recognition".
    """
    name = "multi_margin_loss"
    (scores,) = alike(name, mask, 1, scores=scores)
    labels, valid = integer_labels(name, labels, scores.shape, mask)
    own = jnp.take_along_axis(scores, labels[..., None], -1)
    gaps = jnp.maximum(0, margin - own + scores) ** power
    rival = jnp.arange(scores.shape[-1]) != labels[..., None]
    loss = jnp.where(rival, gaps, 0).mean(-1) * valid.astype(scores.dtype)
    return reduce(name, loss, weights, mask, reduction)


def multilabel_margin_loss(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``sum max(0, 1 - scores_p + scores_n) / C`` over all pairs of a present p and an absent n.

    Shapes: scores [..., C], labels [..., C], 1 for present classes and 0 for absent -> [...].
    Dtypes: computed and returned in float32 or wider.
    Raises: ValueError, if the shapes differ; TypeError, if scores are not floating.
    Source: the pairwise form of Elisseeff, Weston 2001, "A kernel method for multi-labelled
            classification".
    """
    name = "multilabel_margin_loss"
    scores, labels = alike(name, mask, 1, scores=scores, labels=labels)
    gaps = jnp.maximum(0, 1 - scores[..., :, None] + scores[..., None, :])
    pairs = labels[..., :, None] * (labels == 0)[..., None, :].astype(labels.dtype)
    loss = (pairs * gaps).sum((-2, -1)) / scores.shape[-1]
    return reduce(name, loss, weights, mask, reduction)


def multilabel_soft_margin_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    class_weights: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``sum_c class_weights_c * sigmoid_binary_cross_entropy(logits_c, labels_c) / C``.

    Shapes: logits [..., C], labels [..., C] in [0, 1], class_weights [C] -> [...].
    Dtypes: labels of any dtype; computed and returned in float32 or wider.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if logits are not floating.
    """
    name = "multilabel_soft_margin_loss"
    logits, labels = alike(name, mask, 1, logits=logits, labels=labels)
    loss = optax.sigmoid_binary_cross_entropy(logits, labels)
    if class_weights is not None:
        check_shape(name, "class_weights", class_weights, logits.shape[-1:], "Give each class one.")
        loss = loss * jnp.asarray(class_weights, loss.dtype)
    return reduce(name, loss.mean(-1), weights, mask, reduction)


def capsule_margin_loss(
    lengths: ArrayLike,
    labels: ArrayLike,
    *,
    upper: float = 0.9,
    lower: float = 0.1,
    absent_weight: float = 0.5,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``sum_c T_c max(0, upper - l_c)**2 + absent_weight * (1 - T_c) max(0, l_c - lower)**2``.

    T is 1 for the class that is present, and l the length of a class's capsule.

    Shapes: lengths [..., C], labels [...] of integers -> [...].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Raises: ValueError, if the shapes do not fit; TypeError, if labels are not integers.
    Source: Sabour, Frosst, Hinton 2017, https://arxiv.org/abs/1710.09829, equation 4.
    """
    name = "capsule_margin_loss"
    (lengths,) = alike(name, mask, 1, lengths=lengths)
    labels, valid = integer_labels(name, labels, lengths.shape, mask)
    present = jnp.maximum(0, upper - lengths) ** 2
    absent = absent_weight * jnp.maximum(0, lengths - lower) ** 2
    own = jnp.arange(lengths.shape[-1]) == labels[..., None]
    loss = jnp.where(own, present, absent).sum(-1) * valid.astype(lengths.dtype)
    return reduce(name, loss, weights, mask, reduction)


def arcface_loss(
    cosines: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 0.5,
    scale: float = 64.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``softmax_cross_entropy(scale * cosines')``, the label's angle made larger by ``margin``.

    ``cosines`` are between unit embeddings and the unit vector of each class. Past an angle of
    ``pi - margin``, where ``cos(angle + margin)`` would rise again, it goes on as
    ``cos(angle) - margin * sin(margin)``.

    Shapes: cosines [..., C], labels [...] of integers -> [...].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Units:  nats; margin in radians.
    Raises: ValueError, if the shapes do not fit or margin is outside [0, pi); TypeError, if labels
            are not integers.
    Source: Deng et al. 2018, https://arxiv.org/abs/1801.07698, equation 3.
    """
    name = "arcface_loss"
    if not 0 <= margin < jnp.pi:
        raise LayerValueError(f"{name}: got margin={margin}, expected an angle in [0, pi).")
    (cosines,) = alike(name, mask, 1, cosines=cosines)
    labels, valid = integer_labels(name, labels, cosines.shape, mask)
    own = jnp.take_along_axis(cosines, labels[..., None], -1)
    sine = jnp.sqrt(jnp.maximum(1 - own**2, 1e-12))  # bounded, or its slope at an angle of 0 is not
    moved = own * jnp.cos(margin) - sine * jnp.sin(margin)
    moved = jnp.where(own > -jnp.cos(margin), moved, own - margin * jnp.sin(margin))
    logits = scale * jnp.where(jnp.arange(cosines.shape[-1]) == labels[..., None], moved, cosines)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return reduce(name, loss * valid.astype(loss.dtype), weights, mask, reduction)
