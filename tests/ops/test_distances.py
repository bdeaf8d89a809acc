"""cosine_similarity and pairwise_distance: parity with SciPy, zero vectors, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

import nnjax as nn
from tests.numerics import bf16, check_gradients, close, f64, numbers

X, Y = numbers(4, 5), numbers(4, 5, seed=1)


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_cosine_similarity(scale):
    want = [1 - distance.cosine(x, y) for x, y in zip(f64(X), f64(Y), strict=True)]
    close(nn.cosine_similarity(scale * X, Y), np.array(want))
    close(nn.cosine_similarity(X.T, scale * Y.T, axis=0), np.array(want))


def test_cosine_similarity_broadcasts_and_takes_zero_vectors():
    want = 1 - distance.cdist(f64(X), f64(Y), "cosine")
    close(nn.cosine_similarity(X[:, None], Y[None]), want)
    zero = jnp.zeros(5)
    assert nn.cosine_similarity(zero, zero) == 0
    assert jnp.isfinite(jax.grad(nn.cosine_similarity)(zero, X[0])).all()
    short = nn.cosine_similarity(1e-3 * X[0], Y[0], eps=1.0)
    close(short, 1e-3 * f64(X[0]) @ f64(Y[0]) / np.linalg.norm(f64(Y[0])))


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0, np.inf])
def test_pairwise_distance(p):
    want = np.linalg.norm(f64(X) - f64(Y) + 1e-6, p, axis=-1) if p != 0.5 else (
        np.sum(np.abs(f64(X) - f64(Y) + 1e-6) ** 0.5, -1) ** 2
    )  # fmt: skip
    close(nn.pairwise_distance(X, Y, p=p), want)
    close(nn.pairwise_distance(X.T, Y.T, p=p, axis=0), want)


def test_pairwise_distance_of_a_vector_from_itself():
    slope = jax.grad(lambda x: nn.pairwise_distance(x, X[0]))(X[0])
    assert jnp.isfinite(slope).all()
    close(nn.pairwise_distance(X, X, eps=0.1), np.full(4, 0.1 * 5**0.5), rtol=1e-5)
    assert nn.pairwise_distance(X, X.at[:, 0].add(1.0), p=0, eps=0.0).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("f", [nn.cosine_similarity, nn.pairwise_distance])
def test_gradients_and_bfloat16(f):
    check_gradients(f, X[:2], Y[:2], order=1)
    half = f(*bf16((X, Y)))
    assert half.dtype == jnp.bfloat16
    close(half, f(*map(jnp.asarray, (X, Y))), rtol=2.0**-5, atol=2.0**-5)
