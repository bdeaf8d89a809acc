"""Triplet losses: given triplets, and triplets mined in a batch of labelled embeddings."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.core import check_shape
from nnjax.losses.contrastive import label_pairs, safe_sqrt
from nnjax.losses.reduction import Reduction, alike, reduce

Distance = Callable[[jax.Array, jax.Array], jax.Array]


def euclidean_distance(first: jax.Array, second: jax.Array, *, eps: float = 1e-6) -> jax.Array:
    """``|first - second + eps|``; eps gives equal vectors a gradient.

    Shapes: first [..., D], second [..., D] -> [...].
    """
    return safe_sqrt(jnp.square(first - second + eps).sum(-1))


def triplet_margin_loss(
    anchors: ArrayLike,
    positives: ArrayLike,
    negatives: ArrayLike,
    *,
    margin: float = 1.0,
    distance: Distance = euclidean_distance,
    swap: bool = False,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``max(0, distance(anchor, positive) - distance(anchor, negative) + margin)``.

    ``swap`` takes the positive's distance to the negative instead, where that is the smaller.

    Shapes: anchors [..., D], positives [..., D], negatives [..., D] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the distance, margin's too.
    Raises: ValueError, if the shapes differ; TypeError, if anchors are not floating.
    Source: Balntas et al. 2016, https://bmva-archive.org.uk/bmvc/2016/papers/paper119/. optax's has
            eps under the root and no other distance.
    """
    name = "triplet_margin_loss"
    a, p, n = alike(name, mask, 1, anchors=anchors, positives=positives, negatives=negatives)
    apart = distance(a, n)
    if swap:
        apart = jnp.minimum(apart, distance(p, n))
    loss = jnp.maximum(0, distance(a, p) - apart + margin)
    return reduce(name, loss, weights, mask, reduction)


def batch_hard_triplet_loss(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 1.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``max(0, margin + max_p d(a, p) - min_n d(a, n))``: each anchor's hardest positive, negative.

    d is the Euclidean distance. An anchor without a positive or a negative has loss 0 and does not
    count in the mean.

    Shapes: embeddings [B, D], labels [B] -> [B]. What the mask hides is nobody's partner either.
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the embeddings, margin's too.
    Raises: ValueError, if the shapes do not fit; TypeError, if embeddings are not floating.
    Source: Hermans, Beyer, Leibe 2017, https://arxiv.org/abs/1703.07737, equation 5.
    """
    name = "batch_hard_triplet_loss"
    d, same, other = _distances(name, embeddings, labels, mask)
    found = same.any(-1) & other.any(-1)
    far = jnp.max(jnp.where(same, d, 0), -1, initial=0)
    near = jnp.min(jnp.where(other, d, jnp.inf), -1, initial=jnp.inf)
    loss = jnp.maximum(0, margin + far - jnp.where(found, near, 0))
    loss = jnp.where(found, loss, 0)
    return reduce(name, loss, weights, mask, reduction, found.astype(loss.dtype))


def batch_all_triplet_loss(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 1.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``sum_{p, n} max(0, margin + d(a, p) - d(a, n))`` of each anchor's triplets.

    The mean is over the triplets that are not yet 0, all anchors' together. It makes [B, B, B]
    triplets.

    Shapes: embeddings [B, D], labels [B] -> [B]. What the mask hides is nobody's partner either.
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the embeddings, margin's too.
    Raises: ValueError, if the shapes do not fit; TypeError, if embeddings are not floating.
    Source: Hermans, Beyer, Leibe 2017, https://arxiv.org/abs/1703.07737, equation 6.
    """
    name = "batch_all_triplet_loss"
    d, same, other = _distances(name, embeddings, labels, mask)
    triplets = jnp.maximum(0, margin + d[:, :, None] - d[:, None, :])
    triplets = jnp.where(same[:, :, None] & other[:, None, :], triplets, 0)
    active = (triplets > 0).sum((1, 2)).astype(d.dtype)
    return reduce(name, triplets.sum((1, 2)), weights, mask, reduction, active)


def semi_hard_triplet_loss(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 1.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``sum_p max(0, margin + d(a, p) - d(a, n))``, n the nearest negative beyond the positive.

    Where no negative is farther than the positive, n is the farthest. The mean is over all pairs of
    an anchor and a positive, all anchors' together.

    Shapes: embeddings [B, D], labels [B] -> [B]. What the mask hides is nobody's partner either.
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the embeddings, margin's too.
    Raises: ValueError, if the shapes do not fit; TypeError, if embeddings are not floating.
    Source: Schroff, Kalenichenko, Philbin 2015, https://arxiv.org/abs/1503.03832, section 3.2.
    """
    name = "semi_hard_triplet_loss"
    d, same, other = _distances(name, embeddings, labels, mask)
    beyond = other[:, None, :] & (d[:, None, :] > d[:, :, None])  # [anchor, positive, negative]
    nearest = jnp.min(jnp.where(beyond, d[:, None, :], jnp.inf), -1, initial=jnp.inf)
    farthest = jnp.max(jnp.where(other, d, 0), -1, initial=0)[:, None]
    apart = jnp.where(beyond.any(-1), nearest, farthest)
    pairs = same & other.any(-1, keepdims=True)
    loss = jnp.where(pairs, jnp.maximum(0, margin + d - jnp.where(pairs, apart, 0)), 0).sum(-1)
    return reduce(name, loss, weights, mask, reduction, pairs.sum(-1).astype(d.dtype))


def _distances(name, embeddings, labels, mask):
    """[B, B] Euclidean distances, and which pairs are of one label and which of two."""
    (x,) = alike(name, mask, 1, embeddings=embeddings)
    check_shape(name, "embeddings", x, (None, None), "It is [B, D]; use jax.vmap for more batches.")
    d = safe_sqrt(jnp.square(x[:, None] - x[None]).sum(-1))  # not by products: those cancel
    return d, *label_pairs(name, labels, x.shape[0], mask)
