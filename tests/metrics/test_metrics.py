"""Metrics against scikit-learn and SciPy, in one go, in pieces, masked, and over devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from jax.sharding import PartitionSpec as P
from sklearn import metrics as sk

from nnjax import metrics
from tests.numerics import close

RNG = np.random.default_rng(0)
N, C = 40, 4
SCORES = RNG.normal(size=(N, C)).astype(np.float32)
LABELS = RNG.integers(0, C - 1, N)  # the last class never occurs
CHOSEN = SCORES.argmax(1)
X = RNG.normal(size=N).astype(np.float32)
Y = (X + RNG.normal(size=N)).astype(np.float32)
TIED = np.round(X, 0)
BINARY = (Y > 0.5).astype(np.int32)
RELEVANCE = RNG.integers(0, 4, (N, 6))
ITEMS = np.round(RNG.normal(size=(N, 6)), 1).astype(np.float32)
MEMBERS = RNG.normal(size=(N, 5)).astype(np.float32)
P_SOFT = scipy.special.softmax(SCORES.astype(np.float64), 1)
HOT = np.eye(C)[LABELS]


def np_ece(confidence, hit, edges):
    total = 0.0
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    return total


def np_crps(members, y):
    pairs = np.abs(members[:, :, None] - members[:, None, :]).mean((1, 2))
    return (np.abs(members - y[:, None]).mean(1) - pairs / 2).mean()


def np_mrr(scores, relevance):
    out = []
    for s, r in zip(scores, relevance, strict=True):
        places = [1 + (s > s[i]).sum() for i in np.flatnonzero(r)]
        out.append(1 / min(places) if places else 0)
    return np.mean(out)


def np_recall_at(scores, relevance, k):
    first = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(relevance > 0, first, 1).sum(1)
    total = (relevance > 0).sum(1)
    return np.where(total > 0, hits / np.maximum(total, 1), 0).mean()


classes = (SCORES, LABELS)
real = (X, Y)


def by_class(function, average, **more):
    average = None if average == "none" else average
    return lambda s, y: function(
        y,
        s.argmax(1),
        average=average,
        zero_division=0,
        labels=range(C) if average is None else None,
        **more,
    )


CASES = {
    "accuracy": (metrics.accuracy(), classes, lambda s, y: (s.argmax(1) == y).mean()),
    "top_k": (
        metrics.top_k_accuracy(2),
        classes,
        lambda s, y: sk.top_k_accuracy_score(y, s, k=2, labels=range(C)),
    ),
    "confusion_matrix": (
        metrics.confusion_matrix(C),
        classes,
        lambda s, y: sk.confusion_matrix(y, s.argmax(1), labels=range(C)),
    ),
    **{
        f"{name}, {average}": (
            make(C, average=average, **ours),
            classes,
            by_class(f, average, **more),
        )
        for average in ("micro", "macro", "weighted", "none")
        for name, make, ours, f, more in [
            ("precision", metrics.precision, {}, sk.precision_score, {}),
            ("recall", metrics.recall, {}, sk.recall_score, {}),
            ("f_beta", metrics.f_beta, {"beta": 2.0}, sk.fbeta_score, {"beta": 2.0}),
            ("dice", metrics.dice, {}, sk.f1_score, {}),
            ("iou", metrics.iou, {}, sk.jaccard_score, {}),
        ]
    },
    "balanced_accuracy": (
        metrics.balanced_accuracy(C),
        classes,
        lambda s, y: np.mean([(s.argmax(1) == y)[y == c].mean() for c in np.unique(y)]),
    ),
    "matthews": (
        metrics.matthews_correlation(C),
        classes,
        lambda s, y: sk.matthews_corrcoef(y, s.argmax(1)),
    ),
    **{
        f"kappa, {weights}": (
            metrics.cohen_kappa(C, weights=weights),
            classes,
            lambda s, y, w=weights: sk.cohen_kappa_score(
                y, s.argmax(1), weights=None if w == "none" else w, labels=range(C)
            ),
        )
        for weights in ("none", "linear", "quadratic")
    },
    "mean": (metrics.mean(), (X,), np.mean),
    "mse": (metrics.mean_squared_error(), real, sk.mean_squared_error),
    "rmse": (metrics.root_mean_squared_error(), real, sk.root_mean_squared_error),
    "mae": (metrics.mean_absolute_error(), real, sk.mean_absolute_error),
    "r2": (metrics.r2(), real, lambda p, y: sk.r2_score(y, p)),
    "pearson": (metrics.pearson(), real, lambda p, y: scipy.stats.pearsonr(p, y)[0]),
    "spearman, ties": (metrics.spearman(), (TIED, Y), lambda p, y: scipy.stats.spearmanr(p, y)[0]),
    "spearman, capacity": (
        metrics.spearman(capacity=N),
        (TIED, Y),
        lambda p, y: scipy.stats.spearmanr(p, y)[0],
    ),
    "crps": (metrics.crps(), (MEMBERS, X), np_crps),
    "roc_auc": (metrics.roc_auc(), (X, BINARY), lambda s, y: sk.roc_auc_score(y, s)),
    "roc_auc, ties": (
        metrics.roc_auc(capacity=N + 3),
        (TIED, BINARY),
        lambda s, y: sk.roc_auc_score(y, s),
    ),
    "average_precision": (
        metrics.average_precision(),
        (X, BINARY),
        lambda s, y: sk.average_precision_score(y, s),
    ),
    "average_precision, ties": (
        metrics.average_precision(capacity=N),
        (TIED, BINARY),
        lambda s, y: sk.average_precision_score(y, s),
    ),
    "ndcg, ties": (metrics.ndcg(), (ITEMS, RELEVANCE), lambda s, r: sk.ndcg_score(r, s)),
    "ndcg at 3": (metrics.ndcg(3), (ITEMS, RELEVANCE), lambda s, r: sk.ndcg_score(r, s, k=3)),
    "mrr": (metrics.mean_reciprocal_rank(), (ITEMS, RELEVANCE // 3), np_mrr),
    "recall at 2": (
        metrics.recall_at_k(2),
        (ITEMS, RELEVANCE // 2),
        lambda s, r: np_recall_at(s, r, 2),
    ),
    "nll": (
        metrics.negative_log_likelihood(),
        classes,
        lambda s, y: sk.log_loss(y, scipy.special.softmax(s, 1), labels=range(C)),
    ),
    "perplexity": (
        metrics.perplexity(),
        classes,
        lambda s, y: np.exp(sk.log_loss(y, scipy.special.softmax(s, 1), labels=range(C))),
    ),
    "bits_per_byte": (
        metrics.bits_per_byte(3.0),
        classes,
        lambda s, y: sk.log_loss(y, scipy.special.softmax(s, 1), labels=range(C)) / np.log(2) / 3,
    ),
    "brier": (
        metrics.brier(),
        classes,
        lambda s, y: ((scipy.special.softmax(s, 1) - np.eye(C)[y]) ** 2).sum(1).mean(),
    ),
    "ece": (
        metrics.expected_calibration_error(7),
        classes,
        lambda s, y: np_ece(
            scipy.special.softmax(s, 1).max(1), s.argmax(1) == y, np.linspace(0, 1, 8)
        ),
    ),
}


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def case(request):
    return request.param


def test_one_batch(case):
    metric, batch, reference = case
    close(jax.jit(metric)(*batch), reference(*f64(batch)), rtol=2e-6)


def f64(batch):
    return [np.asarray(a, np.float64) if a.dtype == np.float32 else a for a in batch]


def test_in_pieces_masked(case):
    """Three batches, the last of padding alone: the value of the unmasked rows as one batch."""
    metric, batch, reference = case
    kept = RNG.random(N) < 0.7
    garbage = [np.where(kept.reshape(-1, *[1] * (a.ndim - 1)), a, poison(a)) for a in batch]
    state, update = metric.init(), jax.jit(metric.update)
    for rows in (slice(0, 20), slice(20, 40)):
        state = update(state, *(a[rows] for a in garbage), mask=jnp.asarray(kept[rows]))
    state = update(state, *(a[:20] for a in garbage), mask=jnp.zeros(20, bool))
    close(jax.jit(metric.compute)(state), reference(*f64([a[kept] for a in batch])), rtol=5e-6)


def poison(a):
    return np.asarray(np.nan if a.dtype == np.float32 else 0, a.dtype)


def test_across_devices(case):
    metric, batch, reference = case
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))

    def local(*batch):
        return metric.compute(metric.across(metric.measure(*batch), "data"))

    specs = {"in_specs": tuple(P("data") for _ in batch), "out_specs": P()}
    run = jax.jit(jax.shard_map(local, mesh=mesh, check_vma=False, **specs))
    close(run(*batch), reference(*f64(batch)), rtol=5e-6)


def test_nothing_is_nan(case):
    metric, batch, _ = case
    nothing = lambda: metric.update(metric.init(), *(a[:0] for a in batch))
    for value in jax.jit(lambda: (metric.compute(nothing()), metric.compute(metric.init())))():
        assert value.ndim > 0 or np.isnan(value)


def test_large_means_keep_their_digits():
    x, y = X + np.float32(1e4), Y + np.float32(1e4)
    for metric, reference in ((metrics.pearson(), scipy.stats.pearsonr), (metrics.r2(), None)):
        state = metric.init()
        for rows in (slice(0, 20), slice(20, 40)):
            state = metric.update(state, x[rows], y[rows])
        want = sk.r2_score(*f64((y, x))) if reference is None else reference(*f64((x, y)))[0]
        close(metric.compute(state), want, rtol=1e-3)  # float32 rounds a mean of 1e4 by 5e-4


def test_a_stream_of_many_batches_loses_no_digits():
    metric = metrics.mean()

    def step(state, x):
        return metric.update(state, x), None

    values = jnp.full((20_000, 100), 0.1)
    state, _ = jax.jit(lambda v: jax.lax.scan(step, metric.init(), v))(values)
    close(metric.compute(state), 0.1)
    assert state["count"] == 2_000_000


def test_beyond_the_capacity_is_nan():
    metric = metrics.roc_auc(capacity=10)
    state = metric.update(metric.init(), X[:8], BINARY[:8])
    assert np.isfinite(metric.compute(state))
    assert np.isnan(metric.compute(metric.update(state, X[8:16], BINARY[8:16])))


def test_collection_and_bootstrap():
    both = metrics.collection(accuracy=metrics.accuracy(), nll=metrics.negative_log_likelihood())
    state = both.update(both.init(), SCORES[:10], LABELS[:10])
    state = both.update(state, SCORES[10:], LABELS[10:])
    close(both.compute(state), both(SCORES, LABELS))
    value, low, high = metrics.bootstrap(
        metrics.mean(), jax.random.key(0), jnp.asarray(X), samples=2000
    )
    normal = X.mean() + np.array([-1.96, 1.96]) * X.std() / np.sqrt(N)
    close(value, X.mean())
    np.testing.assert_allclose([low, high], normal, atol=0.05)


def test_reliability_and_worst_and_adaptive():
    confidence, hit = P_SOFT.max(1), CHOSEN == LABELS
    curve = metrics.reliability(5)(SCORES, LABELS)
    place = np.ceil(confidence * 5).astype(int) - 1
    gaps = []
    for b in range(5):
        inside = place == b
        assert curve["count"][b] == inside.sum()
        if inside.any():
            close(curve["confidence"][b], confidence[inside].mean())
            close(curve["accuracy"][b], hit[inside].mean())
            gaps.append(abs(hit[inside].mean() - confidence[inside].mean()))
    close(metrics.maximum_calibration_error(5)(SCORES, LABELS), max(gaps))
    parts = np.array_split(np.argsort(confidence), 4)
    want = sum(len(p) / N * abs(hit[p].mean() - confidence[p].mean()) for p in parts)
    close(metrics.adaptive_calibration_error(4)(SCORES, LABELS), want)


def test_labels_outside_the_classes_take_no_part():
    labels = np.where(np.arange(N) < 5, -1, LABELS)
    matrix = metrics.confusion_matrix(C)(SCORES, labels)
    assert matrix.sum() == N - 5


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: metrics.accuracy()(SCORES, LABELS[:3]), r"got labels of shape \(3,\), expected"),
        (lambda: metrics.accuracy()(SCORES, X), "got labels of dtype float32, expected integer"),
        (lambda: metrics.mean_squared_error()(X, Y[:, None]), r"got targets of shape \(40, 1\)"),
        (lambda: metrics.accuracy()(SCORES, LABELS, mask=jnp.ones(N)), "got mask of dtype float"),
        (
            lambda: metrics.precision(3, average="mean"),  # type: ignore
            "got average='mean', expected 'micro'",
        ),
        (lambda: metrics.top_k_accuracy(0), "got k=0, expected at least 1"),
        (
            lambda: metrics.cohen_kappa(3, weights="cubic"),  # type: ignore
            "got weights='cubic', expected",
        ),
        (lambda: metrics.bootstrap(metrics.mean(), jax.random.key(0), X, level=95), "level=95"),
        (lambda: metrics.bits_per_byte(0.0), "expected above 0"),
    ],
)
def test_messages(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
