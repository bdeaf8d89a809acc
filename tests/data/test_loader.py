"""batches: every example once an epoch, resumption, tails, errors."""

import jax
import numpy as np
import pytest

from nnjax.data import Split, batches, count_batches

N = 10
X = np.arange(N * 6, dtype=np.float32).reshape(N, 3, 2) + 1
Y = np.arange(N, dtype=np.int32)


def order(*args, **kwargs):
    return [y.tolist() for _, y, *_ in batches((X, Y), *args, **kwargs)]


def flat(lists):
    return [i for each in lists for i in each]


def test_order_is_kept_without_a_seed():
    assert order(4) == [[0, 1, 2, 3], [4, 5, 6, 7]] == order(4, epoch=3)


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_example_once(epoch):
    seen = flat(order(4, seed=0, epoch=epoch, tail="keep"))
    assert seen != list(range(N)) and sorted(seen) == list(range(N))


def test_order_is_told_by_seed_and_epoch():
    orders = [flat(order(5, seed=s, epoch=e)) for s in range(3) for e in range(3)]
    assert orders == [flat(order(5, seed=s, epoch=e)) for s in range(3) for e in range(3)]
    assert len(set(map(tuple, orders))) == 9
    assert orders[5] == np.random.default_rng((1, 2)).permutation(N).tolist()
    assert order(5, seed=1, epoch=2) == order(5, seed=np.int64(1), epoch=np.int64(2))


def test_rows_stay_together():
    for x, y in batches(Split(X, Y), 3, seed=0, tail="keep"):
        np.testing.assert_array_equal(x, X[y], strict=True)
        assert y.dtype == np.int32


@pytest.mark.parametrize("tail", ["drop", "keep", "pad"])
@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("batch_size", [1, 3, 5, 10])
def test_resumes_anywhere(tail, seed, batch_size):
    full = list(batches((X, Y), batch_size, seed=seed, epoch=2, tail=tail))
    assert len(full) == count_batches(N, batch_size, tail=tail)
    for start in range(len(full) + 1):
        rest = list(batches((X, Y), batch_size, seed=seed, epoch=2, tail=tail, start=start))
        for one, other in zip(rest, full[start:], strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b, strict=True)


def test_tails():
    assert [len(b) for b in order(4, tail="drop")] == [4, 4]
    assert [len(b) for b in order(4, tail="keep")] == [4, 4, 2]
    assert [len(b) for b in order(4, tail="pad")] == [4, 4, 4]
    assert (
        [len(b) for b in order(5, tail="keep")] == [5, 5] == [len(b) for b in order(5, tail="pad")]
    )
    assert [len(b) for b in order(16, tail="keep")] == [10]


def test_padding():
    *full, (x, y, mask) = batches((X, Y), 4, tail="pad")
    assert mask.dtype == bool and mask.tolist() == [True, True, False, False]
    assert all(mask.all() and mask.shape == (4,) for *_, mask in full)
    np.testing.assert_array_equal(x, np.concatenate([X[8:], np.zeros_like(X[:2])]), strict=True)
    np.testing.assert_array_equal(y, np.array([8, 9, 0, 0], np.int32), strict=True)
    ((x, _, mask),) = batches((X, Y), 16, tail="pad")
    assert x.shape == (16, 3, 2) and mask.sum() == N


def test_padding_compiles_once():
    traces = []

    @jax.jit
    def total(x, y, mask):
        traces.append(x.shape)
        return jax.numpy.where(mask, x.sum((1, 2)), 0).sum()

    sums = [total(*batch) for batch in batches((X, Y), 4, seed=0, tail="pad")]
    assert len(traces) == 1
    np.testing.assert_allclose(sum(sums), X.sum(), rtol=1e-6)


def test_takes_any_arrays():
    arrays = (X, list(Y), jax.numpy.asarray(Y))
    with pytest.raises(TypeError, match="got list at place 1"):
        batches(arrays, 4)
    x, y = next(batches((X, jax.numpy.asarray(Y)), 4, seed=0))
    assert isinstance(y, np.ndarray) and (X[y] == x).all()
    (only,) = next(batches((Y,), 4))
    assert only.tolist() == [0, 1, 2, 3]


VALUE_ERRORS = {
    r"got arrays of lengths \[10, 9\], expected one, N.": (((X, Y[:9]), 4), {}),
    r"got arrays of length 0, expected at least one": (((X[:0],), 4), {"tail": "keep"}),
    r"got batch_size=0, expected at least 1": (((X, Y), 0), {}),
    r'got batch_size=11 for 10 examples.*smaller batch_size, or tail="pad"': (((X, Y), 11), {}),
    r"got tail='last', expected one of drop, keep, pad": (((X, Y), 4), {"tail": "last"}),
    r"got start=3, expected at most 2, all of an epoch": (((X, Y), 4), {"start": 3}),
    r"got start=-1, expected at least 0": (((X, Y), 4), {"start": -1}),
    r"got epoch=-1, expected at least 0": (((X, Y), 4), {"seed": 0, "epoch": -1}),
    r"got seed=-1, expected at least 0": (((X, Y), 4), {"seed": -1}),
}
TYPE_ERRORS = {
    r"got ndarray, expected a tuple of arrays. Pass a split": ((X, 4), {}),
    r"got tuple of length 0, expected a tuple of arrays": (((), 4), {}),
    r"got str at place 0.*batches\(dataset.train, 32\)": ((("digits", Split(X, Y)), 4), {}),
    r"got float32 at place 1, expected an array with a leading": (((X, X[0, 0, 0]), 4), {}),
    r"got batch_size=4.0, expected an integer": (((X, Y), 4.0), {}),
    r"got start=0.5, expected an integer": (((X, Y), 4), {"start": 0.5}),
}


@pytest.mark.parametrize(
    ("kind", "text"),
    [(ValueError, t) for t in VALUE_ERRORS] + [(TypeError, t) for t in TYPE_ERRORS],
)
def test_errors_come_at_the_call(kind, text):
    args, kwargs = (VALUE_ERRORS | TYPE_ERRORS)[text]
    with pytest.raises(kind, match=f"^batches: {text}"):
        batches(*args, **kwargs)
