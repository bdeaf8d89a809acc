"""Text, image and representation metrics: against definitions, scikit-learn and kept libraries."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import nnjax as nn
from nnjax import metrics
from tests.numerics import close

SAID = ["the cat sat on the mat", "there is a dog", "", "yes", "a b c d e f g"]
MEANT = [
    "the cat is on the mat today",
    "there is a dog",
    "not empty",
    "yes indeed",
    "g f e d c b a",
]
RNG = np.random.default_rng(0)


def edits(a, b):
    """Levenshtein by recursion, from the definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(edits(a[1:], b) + 1, edits(a, b[1:]) + 1, edits(a[1:], b[1:]) + (a[0] != b[0]))


def test_error_rates():
    pairs = list(zip(SAID, MEANT, strict=True))
    words = sum(edits(a.split(), b.split()) for a, b in pairs) / sum(len(b.split()) for b in MEANT)
    assert metrics.word_error_rate()(SAID, MEANT) == pytest.approx(words)
    short = [("kitten", "sitting"), ("", "ab"), ("flaw", "lawn")]
    want = sum(edits(a, b) for a, b in short) / sum(len(b) for _, b in short)
    assert metrics.character_error_rate()(*map(list, zip(*short, strict=True))) == want


def test_bleu_of_the_paper():
    """Papineni et al. 2002, example 2: clipped unigram precision 2/7."""
    said = ["the the the the the the the"]
    meant = [["the cat is on the mat", "there is a cat on the mat"]]
    assert metrics.bleu(1)(said, meant) == pytest.approx(2 / 7)
    assert metrics.bleu(2)(said, meant) == 0.0


def test_text_streams_and_masks():
    for metric in (metrics.bleu(2), metrics.rouge(1), metrics.rouge_l(), metrics.word_error_rate()):
        state = metric.update(metric.init(), SAID[:2], MEANT[:2])
        state = metric.update(state, SAID[2:], MEANT[2:])
        assert metric.compute(state) == pytest.approx(metric(SAID, MEANT))
        masked = metric(SAID, MEANT, mask=np.arange(5) < 2)
        assert masked == pytest.approx(metric(SAID[:2], MEANT[:2]))
        assert np.isnan(metric.compute(metric.init()))


@pytest.mark.parity
def test_text_beside_kept_libraries():
    sacrebleu = pytest.importorskip("sacrebleu")
    for order in (2, 4):
        want = (
            sacrebleu.corpus_bleu(SAID[:2], [MEANT[:2]], tokenize="none", smooth_method="none")
            if order == 4
            else sacrebleu.BLEU(
                max_ngram_order=2, tokenize="none", smooth_method="none"
            ).corpus_score(SAID, [MEANT])
        )
        said, meant = (SAID[:2], MEANT[:2]) if order == 4 else (SAID, MEANT)
        assert metrics.bleu(order)(said, meant) == pytest.approx(want.score / 100, rel=1e-6)
    jiwer = pytest.importorskip("jiwer")
    assert metrics.word_error_rate()(SAID, MEANT) == pytest.approx(jiwer.wer(MEANT, SAID))
    assert metrics.character_error_rate()(SAID, MEANT) == pytest.approx(jiwer.cer(MEANT, SAID))
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    scores = [scorer.score(b, a) for a, b in zip(SAID, MEANT, strict=True)]
    for metric, name in (
        (metrics.rouge(1), "rouge1"),
        (metrics.rouge(2), "rouge2"),
        (metrics.rouge_l(), "rougeL"),
    ):
        want = np.mean([s[name].fmeasure for s in scores])
        assert metric(SAID, MEANT) == pytest.approx(want)


def np_ssim(x, y, data_range):
    axis = np.exp(-((np.arange(-5, 6) / 1.5) ** 2) / 2)
    w = np.outer(axis, axis)
    w /= w.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (w * a).sum(), (w * b).sum()
            va, vb = (w * (a - ma) ** 2).sum(), (w * (b - mb) ** 2).sum()
            cov = (w * (a - ma) * (b - mb)).sum()
            top = (2 * ma * mb + c1) * (2 * cov + c2)
            values.append(top / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return np.mean(values)


@pytest.mark.parametrize("data_range, shift", [(1.0, 0.0), (255.0, 0.0), (1.0, 50.0)])
def test_images(data_range, shift):
    x = RNG.random((2, 13, 14, 2)) * data_range + shift
    y = x + RNG.normal(size=x.shape) * 0.1 * data_range
    a, b = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    want = np.mean(
        [np_ssim(x[i, ..., c], y[i, ..., c], data_range) for i in (0, 1) for c in (0, 1)]
    )
    close(metrics.ssim(data_range=data_range)(a, b), want, rtol=1e-4)
    error = ((x - y) ** 2).mean((1, 2, 3))
    want = (10 * np.log10(data_range**2 / error)).mean()
    close(metrics.psnr(data_range=data_range)(a, b), want, rtol=1e-4)
    with pytest.raises(ValueError, match="expected at least 11 x 11"):
        metrics.ssim()(a[:, :5], b[:, :5])


@pytest.mark.parity
def test_images_beside_scikit_image():
    skimage = pytest.importorskip("skimage.metrics")
    x = RNG.random((20, 24, 3)).astype(np.float32)
    y = (x + 0.1 * RNG.normal(size=x.shape)).astype(np.float32)
    want = skimage.structural_similarity(
        x,
        y,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=-1,
    )
    close(metrics.ssim()(x[None], y[None]), want, rtol=1e-5)
    close(metrics.psnr()(x[None], y[None]), skimage.peak_signal_noise_ratio(x, y), rtol=1e-5)


def test_cka():
    x, y = RNG.normal(size=(30, 5)), RNG.normal(size=(30, 3))
    centre = np.eye(30) - 1 / 30
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    want = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())  # by HSIC, the kernel form
    a, b = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    close(metrics.cka(a, b), want, rtol=1e-5)
    turn = np.linalg.qr(RNG.normal(size=(5, 5)))[0].astype(np.float32)
    close(metrics.cka(a, 3 * a @ turn + 7), 1.0, rtol=1e-5)
    mask = jnp.arange(30) < 12
    close(
        metrics.cka(jnp.where(mask[:, None], a, jnp.nan), b, mask=mask), metrics.cka(a[:12], b[:12])
    )


def test_probes():
    data = nn.data.digits(seed=0)
    (x, y), (queries, wanted) = data.train, data.test
    x, queries = (np.asarray(a).reshape(len(a), -1) for a in (x, queries))
    y, wanted = np.asarray(y), np.asarray(wanted)
    theirs = KNeighborsClassifier(5).fit(x, y).predict(queries)
    ours = metrics.knn_predict(x, y, queries, 5, 10).argmax(-1)
    assert (ours == theirs).mean() > 0.995  # votes may tie
    scores = metrics.linear_probe(x, y, queries, 10)
    xs = np.asarray(x, np.float64)
    hot = np.eye(10)[y]
    centred = xs - xs.mean(0)
    gram = centred.T @ centred + 1e-3 * len(xs) * np.eye(xs.shape[1])
    kernel = np.linalg.solve(gram, centred.T @ (hot - hot.mean(0)))
    close(scores, (queries - xs.mean(0)) @ kernel + hot.mean(0), rtol=1e-3, atol=1e-3)
    assert metrics.accuracy()(scores, wanted) > 0.9
    with pytest.raises(ValueError, match="got k=9999, expected at most"):
        metrics.knn_predict(x, y, queries, 9999, 10)


def test_messages():
    with pytest.raises(TypeError, match="got a string, expected lists"):
        metrics.bleu()("a", "b")
    with pytest.raises(ValueError, match="got 1 predictions and 2 references"):
        metrics.rouge(1)(["a"], ["b", "c"])
    with pytest.raises(ValueError, match=r"expected \[..., H, W, C\]"):
        metrics.psnr()(np.ones(3), np.ones(3))
