"""Metrics of random rows, with ties, empty classes and hidden rows, against scikit-learn."""

import functools
import warnings
from typing import Any

import hypothesis
import jax
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from hypothesis import given, strategies as st

from nnjax import metrics

ROWS, CLASSES = 10, 4  # one shape, so that a metric compiles once; a mask says how many rows count

classes = st.integers(0, CLASSES - 1)
quarters = st.integers(-6, 6).map(lambda n: n / 4)  # a few levels: ties
column = lambda entries: st.lists(entries, min_size=ROWS, max_size=ROWS).map(np.array)
masks = column(st.booleans()).filter(lambda mask: mask.any())
assert hypothesis.settings.get_current_profile_name() == "nnjax"  # tests.properties loads it
compiled_averages: dict[str, Any] = {}
AVERAGES: list[Any] = ["micro", "macro", "weighted", "none"]


@functools.cache
def compiled(maker, settings):
    metric = getattr(metrics, maker)(**dict(settings))
    return jax.jit(lambda *batch, mask: metric(*batch, mask=mask))


def agrees(maker, reference, *batch, mask, **settings):
    run = compiled(maker, tuple(settings.items()))
    batch = [a.astype(np.float32 if a.dtype == float else np.int32) for a in batch]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that do not occur
        want = reference(*(a[mask] for a in batch))
    np.testing.assert_allclose(run(*batch, mask=mask), want, rtol=1e-5, atol=1e-6)


LABELS = range(CLASSES)
AVERAGED = {
    "precision": sk.precision_score,
    "recall": sk.recall_score,
    "iou": sk.jaccard_score,
    "dice": sk.f1_score,
    "f_beta": functools.partial(sk.fbeta_score, beta=2.0),
}


@pytest.mark.parametrize("name", list(AVERAGED))
@given(column(classes), column(classes), masks)
def test_averages_over_classes(name, predictions, labels, mask):
    options = {"beta": 2.0} if name == "f_beta" else {}
    make = lambda average: getattr(metrics, name)(CLASSES, average=average, **options)
    if name not in compiled_averages:
        all_of_them = metrics.collection(**{average: make(average) for average in AVERAGES})
        compiled_averages[name] = jax.jit(lambda *batch, mask: all_of_them(*batch, mask=mask))
    got = compiled_averages[name](predictions, labels, mask=mask)
    theirs = functools.partial(AVERAGED[name], labels[mask], predictions[mask], zero_division=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that do not occur
        for average in AVERAGES:
            each: Any = {"labels": LABELS, "average": None}
            want = theirs(**(each if average == "none" else {"average": average}))
            np.testing.assert_allclose(got[average], want, rtol=1e-5, atol=1e-6)


MATRIX = {
    "confusion_matrix": ({}, functools.partial(sk.confusion_matrix, labels=LABELS)),
    "balanced_accuracy": ({}, sk.balanced_accuracy_score),
    "matthews_correlation": ({}, sk.matthews_corrcoef),
    "cohen_kappa": ({}, functools.partial(sk.cohen_kappa_score, labels=LABELS)),
    "cohen_kappa linear": (
        {"weights": "linear"},
        functools.partial(sk.cohen_kappa_score, labels=LABELS, weights="linear"),
    ),
    "cohen_kappa quadratic": (
        {"weights": "quadratic"},
        functools.partial(sk.cohen_kappa_score, labels=LABELS, weights="quadratic"),
    ),
}


@pytest.mark.parametrize("name", list(MATRIX))
@given(column(classes), column(classes), masks)
def test_of_the_confusion_matrix(name, predictions, labels, mask):
    settings, theirs = MATRIX[name]
    reference = lambda predictions, labels: theirs(labels, predictions)
    maker = name.partition(" ")[0]
    agrees(maker, reference, predictions, labels, mask=mask, classes=CLASSES, **settings)


def first_of_the_best(scores, labels):
    return sk.accuracy_score(labels, scores.argmax(-1))


@given(column(st.tuples(*[quarters] * CLASSES)), column(classes), masks)
def test_accuracy(scores, labels, mask):
    agrees("accuracy", first_of_the_best, scores, labels, mask=mask)


def correlation(kind):
    return lambda x, y: kind(x, y).statistic if len(x) > 1 else np.nan


REGRESSION = {
    "mean_squared_error": lambda x, y: sk.mean_squared_error(y, x),
    "root_mean_squared_error": lambda x, y: sk.root_mean_squared_error(y, x),
    "mean_absolute_error": lambda x, y: sk.mean_absolute_error(y, x),
    "r2": lambda x, y: sk.r2_score(y, x) if np.ptp(y) else np.nan,  # there 0 or 1
    "pearson": correlation(scipy.stats.pearsonr),
    "spearman": correlation(scipy.stats.spearmanr),
}


@pytest.mark.parametrize("name", list(REGRESSION))
@given(column(quarters), column(quarters), masks)
def test_regression(name, predictions, targets, mask):
    agrees(name, REGRESSION[name], predictions, targets, mask=mask)


RANKING = {
    "roc_auc": lambda s, y: sk.roc_auc_score(y, s) if 0 < y.sum() < len(y) else np.nan,
    "average_precision": lambda s, y: sk.average_precision_score(y, s) if y.any() else np.nan,
}


@pytest.mark.parametrize("name", list(RANKING))
@given(column(quarters), column(st.integers(0, 1)), masks)
def test_ranking(name, scores, labels, mask):
    agrees(name, RANKING[name], scores, labels, mask=mask)


@pytest.mark.parametrize("k", [None, 3])
@given(
    column(st.tuples(*[quarters] * 5)),
    column(st.tuples(*[st.integers(0, 3)] * 5)),
    masks,
)
def test_ndcg(k, scores, relevance, mask):
    reference = lambda scores, relevance: sk.ndcg_score(relevance, scores, k=k)
    agrees("ndcg", reference, scores, relevance, mask=mask, k=k)
