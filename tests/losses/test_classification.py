"""Cross entropies: parity with scipy and scikit-learn, huge logits, kinds of labels, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import sklearn.metrics

from nnjax.losses import (
    distillation_loss,
    poly_loss_cross_entropy,
    ranking_softmax_loss,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
)
from tests.numerics import bf16, check_gradients, close, f64, numbers

LABELS = np.array([3, 0, 2, 2, 1])
SOFT = np.random.default_rng(1).dirichlet(np.ones(4), 5).astype(np.float32)
softmax_loss, sigmoid_loss = jax.jit(softmax_cross_entropy), jax.jit(sigmoid_binary_cross_entropy)


def np_softmax_cross_entropy(logits, labels):
    """In float64; labels as probabilities."""
    return -(labels * scipy.special.log_softmax(logits, -1)).sum(-1)


def np_sigmoid_cross_entropy(logits, labels):
    return labels * np.logaddexp(0, -logits) + (1 - labels) * np.logaddexp(0, logits)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_softmax_parity(scale, mean):
    logits = numbers(5, 4, mean=mean, scale=scale)
    want = np_softmax_cross_entropy(f64(logits), np.eye(4)[LABELS])
    atol = (
        1e-6 + 1e-7 * mean
    )  # float32 holds logits at the mean, and their logsumexp, to 6e-8 of it
    close(softmax_loss(logits, jnp.asarray(LABELS)), want, atol=atol)
    close(softmax_loss(logits, np.eye(4, dtype=np.float32)[LABELS]), want, atol=atol)
    soft = np_softmax_cross_entropy(f64(logits), f64(SOFT))
    close(softmax_loss(logits, SOFT), soft, atol=4 * atol)


def test_softmax_mean_is_the_log_loss_of_scikit_learn():
    logits = numbers(5, 4)
    want = sklearn.metrics.log_loss(LABELS, scipy.special.softmax(f64(logits), -1))
    np.testing.assert_allclose(np.mean(softmax_loss(logits, LABELS)), want, rtol=1e-6)


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_softmax_takes_any_number_of_batch_axes(batch):
    logits, labels = numbers(*batch, 4), np.zeros(batch, np.int32)
    want = np_softmax_cross_entropy(f64(logits), np.eye(4)[labels])
    close(softmax_loss(logits, labels), want)


@pytest.mark.parametrize("labels", [LABELS, SOFT], ids=["integers", "probabilities"])
def test_softmax_gradient(labels):
    logits = numbers(5, 4)
    hot = SOFT if labels is SOFT else np.eye(4)[LABELS]
    got = jax.jit(jax.grad(lambda z: softmax_cross_entropy(z, labels).sum()))(logits)
    close(got, scipy.special.softmax(f64(logits), -1) - hot)


def test_softmax_gradients():
    check_gradients(
        softmax_cross_entropy, numbers(2, 3), np.array([[0.2, 0.8, 0], [0.5, 0.3, 0.2]])
    )


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8])
@pytest.mark.parametrize("classes", [4, 256, 300])
def test_labels_may_be_narrower_than_the_number_of_classes(dtype, classes):
    logits, labels = numbers(3, classes), np.array([0, 2, 3])
    want = np_softmax_cross_entropy(f64(logits), np.eye(classes)[labels])
    close(softmax_loss(logits, jnp.asarray(labels, dtype)), want)


@pytest.mark.parametrize("label", [-1, 4, 100])
def test_a_label_outside_gives_nan_for_its_example_alone(label):
    loss = np.asarray(softmax_loss(numbers(3, 4), np.array([1, label, 2])))
    assert np.isnan(loss).tolist() == [False, True, False]


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
@pytest.mark.parametrize("kind", [np.float32, np.int32, np.bool_])
def test_sigmoid_parity(scale, kind):
    logits, labels = numbers(5, 4, scale=scale), (SOFT if kind is np.float32 else SOFT > 0.3)
    labels = labels.astype(kind)
    close(sigmoid_loss(logits, labels), np_sigmoid_cross_entropy(f64(logits), f64(labels)))


def test_sigmoid_gradient():
    logits = numbers(5, 4)
    got = jax.jit(jax.grad(lambda z: sigmoid_loss(z, SOFT).sum()))(logits)
    close(got, scipy.special.expit(f64(logits)) - SOFT)
    check_gradients(lambda z: sigmoid_binary_cross_entropy(z, jnp.asarray(SOFT)), logits)


def test_two_classes_are_one_logit():
    z, labels = numbers(6), np.array([0, 1, 1, 0, 1, 0])
    two = jnp.stack([jnp.zeros(6), z], -1)
    close(softmax_loss(two, labels), f64(sigmoid_loss(z, labels)))


def test_bfloat16_is_computed_in_float32():
    logits = bf16(numbers(5, 4, scale=10.0))
    hot = np.eye(4)[LABELS]
    for got, want in [
        (softmax_loss(logits, LABELS), np_softmax_cross_entropy(f64(logits), hot)),
        (softmax_loss(logits, bf16(jnp.asarray(hot))), np_softmax_cross_entropy(f64(logits), hot)),
        (sigmoid_loss(logits, hot > 0), np_sigmoid_cross_entropy(f64(logits), hot)),
    ]:
        assert got.dtype == jnp.float32
        close(got, want)


@pytest.mark.parametrize(
    "loss, logits, labels, message",
    [
        (
            softmax_loss,
            (5, 4),
            np.zeros((5, 1), int),
            r"got labels of shape \(5, 1\), expected \[5\]",
        ),
        (
            softmax_loss,
            (5, 4),
            np.zeros((1, 4)),
            r"labels of shape \(1, 4\), expected \[5, 4\]\. Sha",
        ),
        (softmax_loss, (5, 4), np.zeros(5), r"labels of shape \(5,\), expected \[5, 4\]"),
        (softmax_loss, (), np.zeros((), int), r"got logits of shape \(\), expected \[\.\.\., \*\]"),
        (
            sigmoid_loss,
            (5, 1),
            np.zeros(5),
            r"labels of shape \(5,\), expected \[5, 1\]\. Shapes mu",
        ),
        (sigmoid_loss, (5,), np.zeros((5, 1)), r"got labels of shape \(5, 1\), expected \[5\]"),
    ],
)
def test_shapes_that_merely_broadcast_are_refused(loss, logits, labels, message):
    with pytest.raises(ValueError, match=rf"cross_entropy: .*{message}"):
        loss(numbers(*logits), labels)


@pytest.mark.parametrize("loss", [softmax_loss, sigmoid_loss])
def test_integer_logits_are_refused(loss):
    with pytest.raises(TypeError, match="cross_entropy: got logits of dtype int32"):
        loss(np.zeros((5, 4), np.int32), np.zeros((5, 4)))


def test_booleans_are_told_what_they_may_mean():
    for loss in (softmax_cross_entropy, poly_loss_cross_entropy):
        with pytest.raises(TypeError, match=r"got labels of dtype bool.*sigmoid_binary_cross_ent"):
            loss(numbers(5, 4), np.ones((5, 4), bool))


@pytest.mark.parametrize("label", [-1, 4, 100])
def test_the_gradient_of_a_label_outside_is_nan_for_its_example_alone(label):
    labels = np.array([1, label, 2])
    total = lambda z: softmax_cross_entropy(z, labels).sum()
    gradient = np.asarray(jax.jit(jax.grad(total))(numbers(3, 4)))
    assert np.isnan(gradient).all(-1).tolist() == [False, True, False]
    assert np.isfinite(gradient[[0, 2]]).all()


def test_an_ignored_index_is_a_mask():
    logits, labels = numbers(4, 3), np.array([0, -100, 2, -100])
    ignoring = jax.jit(
        lambda z: softmax_cross_entropy(z, labels, mask=labels != -100, reduction="mean")
    )
    value, gradient = jax.value_and_grad(ignoring)(logits)
    want = np_softmax_cross_entropy(f64(logits), np.eye(3)[labels % 3])[[0, 2]].mean()
    close(value, want)
    assert not gradient[1].any() and np.isfinite(gradient).all()


def test_integer_labels_are_one_hot_labels_with_class_weights_and_smoothing():
    logits, hot = numbers(5, 4), np.eye(4, dtype=np.float32)[LABELS]
    c = np.array([0.5, 1.0, 2.0, 3.0], np.float32)
    loss = jax.jit(
        lambda labels: softmax_cross_entropy(
            logits, labels, class_weights=c, label_smoothing=0.2, reduction="mean"
        )
    )
    smooth = f64(hot) * 0.8 + 0.05
    want = -(c * smooth * scipy.special.log_softmax(f64(logits), -1)).sum() / c[LABELS].sum()
    close(loss(LABELS), want)
    close(loss(hot), want)


def test_classes_of_probability_zero_may_have_logit_minus_infinity():
    logits = jnp.asarray([[1.0, -jnp.inf, 2.0]])
    labels = np.array([[0.25, 0.0, 0.75]], np.float32)
    loss = lambda z: softmax_cross_entropy(z, labels).sum()
    value, slope = jax.jvp(jax.value_and_grad(loss), (logits,), (jnp.ones((1, 3)),))
    p = scipy.special.expit(1.0)
    close(value[0], -0.25 * np.log(1 - p) - 0.75 * np.log(p))
    close(value[1], np.array([[1 - p - 0.25, 0, p - 0.75]]))
    close(slope, (np.zeros(()), np.zeros((1, 3))))


def test_optax_agrees():
    logits, hot = numbers(5, 4, scale=30.0), jnp.asarray(np.eye(4, dtype=np.float32)[LABELS])
    smooth = optax.losses.smooth_labels(hot, 0.1)
    for got, want in [
        (softmax_cross_entropy(logits, LABELS, label_smoothing=0.1), (smooth, 0)),
        (poly_loss_cross_entropy(logits, LABELS), (hot, 2)),
    ]:
        close(got, optax.losses.poly_loss_cross_entropy(logits, want[0], epsilon=float(want[1])))


def test_ranking_over_the_items_that_are_there():
    scores, relevances = numbers(3, 4), jnp.asarray(np.eye(4, dtype=np.float32)[[1, 0, 0]])
    items = np.array([[True, True, False, True], [True] * 4, [False] * 4])
    rank = jax.jit(lambda s, r: ranking_softmax_loss(s, r, mask=items))
    got = rank(jnp.where(items, scores, jnp.nan), relevances)
    close(got[0], -scipy.special.log_softmax(f64(scores)[0, [0, 1, 3]])[1])
    close(got[1], -scipy.special.log_softmax(f64(scores)[1])[0])
    assert got[2] == 0


def test_distillation_leaves_the_teacher_alone():
    gradient = jax.grad(lambda z, t: distillation_loss(z, t, temperature=3.0).sum(), (0, 1))
    student, teacher = jax.jit(gradient)(numbers(5, 4), numbers(5, 4, seed=1))
    assert student.any() and not teacher.any()
    with pytest.raises(ValueError, match="distillation_loss: got temperature=0"):
        distillation_loss(numbers(5, 4), numbers(5, 4), temperature=0)
