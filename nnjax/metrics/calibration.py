"""Calibration: does a probability of 0.8 come true in 8 of 10 cases?"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from nnjax.core import check_positive
from nnjax.core.errors import LayerValueError
from nnjax.metrics.metric import Metric, averaged, collected, divide, labels_of, rows, summed


def negative_log_likelihood() -> Metric:
    """``-log softmax(logits)[label]``, mean over rows, in nats.

    Shapes: logits [..., C], labels [...] of integers; mask [...].
    """
    return averaged("negative_log_likelihood", _nll)


def perplexity() -> Metric:
    """``exp`` of the mean negative log likelihood of the tokens.

    Shapes: logits [..., V], labels [...] of integers; mask [...].
    """
    return averaged("perplexity", _nll, jnp.exp)


def bits_per_byte(bytes_per_token: float) -> Metric:
    """Mean negative log likelihood in bits, over the mean number of bytes that a token stands for.

    Shapes: logits [..., V], labels [...] of integers; mask [...].
    """
    if not bytes_per_token > 0:
        raise LayerValueError(f"bits_per_byte: got {bytes_per_token}, expected above 0.")
    finish = lambda nats: nats / jnp.log(2.0) / bytes_per_token
    return averaged("bits_per_byte", _nll, finish)


def _nll(logits: Any, labels: Any):
    flat, labels = labels_of("negative_log_likelihood", logits, labels)
    values = -jnp.take_along_axis(jax.nn.log_softmax(flat), labels[:, None], -1)
    return values.reshape(jnp.shape(logits)[:-1])


def brier() -> Metric:
    """``sum_c (p_c - [c = label])^2`` of the softmax, mean over rows: 0 is best, 2 worst.

    Shapes: logits [..., C], labels [...] of integers; mask [...].
    Source: Brier 1950, https://doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """

    def values(logits, labels):
        flat, labels = labels_of("brier", logits, labels)
        hot = jax.nn.one_hot(labels, flat.shape[-1], dtype=flat.dtype)
        return jnp.square(jax.nn.softmax(flat) - hot).sum(-1).reshape(jnp.shape(logits)[:-1])

    return averaged("brier", values)


def reliability(bins: int = 15) -> Metric:
    """The reliability curve: by bin of equal width, {"confidence", "accuracy", "count"}.

    The confidence of a row is the largest probability of its softmax; a bin holds (lower, upper].

    Shapes: logits [..., C], labels [...] of integers; mask [...] -> each [bins].
    Source: DeGroot and Fienberg 1983, https://doi.org/10.2307/2987588.
    """
    return _binned("reliability", bins, lambda curve: curve)


def expected_calibration_error(bins: int = 15) -> Metric:
    """Gap between confidence and accuracy, mean over rows, in bins of equal width.

    Source: Naeini et al. 2015, https://doi.org/10.1609/aaai.v29i1.9602.
    """
    return _binned("expected_calibration_error", bins, _expected_gap)


def maximum_calibration_error(bins: int = 15) -> Metric:
    """The largest gap between confidence and accuracy of a bin, in bins of equal width."""

    def compute(curve):
        gap = jnp.abs(curve["accuracy"] - curve["confidence"])
        largest = jnp.where(curve["count"] > 0, gap, 0).max()
        return jnp.where(curve["count"].sum() > 0, largest, jnp.nan)

    return _binned("maximum_calibration_error", bins, compute)


def adaptive_calibration_error(bins: int = 15, *, capacity: int | None = None) -> Metric:
    """Gap between confidence and accuracy, mean over rows, in bins of equally many rows.

    It needs all rows: give the ``capacity`` for a state of one shape.

    Source: Nguyen and O'Connor 2015, https://doi.org/10.18653/v1/D15-1182.
    """
    check_positive("adaptive_calibration_error", bins=bins)

    def columns(logits, labels):
        confidence, hit = _confidence("adaptive_calibration_error", logits, labels)
        return {"confidence": confidence, "hit": hit}

    def compute(table, kept):
        order = jnp.argsort(jnp.where(kept, table["confidence"], jnp.inf))
        count = kept.sum()
        place = jnp.arange(len(order)) * bins // jnp.maximum(count, 1)
        state = _sums(table["confidence"][order], table["hit"][order], place, kept[order], bins)
        return _expected_gap(_curve(state))

    number, boolean = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), bool)
    name = f"adaptive_calibration_error({bins})"
    return collected(name, columns, compute, capacity, confidence=number, hit=boolean)


def _binned(name: str, bins: int, compute) -> Metric:
    check_positive(name, bins=bins)

    def measure(logits, labels, mask=None):
        confidence, hit = _confidence(name, logits, labels)
        kept = rows(name, mask, jnp.shape(labels)).reshape(-1)
        place = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
        return _sums(confidence, hit, place, kept, bins)

    count, total = (jax.ShapeDtypeStruct((bins,), d) for d in (jnp.int32, jnp.float32))
    empty = {"confidence": total, "hits": count, "count": count}
    return summed(f"{name}({bins})", measure, lambda state: compute(_curve(state)), empty)


def _confidence(name, logits, labels):
    flat, labels = labels_of(name, logits, labels)
    return jax.nn.softmax(flat).max(-1), flat.argmax(-1) == labels


def _sums(confidence, hit, place, kept, bins):
    place = jnp.where(kept, place, bins)  # beyond the end: dropped
    add = lambda values, dtype: (
        jnp.zeros(bins, dtype).at[place].add(values.astype(dtype), mode="drop")
    )
    ones = jnp.ones_like(place)
    return {
        "confidence": add(confidence, jnp.float32),
        "hits": add(hit, jnp.int32),
        "count": add(ones, jnp.int32),
    }


def _curve(state) -> dict[Literal["confidence", "accuracy", "count"], jax.Array]:
    return {
        "confidence": divide(state["confidence"], state["count"]),
        "accuracy": divide(state["hits"], state["count"]),
        "count": state["count"],
    }


def _expected_gap(curve):
    gap = jnp.nan_to_num(jnp.abs(curve["accuracy"] - curve["confidence"]))
    return divide(gap @ curve["count"].astype(gap.dtype), curve["count"].sum())
