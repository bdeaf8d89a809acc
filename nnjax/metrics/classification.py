"""Classification: everything that a confusion matrix tells, and accuracies."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from nnjax.core import check_dtype, check_positive, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.metrics.metric import Metric, divide, labels_of, rows, summed

Average = Literal["micro", "macro", "weighted", "none"]


def accuracy() -> Metric:
    """The share of rows whose largest score is the label's; of equal scores, the first counts.

    Shapes: scores [..., C], labels [...] of integers; mask [...].
    """
    return _hits("accuracy", lambda scores, labels: scores.argmax(-1) == labels)


def top_k_accuracy(k: int) -> Metric:
    """The share of rows in which fewer than k classes score above the label, or as much before it.

    Shapes: scores [..., C], labels [...] of integers; mask [...].
    """
    check_positive("top_k_accuracy", k=k)

    def hit(scores, labels):
        own = jnp.take_along_axis(scores, labels[:, None], -1)
        earlier = jnp.arange(scores.shape[-1]) < labels[:, None]
        return ((scores > own) | ((scores == own) & earlier)).sum(-1) < k

    return _hits(f"top_k_accuracy({k})", hit)


def _hits(name: str, hit: Callable[[jax.Array, jax.Array], jax.Array]) -> Metric:
    def measure(scores, labels, mask=None):
        kept = rows(name, mask, jnp.shape(labels)).reshape(-1)
        hits = hit(*labels_of(name, scores, labels)) & kept
        return {"hits": hits.sum(dtype=jnp.int32), "count": kept.sum(dtype=jnp.int32)}

    count = jax.ShapeDtypeStruct((), jnp.int32)
    compute = lambda state: divide(state["hits"], state["count"])
    return summed(name, measure, compute, {"hits": count, "count": count})


def confusion_matrix(classes: int) -> Metric:
    """``matrix[i, j]`` rows of class i were taken for class j, as in scikit-learn.

    Shapes: predictions [..., C] of scores or [...] of integers, labels [...] -> [C, C] in int32.
    """
    return _from_matrix("confusion_matrix", classes, lambda matrix: matrix)


def precision(classes: int, *, average: Average = "macro") -> Metric:
    """``true positives / predicted positives`` a class; 0 where nothing was predicted."""
    share = lambda m: (jnp.diagonal(m), m.sum(0))
    return _averaged_over_classes("precision", classes, average, share)


def recall(classes: int, *, average: Average = "macro") -> Metric:
    """``true positives / positives`` a class; 0 for a class that does not occur."""
    share = lambda m: (jnp.diagonal(m), m.sum(1))
    return _averaged_over_classes("recall", classes, average, share)


def f_beta(classes: int, *, beta: float = 1.0, average: Average = "macro") -> Metric:
    """``(1 + beta^2) P R / (beta^2 P + R)`` of precision P and recall R, a class."""

    def share(m):
        hits = jnp.diagonal(m).astype(jnp.float32)
        predicted, true = (m.sum(axis).astype(jnp.float32) for axis in (0, 1))
        return (1 + beta**2) * hits, beta**2 * true + predicted

    return _averaged_over_classes("f_beta", classes, average, share)


def iou(classes: int, *, average: Average = "macro") -> Metric:
    """Intersection over union (Jaccard), ``TP / (TP + FP + FN)`` a class."""
    share = lambda m: (jnp.diagonal(m), m.sum(0) + m.sum(1) - jnp.diagonal(m))
    return _averaged_over_classes("iou", classes, average, share)


def dice(classes: int, *, average: Average = "macro") -> Metric:
    """``2 TP / (2 TP + FP + FN)`` a class: F1 of pixels or rows."""
    share = lambda m: (2 * jnp.diagonal(m), m.sum(0) + m.sum(1))
    return _averaged_over_classes("dice", classes, average, share)


def balanced_accuracy(classes: int) -> Metric:
    """Mean recall of the classes that occur."""

    def compute(m):
        recalls = divide(jnp.diagonal(m), m.sum(1))
        return jnp.nanmean(recalls)

    return _from_matrix("balanced_accuracy", classes, compute)


def matthews_correlation(classes: int) -> Metric:
    """Correlation of prediction and label over classes; 0 where one of them never varies.

    Source: Gorodkin 2004, https://doi.org/10.1016/j.compbiolchem.2004.09.006, equation 8.
    """

    def compute(m):
        m = m / jnp.maximum(m.sum(), 1)  # shares: products of counts would leave float32
        predicted, true, hits = m.sum(0), m.sum(1), jnp.trace(m)
        covariance = hits - predicted @ true
        spread = (1 - predicted @ predicted) * (1 - true @ true)
        return divide(covariance, jnp.sqrt(jnp.maximum(spread, 0)), 0.0)

    return _from_matrix("matthews_correlation", classes, lambda m: _or_nan(m, compute(_real(m))))


def cohen_kappa(
    classes: int, *, weights: Literal["none", "linear", "quadratic"] = "none"
) -> Metric:
    """``1 - observed / expected disagreement``, weighted by 1, |i - j| or (i - j)^2.

    Source: Cohen 1960, https://doi.org/10.1177/001316446002000104; weights: Cohen 1968.
    """
    gap = jnp.abs(jnp.arange(classes)[:, None] - jnp.arange(classes)).astype(jnp.float32)
    table = {"none": (gap > 0).astype(jnp.float32), "linear": gap, "quadratic": gap**2}
    if weights not in table:
        raise LayerValueError(f"cohen_kappa: got weights={weights!r}, expected {list(table)}.")

    def compute(m):
        m = m / jnp.maximum(m.sum(), 1)
        expected = jnp.outer(m.sum(1), m.sum(0))
        return 1 - divide((table[weights] * m).sum(), (table[weights] * expected).sum())

    return _from_matrix("cohen_kappa", classes, lambda m: compute(_real(m)))


def _averaged_over_classes(name, classes, average: Average, share) -> Metric:
    if average not in ("micro", "macro", "weighted", "none"):
        expected = "'micro', 'macro', 'weighted' or 'none' (one value a class)"
        raise LayerValueError(f"{name}: got average={average!r}, expected {expected}.")

    def compute(m):
        part, whole = share(m)
        if average == "micro":
            return _or_nan(m, divide(part.sum(), whole.sum(), 0.0))
        values = divide(part, whole, 0.0)
        if average == "none":
            return values
        seen = (m.sum(0) + m.sum(1) > 0) if average == "macro" else m.sum(1)
        return divide(values @ seen.astype(jnp.float32), seen.sum())

    return _from_matrix(name, classes, compute)


def _from_matrix(name: str, classes: int, compute: Callable[[jax.Array], Any]) -> Metric:
    check_positive(name, classes=classes)
    name = f"{name}({classes})"

    def measure(predictions, labels, mask=None):
        check_dtype(name, "labels", labels, jnp.integer, "Labels are class numbers.")
        predictions, labels = jnp.asarray(predictions), jnp.asarray(labels)
        if jnp.issubdtype(predictions.dtype, jnp.floating):
            check_shape(name, "predictions", predictions, (*labels.shape, classes))
            predictions = predictions.argmax(-1)
        check_shape(name, "predictions", predictions, labels.shape, "One prediction a label.")
        kept = rows(name, mask, labels.shape) & (labels >= 0) & (labels < classes)
        kept &= (predictions >= 0) & (predictions < classes)
        cell = labels.astype(jnp.int32) * classes + predictions.astype(jnp.int32)
        cell = jnp.where(kept, cell, classes**2).reshape(-1)  # beyond the end: dropped
        counts = jnp.zeros(classes**2, jnp.int32).at[cell].add(1, mode="drop")
        return counts.reshape(classes, classes)

    return summed(name, measure, compute, jax.ShapeDtypeStruct((classes, classes), jnp.int32))


def _real(matrix):
    return matrix.astype(jnp.float32)


def _or_nan(matrix, value):
    return jnp.where(matrix.sum() > 0, value, jnp.nan)
