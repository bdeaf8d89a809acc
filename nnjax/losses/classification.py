"""Losses over classes: optax's, behind a door that refuses what merely broadcasts."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from nnjax.core import check_shape
from nnjax.core.errors import LayerTypeError
from nnjax.losses.reduction import Reduction, alike, integer_labels, is_integer, reduce


def softmax_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    class_weights: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-sum(labels * log softmax(logits))``, or ``-log softmax(logits)[label]`` for integers.

    Class c counts ``class_weights[c]`` times, in the mean too. ``label_smoothing`` is the share of
    each label that is spread evenly over all classes. An index to ignore is a mask:
    ``mask=labels != -100``.

    Shapes: logits [..., C]; labels [...] of integers, or [..., C] of probabilities; class_weights
            [C] -> [...].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN, in the loss
            and in the gradient of its example.
    Units:  nats.
    Raises: ValueError, if the shapes do not fit; TypeError, if logits are not floating or labels
            neither integers nor floating.
    Source: label smoothing from https://arxiv.org/abs/1512.00567, section 7.
    """
    name = "softmax_cross_entropy"
    (logits,) = alike(name, mask, 1, logits=logits)
    c, counts = None, None
    if class_weights is not None:
        check_shape(name, "class_weights", class_weights, logits.shape[-1:], "Give each class one.")
        c = jnp.asarray(class_weights, logits.dtype)
    if is_integer(labels):
        labels, valid = integer_labels(name, labels, logits.shape, mask)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        loss = loss * valid.astype(loss.dtype)
        if c is not None:
            counts = c[labels]
            loss = loss * counts
    else:
        _refuse_booleans(name, labels)
        logits, labels = alike(name, mask, 1, logits=logits, labels=labels)
        if c is not None:
            labels = labels * c
            counts = labels.sum(-1)
        taken = (labels != 0) | (logits != -jnp.inf)  # 0 log 0 = 0
        loss = optax.softmax_cross_entropy(logits, labels, where=taken)
    if label_smoothing:
        log_p = jax.nn.log_softmax(logits)
        even = -(log_p if c is None else log_p * c).mean(-1)
        loss = (1 - label_smoothing) * loss + label_smoothing * even
    return reduce(name, loss, weights, mask, reduction, counts)


def negative_log_likelihood(
    log_probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    class_weights: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-log_probabilities[label]``, for what is normalised already; else softmax_cross_entropy.

    Shapes: log_probabilities [..., C], labels [...] of integers, class_weights [C] -> [...].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Units:  nats.
    Raises: ValueError, if the shapes do not fit; TypeError, if labels are not integers.
    """
    name = "negative_log_likelihood"
    (log_p,) = alike(name, mask, 1, log_probabilities=log_probabilities)
    labels, valid = integer_labels(name, labels, log_p.shape, mask)
    loss = -jnp.take_along_axis(log_p, labels[..., None], -1)[..., 0] * valid.astype(log_p.dtype)
    counts = None
    if class_weights is not None:
        check_shape(name, "class_weights", class_weights, log_p.shape[-1:], "Give each class one.")
        counts = jnp.asarray(class_weights, log_p.dtype)[labels]
        loss = loss * counts
    return reduce(name, loss, weights, mask, reduction, counts)


def sigmoid_binary_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    positive_weight: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-labels * log sigmoid(logits) - (1 - labels) * log sigmoid(-logits)``, entry by entry.

    ``positive_weight`` multiplies the first term, against rare positives.

    Shapes: logits [...], labels [...] -> [...], all the same; positive_weight [] or, one a class,
            [C] of the last axis.
    Dtypes: labels in [0, 1], of any dtype; computed and returned in float32 or wider.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if logits are not floating.
    """
    name = "sigmoid_binary_cross_entropy"
    logits, labels = alike(name, mask, logits=logits, labels=labels)
    loss = optax.sigmoid_binary_cross_entropy(logits, labels)
    if positive_weight is not None:
        w = jnp.asarray(positive_weight, logits.dtype)
        if w.shape:
            check_shape(name, "positive_weight", w, logits.shape[-1:], "Give one, or one a class.")
        loss = loss - (w - 1) * labels * jax.nn.log_sigmoid(logits)
    return reduce(name, loss, weights, mask, reduction)


def sigmoid_focal_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-(1 - p)**gamma * log p``, p being the probability given to what is true; 1 logit a class.

    ``alpha`` weighs the positives and ``1 - alpha`` the negatives.

    Shapes: logits [...], labels [...] -> [...], all the same.
    Dtypes: labels in [0, 1], of any dtype; computed and returned in float32 or wider.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if logits are not floating.
    Source: Lin et al. 2017, https://arxiv.org/abs/1708.02002, equations 4 and 5.
    """
    name = "sigmoid_focal_loss"
    logits, labels = alike(name, mask, logits=logits, labels=labels)
    loss = optax.losses.sigmoid_focal_loss(logits, labels, alpha=alpha, gamma=gamma)
    return reduce(name, loss, weights, mask, reduction)


def softmax_focal_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    gamma: float = 2.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-(1 - p)**gamma * log p`` with ``p = softmax(logits)[label]``.

    Shapes: logits [..., C], labels [...] of integers -> [...].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Units:  nats.
    Raises: ValueError, if the shapes do not fit; TypeError, if labels are not integers.
    Source: Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 4, over several classes.
    """
    name = "softmax_focal_loss"
    (logits,) = alike(name, mask, 1, logits=logits)
    labels, valid = integer_labels(name, labels, logits.shape, mask)
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    entropy = entropy * valid.astype(entropy.dtype)
    return reduce(name, (-jnp.expm1(-entropy)) ** gamma * entropy, weights, mask, reduction)


def poly_loss_cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: float = 2.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-log p + epsilon * (1 - p)`` with ``p = softmax(logits)[label]``.

    Shapes: logits [..., C]; labels [...] of integers, or [..., C] of probabilities -> [...].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Units:  nats.
    Raises: ValueError, if the shapes do not fit; TypeError, if logits are not floating.
    Source: Leng et al. 2022, https://arxiv.org/abs/2204.12511, equation 3.
    """
    name = "poly_loss_cross_entropy"
    (logits,) = alike(name, mask, 1, logits=logits)
    valid = jnp.ones(logits.shape[:-1], logits.dtype)
    if is_integer(labels):
        labels, valid = integer_labels(name, labels, logits.shape, mask)
        labels = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    _refuse_booleans(name, labels)
    logits, labels = alike(name, mask, 1, logits=logits, labels=labels)
    loss = optax.losses.poly_loss_cross_entropy(logits, labels, epsilon=epsilon)
    return reduce(name, loss * valid.astype(loss.dtype), weights, mask, reduction)


def z_loss(
    logits: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``logsumexp(logits)**2``: some 1e-4 of it beside a cross entropy keeps logits from drifting.

    Shapes: logits [..., C] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  nats squared.
    Raises: ValueError, if logits have no axis of classes; TypeError, if they are not floating.
    Source: Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311, section 5.
    """
    (logits,) = alike("z_loss", mask, 1, logits=logits)
    return reduce("z_loss", jax.nn.logsumexp(logits, -1) ** 2, weights, mask, reduction)


def sparsemax_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """Sparsemax's counterpart of the cross entropy; 0 once the label leads by a margin of 1.

    ``sum_c p_c (z_c - z_label) + (1 - sum_c p_c^2) / 2`` with ``p = sparsemax(z)``, the point of
    the simplex nearest to the logits z.

    Shapes: logits [..., C], labels [...] of integers -> [...].
    Dtypes: computed and returned in float32 or wider. A label outside [0, C) gives NaN.
    Raises: ValueError, if the shapes do not fit; TypeError, if labels are not integers.
    Source: Martins, Astudillo 2016, https://arxiv.org/abs/1602.02068, section 3. It is optax's
            multiclass_sparsemax_loss; optax's sparsemax_loss is the case of one logit.
    """
    name = "sparsemax_loss"
    (logits,) = alike(name, mask, 1, logits=logits)
    labels, valid = integer_labels(name, labels, logits.shape, mask)
    rows = logits.reshape(-1, logits.shape[-1])
    with jax.numpy_dtype_promotion("standard"):  # optax's mixes dtypes
        loss = optax.losses.multiclass_sparsemax_loss(rows, labels.ravel())
    loss = loss.reshape(labels.shape)
    return reduce(name, loss * valid.astype(loss.dtype), weights, mask, reduction)


def ranking_softmax_loss(
    scores: ArrayLike,
    relevances: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-sum_i relevance_i * log softmax(scores)_i`` over the items of a list.

    Shapes: scores [..., L], relevances [..., L] -> [...]. Here the mask is [..., L], of items; a
            list with none of its items left is hidden. weights [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if scores are not floating.
    Source: Xia et al. 2008, https://doi.org/10.1145/1390156.1390306, ListNet's top-1 form.
    """
    name = "ranking_softmax_loss"
    scores, relevances = alike(name, mask, scores=scores, relevances=relevances)
    check_shape(name, "scores", scores, (..., None), "Give it an axis of items.")
    items = None if mask is None else jnp.broadcast_to(jnp.asarray(mask), scores.shape)
    lists = None if items is None else items.any(-1)
    if items is not None:  # or an empty list would be log softmax of nothing
        items = items | ~items.any(-1, keepdims=True)
    loss = optax.losses.ranking_softmax_loss(scores, relevances, where=items, reduce_fn=None)
    return reduce(name, loss, weights, lists, reduction)


def _refuse_booleans(name: str, labels: ArrayLike) -> None:
    if jnp.issubdtype(jnp.result_type(labels), jnp.floating):
        return
    got = f"got labels of dtype {jnp.result_type(labels)}, expected integers or probabilities"
    fix = (
        "Classes are integers, labels.astype(int); rows of one-hot labels are probabilities, "
        "labels.astype(jnp.float32); yes or no for one logit is sigmoid_binary_cross_entropy."
    )
    raise LayerTypeError(f"{name}: {got}. {fix}")
