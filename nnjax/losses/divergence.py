"""Losses between distributions over classes: Kullback-Leibler divergences and distillation."""

import jax
import optax
from jax.typing import ArrayLike

from nnjax.core.errors import LayerValueError
from nnjax.losses.reduction import Reduction, alike, reduce


def kl_divergence(
    log_predictions: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``KL(targets || predictions) = sum_c targets_c * (log targets_c - log_predictions_c)``.

    Shapes: log_predictions [..., C], targets [..., C] of probabilities -> [...].
    Dtypes: computed and returned in float32 or wider. A target of 0 adds 0.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if log_predictions are not floating.
    Source: Kullback, Leibler 1951, https://www.jstor.org/stable/2236703.
    """
    name = "kl_divergence"
    log_p, targets = alike(name, mask, 1, log_predictions=log_predictions, targets=targets)
    return reduce(name, optax.losses.kl_divergence(log_p, targets), weights, mask, reduction)


def kl_divergence_with_log_targets(
    log_predictions: ArrayLike,
    log_targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``kl_divergence`` with the logarithms of the targets, where their probabilities underflow.

    Shapes: log_predictions [..., C], log_targets [..., C] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if log_predictions are not floating.
    """
    name = "kl_divergence_with_log_targets"
    log_p, log_q = alike(name, mask, 1, log_predictions=log_predictions, log_targets=log_targets)
    loss = optax.losses.kl_divergence_with_log_targets(log_p, log_q)
    return reduce(name, loss, weights, mask, reduction)


def generalized_kl_divergence(
    log_predictions: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``sum_c targets_c * log(targets_c / predictions_c) - targets_c + predictions_c``.

    It is the divergence of things that need not sum to one, such as rates or spectra.

    Shapes: log_predictions [..., C], targets [..., C], not negative -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the targets.
    Raises: ValueError, if the shapes differ; TypeError, if log_predictions are not floating.
    Source: Lee, Seung 1999, https://doi.org/10.1038/44565.
    """
    name = "generalized_kl_divergence"
    log_p, targets = alike(name, mask, 1, log_predictions=log_predictions, targets=targets)
    loss = optax.losses.generalized_kl_divergence(log_p, targets)
    return reduce(name, loss, weights, mask, reduction)


def distillation_loss(
    logits: ArrayLike,
    teacher_logits: ArrayLike,
    *,
    temperature: float = 2.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``T**2 * KL(softmax(teacher_logits / T) || softmax(logits / T))`` at temperature T.

    The factor keeps the gradient's size at any temperature. No gradient flows to the teacher.

    Shapes: logits [..., C], teacher_logits [..., C] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  nats.
    Raises: ValueError, if the shapes differ or the temperature is not above 0; TypeError, if logits
            are not floating.
    Source: Hinton, Vinyals, Dean 2015, https://arxiv.org/abs/1503.02531, section 2.
    """
    name = "distillation_loss"
    if not temperature > 0:
        raise LayerValueError(f"{name}: got temperature={temperature}, expected above 0.")
    logits, teacher = alike(name, mask, 1, logits=logits, teacher_logits=teacher_logits)
    log_p = jax.nn.log_softmax(logits / temperature)
    log_q = jax.lax.stop_gradient(jax.nn.log_softmax(teacher / temperature))
    loss = temperature**2 * optax.losses.kl_divergence_with_log_targets(log_p, log_q)
    return reduce(name, loss, weights, mask, reduction)
