"""Representations: are two alike, and what can be read off them?"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.core import check_dtype, check_positive, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.metrics.metric import divide
from nnjax.ops.precision import widen


def cka(x: ArrayLike, y: ArrayLike, *, mask: jax.Array | None = None) -> jax.Array:
    """Linear centred kernel alignment of two representations of the same examples, in [0, 1].

    ``|Y^T X|^2 / (|X^T X| |Y^T Y|)`` in Frobenius norms, of columns with their means removed: 1 for
    representations that differ by a rotation, a scale and a shift.

    Shapes: x [B, D], y [B, E], mask [B] -> [].
    Source: Kornblith et al. 2019, https://arxiv.org/abs/1905.00414, section 3.
    """
    x, y = widen(x), widen(y)
    check_shape("cka", "x", x, (None, None))
    check_shape("cka", "y", y, (len(x), None), "One row an example, the same examples on both.")
    kept = (jnp.ones(len(x), bool) if mask is None else mask)[:, None]

    def centred(a):
        mean = jnp.where(kept, a, 0).sum(0) / jnp.maximum(kept.sum(), 1).astype(a.dtype)
        a = jnp.where(kept, a - mean, 0)
        return a / jnp.sqrt(jnp.maximum(jnp.square(a).sum(), jnp.finfo(a.dtype).tiny))

    x, y = centred(x), centred(y)
    norm = lambda a: jnp.sqrt(jnp.square(a).sum())
    return divide(norm(y.T @ x) ** 2, norm(x.T @ x) * norm(y.T @ y))


def knn_predict(
    train: ArrayLike, labels: ArrayLike, queries: ArrayLike, k: int, classes: int
) -> jax.Array:
    """Votes of the k nearest training rows (Euclidean), as scores for ``metrics.accuracy``.

    Of rows at equal distance, and of classes with equal votes, the first counts.

    Shapes: train [N, D], labels [N] of integers, queries [Q, D] -> [Q, classes].
    Raises: ValueError, if k is above N or a shape does not fit.
    Source: Cover and Hart 1967, https://doi.org/10.1109/TIT.1967.1053964.
    """
    name = "knn_predict"
    train, queries = widen(train), widen(queries)
    check_positive(name, k=k, classes=classes)
    check_shape(name, "train", train, (None, None))
    check_shape(name, "labels", labels, (len(train),), "One label a training row.")
    check_dtype(name, "labels", labels, jnp.integer, "Labels are class numbers.")
    check_shape(name, "queries", queries, (None, train.shape[1]), "The same features as train.")
    if k > len(train):
        raise LayerValueError(f"{name}: got k={k}, expected at most the {len(train)} rows.")
    centre = train.mean(0)  # distances by products cancel at large means
    a, b = queries - centre, train - centre
    distance = jnp.square(b).sum(-1) - 2 * a @ b.T  # but for |a|^2, the same for all rows
    _, nearest = jax.lax.top_k(-distance, k)
    return jax.nn.one_hot(jnp.asarray(labels)[nearest], classes).sum(1)


def linear_probe(
    train: ArrayLike, labels: ArrayLike, queries: ArrayLike, classes: int, *, l2: float = 1e-3
) -> jax.Array:
    """Scores of a ridge classifier fitted in closed form: what a linear layer can read off.

    Least squares to one-hot labels, ``(X^T X + l2 N I)^{-1} X^T Y`` on centred features and labels.

    Shapes: train [N, D], labels [N] of integers, queries [Q, D] -> [Q, classes].
    Units:  l2 has those of a feature squared.
    Raises: ValueError, if a shape does not fit.
    Source: Alain and Bengio 2016, https://arxiv.org/abs/1610.01644; ridge: Hoerl, Kennard 1970.
    """
    name = "linear_probe"
    train, queries = widen(train), widen(queries)
    check_positive(name, classes=classes)
    check_shape(name, "train", train, (None, None))
    check_shape(name, "labels", labels, (len(train),), "One label a training row.")
    check_dtype(name, "labels", labels, jnp.integer, "Labels are class numbers.")
    check_shape(name, "queries", queries, (None, train.shape[1]), "The same features as train.")
    hot = jax.nn.one_hot(jnp.asarray(labels), classes, dtype=train.dtype)
    centre, share = train.mean(0), hot.mean(0)
    x = train - centre
    gram = x.T @ x + l2 * len(x) * jnp.eye(x.shape[1], dtype=x.dtype)
    kernel = jnp.linalg.solve(gram, x.T @ (hot - share))
    return (queries - centre) @ kernel + share
