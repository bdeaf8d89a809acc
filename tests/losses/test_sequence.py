"""CTC: lengths, padding, impossible labels, another blank."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax.losses import ctc_loss
from tests.losses.cases import np_ctc
from tests.numerics import close, f64, numbers

loss = jax.jit(ctc_loss, static_argnames="blank")


def test_what_is_beyond_the_lengths_is_not_read():
    logits, labels = numbers(3, 5, 3), np.array([[1, 2, 1], [2, 2, 7], [1, -1, -1]])
    frames, lengths = np.array([5, 4, 2]), np.array([3, 2, 1])
    late = np.arange(5) >= frames[:, None]
    poisoned = jnp.where(late[..., None], jnp.nan, logits)
    run = jax.jit(jax.value_and_grad(lambda z: ctc_loss(z, labels, frames, lengths).sum()))
    value, gradient = run(poisoned)
    rows = zip(f64(logits), labels, frames, lengths, strict=True)
    want = sum(np_ctc([z[:t]], [y[:n]])[0] for z, y, t, n in rows)
    close(value, want)
    assert np.isfinite(gradient).all() and not gradient[late].any()


def test_labels_that_no_path_can_say():
    labels = np.array([[1, 1], [1, 2]])  # in two frames there is no room for a blank between
    values, gradient = jax.jit(
        lambda z: (ctc_loss(z, labels), jax.grad(lambda z: ctc_loss(z, labels).sum())(z))
    )(numbers(2, 2, 3))
    assert np.isinf(values[0]) and np.isfinite(values[1])
    assert not gradient[0].any() and gradient[1].any()


def test_a_label_that_is_no_class_is_nan():
    logits, labels = numbers(3, 4, 3), np.array([[1, 3], [-1, 2], [1, 2]])
    values = ctc_loss(logits, labels)
    assert np.isnan(values).tolist() == [True, True, False]
    assert np.isfinite(ctc_loss(logits, labels, mask=np.array([False, False, True]))).all()


def test_a_length_that_its_axis_does_not_have_is_nan():
    logits, labels = numbers(5, 4, 3), np.full((5, 2), 1)
    frames, lengths = np.array([5, 4, -1, 4, 4]), np.array([1, 3, 1, -1, 1])
    assert np.isnan(loss(logits, labels, frames, lengths)).tolist() == [True] * 4 + [False]


def test_no_label_is_all_blank():
    logits = numbers(1, 3, 4)
    want = -np.asarray(jax.nn.log_softmax(logits))[0, :, 2].sum(keepdims=True)
    got = ctc_loss(logits, np.zeros((1, 1), int), label_lengths=np.array([0]), blank=2)
    close(got, want)


def test_another_blank():
    logits, labels = numbers(2, 4, 3), np.array([[1, 2], [2, 2]])
    moved = logits[..., [1, 2, 0]]  # class 0 comes last
    close(loss(moved, labels - 1, blank=2), f64(loss(logits, labels)))


def test_errors():
    logits, labels = numbers(2, 4, 3), np.zeros((2, 2), int)
    with pytest.raises(ValueError, match=r"got label_lengths of shape \(3,\), expected \[2\]"):
        ctc_loss(logits, labels, None, np.zeros(3, int))
    with pytest.raises(TypeError, match="got logit_lengths of dtype float32, expected integer"):
        ctc_loss(logits, labels, np.ones(2, np.float32))
    with pytest.raises(ValueError, match="got blank=3, expected 0 <= blank < 3. It is one of"):
        ctc_loss(logits, labels, blank=3)
    with pytest.raises(ValueError, match=r"got logits of shape \(2, 0, 3\), expected T > 0. Hide"):
        ctc_loss(logits[:, :0], labels)
