"""Ranking: areas under curves, and what of the relevant comes first."""

import jax
import jax.numpy as jnp

from nnjax.core import check_positive, check_shape
from nnjax.metrics.metric import Metric, averaged, collected, divide
from nnjax.metrics.regression import ranks
from nnjax.ops.precision import widen


def roc_auc(*, capacity: int | None = None) -> Metric:
    """The chance that a positive scores above a negative, ties counted half.

    NaN without both kinds. Exact, so it needs all rows: give the ``capacity`` for a state of one
    shape.

    Shapes: scores [...], labels [...] of 0 and 1 or booleans; mask [...].
    Source: Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747.
    """

    def compute(table, kept):
        positive = table["labels"] & kept
        n, p = kept.sum(dtype=jnp.float32), positive.sum(dtype=jnp.float32)
        # ranks from the middle: their sum stays small, and float32 exact for longer
        centred = ranks(table["scores"], kept) - (n + 1) / 2
        return 0.5 + divide(jnp.where(positive, centred, 0).sum(), p * (n - p))

    return _binary("roc_auc", compute, capacity)


def average_precision(*, capacity: int | None = None) -> Metric:
    """Area under the precision-recall curve, ``sum_n (R_n - R_{n-1}) P_n`` over thresholds.

    NaN without positives. Exact, so it needs all rows: give the ``capacity`` for one shape.

    Shapes: scores [...], labels [...] of 0 and 1 or booleans; mask [...].
    """

    def compute(table, kept):
        scores = jnp.where(kept, table["scores"], -jnp.inf)
        order = jnp.argsort(-scores)
        scores, positive = scores[order], (table["labels"] & kept)[order]
        hits = jnp.cumsum(positive)
        # a threshold takes all rows of its score: look at the last of them
        last = jnp.searchsorted(-scores, -scores, side="right") - 1
        precision = hits[last] / jnp.minimum(last + 1, jnp.maximum(kept.sum(), 1))
        return divide(jnp.where(positive, precision, 0).sum(), hits[-1])

    return _binary("average_precision", compute, capacity)


def _binary(name, compute, capacity) -> Metric:
    def columns(scores, labels):
        check_shape(name, "labels", labels, jnp.shape(scores), "One label a score.")
        labels = jnp.asarray(labels)
        return {"scores": widen(scores).reshape(-1), "labels": (labels > 0).reshape(-1)}

    number, boolean = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), bool)
    return collected(name, columns, compute, capacity, scores=number, labels=boolean)


def ndcg(k: int | None = None) -> Metric:
    """Discounted gain of the first k over the best there could be, mean over queries.

    ``DCG = sum_i relevance_i / log2(i + 1)`` in the order of the scores, equal scores sharing the
    mean of their places' discounts; 0 for a query without any relevance.

    Shapes: scores [..., N], relevance [..., N]; mask [...] of queries.
    Source: Järvelin and Kekäläinen 2002, https://doi.org/10.1145/582415.582418; ties: McSherry and
        Najork 2008, https://doi.org/10.1007/978-3-540-78646-7_38.
    """

    def query(scores, relevance):
        n = scores.shape[-1]
        places = jnp.arange(n, dtype=jnp.float32)
        discount = jnp.where(places < (k or n), 1 / jnp.log2(places + 2.0), 0.0)
        total = jnp.concatenate([jnp.zeros(1), jnp.cumsum(discount)])
        ordered = jnp.sort(-scores)
        start = jnp.searchsorted(ordered, -scores, side="left")
        end = jnp.searchsorted(ordered, -scores, side="right")
        share = (total[end] - total[start]) / (end - start).astype(total.dtype)
        gain = (relevance * share).sum()
        return divide(gain, (-jnp.sort(-relevance) * discount).sum(), 0.0)

    return _by_query("ndcg", query)


def mean_reciprocal_rank() -> Metric:
    """One over the place of the first relevant item, 0 if there is none; mean over queries.

    Shapes: scores [..., N], relevance [..., N] (above 0 is relevant); mask [...] of queries.
    """

    def query(scores, relevance):
        best = jnp.where(relevance > 0, scores, -jnp.inf).max()
        place = 1 + (scores > best).sum()
        return jnp.where((relevance > 0).any(), 1 / place, 0.0)

    return _by_query("mean_reciprocal_rank", query)


def recall_at_k(k: int) -> Metric:
    """The share of a query's relevant items that are among its k best; mean over queries.

    Equal scores keep their order. 0 for a query without relevant items.

    Shapes: scores [..., N], relevance [..., N] (above 0 is relevant); mask [...] of queries.
    """
    check_positive("recall_at_k", k=k)

    def query(scores, relevance):
        first = jnp.argsort(-scores, stable=True)[:k]
        relevant = relevance > 0
        return divide(relevant[first].sum(), relevant.sum(), 0.0)

    return _by_query(f"recall_at_k({k})", query)


def _by_query(name, query) -> Metric:
    def values(scores, relevance):
        scores = widen(scores)
        check_shape(name, "scores", scores, (..., None), "Give it an axis of items.")
        check_shape(name, "relevance", relevance, scores.shape, "One relevance a score.")
        flat = scores.reshape(-1, scores.shape[-1])
        relevance = jnp.asarray(relevance).astype(scores.dtype).reshape(flat.shape)
        return jax.vmap(query)(flat, relevance).reshape(scores.shape[:-1])

    return averaged(name, values)
