"""Contrastive and triplet losses: optax's where it has them, zero vectors, lonely examples."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nnjax import losses as L
from tests.numerics import close, numbers


def test_optax_agrees():
    x, labels = numbers(6, 4), jnp.asarray([0, 1, 2, 0, 1, 2])
    got = L.supervised_contrastive_loss(x, labels, temperature=0.5, reduction="mean")
    with jax.numpy_dtype_promotion("standard"):  # optax's mixes dtypes
        close(got, optax.losses.ntxent(x, labels, 0.5))
    a, p, n = numbers(5, 3), numbers(5, 3, seed=1), numbers(5, 3, seed=2)
    close(L.triplet_margin_loss(a, p, n), optax.losses.triplet_margin_loss(a, p, n), atol=1e-5)


def test_the_nearer_of_two_negatives_is_taken_when_swapping():
    a, p, n = (jnp.asarray([[v, 0.0]]) for v in (0.0, 2.0, 3.0))
    close(L.triplet_margin_loss(a, p, n), np.array([0.0]), atol=1e-5)
    close(L.triplet_margin_loss(a, p, n, swap=True), np.array([2.0]), atol=1e-5)


@pytest.mark.parametrize("kind", ["batch_hard", "batch_all", "semi_hard"])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [7, 7, 7, 7]], ids=["alone", "all alike"])
def test_a_batch_without_triplets_has_loss_and_gradient_zero(kind, labels):
    loss = getattr(L, f"{kind}_triplet_loss")
    mean = jax.jit(jax.value_and_grad(lambda x: loss(x, np.array(labels), reduction="mean")))
    value, gradient = mean(numbers(4, 3))
    assert value == 0 and not gradient.any()


def test_the_mean_is_over_what_counts():
    x, labels = numbers(5, 3), np.array([0, 0, 1, 1, 2])  # the last one is alone
    for loss in (L.batch_hard_triplet_loss, L.supervised_contrastive_loss):
        both = jax.jit(lambda: (loss(x, labels), loss(x, labels, reduction="mean")))  # noqa: B023
        values, mean = both()
        assert values[4] == 0
        close(mean, np.asarray(values[:4]).mean())


def test_equal_and_zero_embeddings_have_finite_gradients():
    x, labels = jnp.zeros((4, 3)).at[2:].set(1.0), np.array([0, 0, 1, 1])
    for loss in (
        L.batch_hard_triplet_loss,
        L.batch_all_triplet_loss,
        L.semi_hard_triplet_loss,
        L.supervised_contrastive_loss,
        lambda x, labels: L.info_nce(x, x),
        lambda x, labels: L.contrastive_loss(x, x, labels),
        lambda x, labels: L.triplet_margin_loss(x, x, x),
    ):
        value, gradient = jax.jit(jax.value_and_grad(lambda x: loss(x, labels).sum()))(x)  # noqa: B023
        assert np.isfinite(value) and np.isfinite(gradient).all()


def test_temperature_can_be_learned():
    a, b = numbers(3, 2), numbers(3, 2, seed=1)
    loss = jax.jit(lambda t: L.clip_loss(a, b, temperature=t, reduction="mean"))
    slope = jax.grad(loss)(jnp.float32(0.5))
    close(slope, (loss(jnp.float32(0.51)) - loss(jnp.float32(0.49))) / 0.02, rtol=1e-2)


def test_arcface_at_the_ends():
    cosines, labels = jnp.asarray([[1.0, 0.0], [-1.0, 0.0]]), np.array([0, 0])
    loss = jax.jit(jax.value_and_grad(lambda c: L.arcface_loss(c, labels, scale=1.0).sum()))
    value, gradient = loss(cosines)
    far = -1 - 0.5 * np.sin(0.5)
    close(value, np.logaddexp(0, -np.cos(0.5)) + np.logaddexp(0, -far), atol=1e-5)
    assert np.isfinite(gradient).all() and gradient[1, 0] < 0
    with pytest.raises(ValueError, match="arcface_loss: got margin=4, expected an angle"):
        L.arcface_loss(cosines, labels, margin=4)


def test_one_batch_at_a_time():
    with pytest.raises(ValueError, match=r"info_nce: got queries of shape \(2, 3, 4\), expected"):
        L.info_nce(numbers(2, 3, 4), numbers(2, 3, 4))
