"""Segment operations: parity with a loop over segments, masks, ids out of range, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax.ops.segment import (
    AGGREGATES,
    ids_of_sizes,
    segment_count,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_std,
    segment_sum,
    take_rows,
)
from tests.numerics import bf16, check_gradients, close, f64, numbers

IDS = np.array([2, 0, 2, 5, -1, 4, 0, 2, 4, 3, 7, 2])  # 1 is empty; -1, 5 and 7 are out of range
SEGMENTS = 5
MASK = np.array([1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1], bool)  # 3 is all masked

REDUCE = {
    "sum": lambda rows: rows.sum(0),
    "mean": lambda rows: rows.mean(0),
    "max": lambda rows: rows.max(0),
    "min": lambda rows: rows.min(0),
    "std": lambda rows: np.sqrt(rows.var(0) + 1e-5),
}


def np_segments(reduce, data, ids, mask=None):
    mask = np.ones(len(ids), bool) if mask is None else mask
    rows = [data[(ids == i) & mask] for i in range(SEGMENTS)]
    return np.stack([reduce(r) if len(r) else np.zeros(data.shape[1:]) for r in rows])


def np_softmax(data, ids, mask):
    out = np.zeros(data.shape)
    for i in range(SEGMENTS):
        rows = np.flatnonzero((ids == i) & mask)
        for column in range(data.shape[1]):
            part = np.exp(data[rows, column] - data[rows, column].max(initial=-np.inf))
            out[rows, column] = part / part.sum()
    return out


@pytest.mark.parametrize("mean", [0.0, 1e3])
@pytest.mark.parametrize("kind", AGGREGATES)
def test_parity(kind, mean):
    x = numbers(len(IDS), 3, mean=mean)
    order = np.argsort(IDS, kind="stable")

    @jax.jit
    def all_forms(x, ids, mask):
        f = lambda *a, **options: AGGREGATES[kind](*a, SEGMENTS, **options)
        ordered = f(x[order], ids[order], mask=mask[order], sorted=True)
        garbage = jnp.where(mask[:, None], x, jnp.nan)
        both = f(jnp.stack([x, 2 * x]), jnp.stack([ids, ids]), mask=jnp.stack([mask, mask]))
        return f(x, ids), f(x, ids, mask=mask), ordered, f(garbage, ids, mask=mask), both

    plain, masked, ordered, garbage, both = all_forms(x, jnp.asarray(IDS), jnp.asarray(MASK))
    want = np_segments(REDUCE[kind], f64(x), IDS, MASK)
    atol = 1e-6 * (1 + mean)  # float32 rounds a mean of size m by about m * 1e-7
    close(plain, np_segments(REDUCE[kind], f64(x), IDS), atol=atol)
    for got in (masked, ordered, garbage, both[0]):
        close(got, want, atol=atol)
    close(both[1], np_segments(REDUCE[kind], 2 * f64(x), IDS, MASK), atol=2 * atol)


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_softmax(shift):
    x = numbers(len(IDS), 2, mean=shift, scale=20.0).at[0, 0].set(-jnp.inf)
    x = x.at[np.flatnonzero(IDS == 4), 1].set(-jnp.inf)  # a segment of nothing but -inf
    inside = MASK & (IDS >= 0) & (IDS < SEGMENTS)
    f = jax.jit(lambda x: segment_softmax(x, jnp.asarray(IDS), SEGMENTS, mask=jnp.asarray(MASK)))
    got = np.asarray(f(x.at[np.flatnonzero(~MASK)].set(jnp.nan)))
    with np.errstate(invalid="ignore"):
        want = np.nan_to_num(np_softmax(f64(x), IDS, inside))
    close(got[inside], want[inside])
    assert not got[~MASK].any()


def test_counts_and_rows():
    ids, mask = jnp.asarray(IDS), jnp.asarray(MASK)
    want = np.bincount(IDS[(IDS >= 0) & MASK], minlength=8)[:SEGMENTS]
    close(segment_count(ids, SEGMENTS, mask=mask), want)
    assert segment_count(jnp.zeros(300, jnp.uint8), 1)[0] == 300
    table = numbers(2, 4, 3)
    rows = jnp.array([[3, 0, 0, 9], [1, 2, 3, -1]])
    close(take_rows(table, rows), f64(table)[[[0], [1]], [[3, 0, 0, 3], [1, 2, 3, 3]]])


@pytest.mark.parametrize("sizes", [[2, 0, 3], [0, 0, 0], [0, 5, 1], [6], [0, 4], [4, 9]])
def test_ids_of_sizes(sizes):
    want = np.repeat(np.arange(len(sizes)), sizes)[:6]
    want = np.append(want, [len(sizes)] * (6 - len(want)))
    close(ids_of_sizes(jnp.array(sizes), 6), want)


def test_no_entries_and_no_segments():
    empty, ids = jnp.zeros((0, 3)), jnp.zeros(0, int)
    for f in AGGREGATES.values():
        close(f(empty, ids, 2), np.zeros((2, 3)))
        assert f(numbers(4, 3), jnp.zeros(4, int), 0).shape == (0, 3)
    assert segment_softmax(empty, ids, 2).shape == (0, 3)
    assert segment_sum(jnp.zeros((0, 4, 3)), jnp.zeros((0, 4), int), 2).shape == (0, 2, 3)


def test_ties_share_the_gradient():
    x = jnp.array([1.0, 3.0, 3.0, 2.0, 5.0])
    f = lambda x: segment_max(x, jnp.array([0, 0, 0, 0, 1]), 2)[0]
    close(jax.grad(f)(x), np.array([0, 0.5, 0.5, 0, 0]))


def test_gradients():
    ids, mask, w = jnp.asarray(IDS), jnp.asarray(MASK), numbers(SEGMENTS, 2, seed=3)

    def f(x):
        reduced = sum(jnp.sin(op(x, ids, SEGMENTS, mask=mask)) for op in AGGREGATES.values())
        soft = segment_softmax(x, ids, SEGMENTS, mask=mask)
        return (reduced * w.astype(x.dtype)).sum() + jnp.sin(3 * soft).sum()

    check_gradients(f, numbers(len(IDS), 2), order=1)  # the contract suite goes to order 2


def test_gradient_of_equal_rows_is_finite():
    f = lambda x: segment_std(x, jnp.zeros(4, int), 2).sum()
    close(jax.grad(f)(jnp.full(4, 1e3)), np.zeros(4))


@pytest.mark.parametrize("op", [segment_sum, segment_mean])
def test_bfloat16_is_summed_in_float32(op):
    x = bf16(numbers(2000, mean=1.0))  # a sum in bfloat16 sticks at 256
    y = op(x, jnp.zeros(2000, int), 1)
    assert y.dtype == jnp.bfloat16
    close(y[0], f64(x).sum() / (2000 if op is segment_mean else 1), rtol=2.0**-8)
