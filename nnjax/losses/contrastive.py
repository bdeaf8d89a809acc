"""Losses over pairs of embeddings: InfoNCE, CLIP's, supervised contrastive, Siamese."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from nnjax.core import check_shape
from nnjax.losses.reduction import Reduction, alike, hide, reduce


def info_nce(
    queries: ArrayLike,
    keys: ArrayLike,
    *,
    temperature: ArrayLike = 0.07,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-log softmax_j(cos(queries_i, keys_j) / temperature)_i``: key i among all keys.

    Shapes: queries [B, D], keys [B, D] -> [B]. What the mask hides is nobody's negative either.
    Dtypes: computed and returned in float32 or wider; temperature may be learned.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if queries are not floating.
    Source: van den Oord, Li, Vinyals 2018, https://arxiv.org/abs/1807.03748, equation 4.
    """
    name = "info_nce"
    logits = _cosines(name, mask, temperature, queries=queries, keys=keys)
    return reduce(name, _own_among_all(logits, mask), weights, mask, reduction)


def clip_loss(
    images: ArrayLike,
    texts: ArrayLike,
    *,
    temperature: ArrayLike = 0.07,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``(info_nce(images, texts) + info_nce(texts, images)) / 2``.

    Shapes: images [B, D], texts [B, D] -> [B]. What the mask hides is nobody's negative either.
    Dtypes: computed and returned in float32 or wider; temperature may be learned.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if images are not floating.
    Source: Radford et al. 2021, https://arxiv.org/abs/2103.00020, figure 3.
    """
    name = "clip_loss"
    logits = _cosines(name, mask, temperature, images=images, texts=texts)
    loss = (_own_among_all(logits, mask) + _own_among_all(logits.T, mask)) / 2
    return reduce(name, loss, weights, mask, reduction)


def supervised_contrastive_loss(
    embeddings: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: ArrayLike = 0.1,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-mean_{p of i's label} log(exp(s_ip) / sum_{a != i} exp(s_ia))``, s = cos / temperature.

    With two views of each example and the example's index as label it is SimCLR's NT-Xent. An
    example alone with its label has loss 0 and does not count in the mean.

    Shapes: embeddings [B, D], labels [B] of integers -> [B]. What the mask hides is nobody's
            positive or negative either.
    Dtypes: computed and returned in float32 or wider; temperature may be learned.
    Units:  nats.
    Raises: ValueError, if the shapes do not fit; TypeError, if embeddings are not floating.
    Source: Khosla et al. 2020, https://arxiv.org/abs/2004.11362, equation 2.
    """
    name = "supervised_contrastive_loss"
    logits = _cosines(name, mask, temperature, embeddings=embeddings)
    same, _ = label_pairs(name, labels, logits.shape[0], mask)
    others = ~jnp.eye(logits.shape[0], dtype=bool) & _shown(mask, logits.shape[0])
    has_others = others.any(-1, keepdims=True)
    total = jax.nn.logsumexp(logits, -1, where=others | ~has_others, keepdims=True)
    count = same.sum(-1)
    loss = -jnp.where(same, logits - total, 0).sum(-1) / jnp.maximum(count, 1).astype(logits.dtype)
    return reduce(name, loss, weights, mask, reduction, (count > 0).astype(loss.dtype))


def contrastive_loss(
    first: ArrayLike,
    second: ArrayLike,
    targets: ArrayLike,
    *,
    margin: float = 1.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``d**2 / 2`` of alike pairs (target 1), ``max(0, margin - d)**2 / 2`` of others (0).

    d is the Euclidean distance of a pair.

    Shapes: first [..., D], second [..., D], targets [...] -> [...].
    Dtypes: targets of any dtype; computed and returned in float32 or wider.
    Units:  those of the embeddings, squared; margin has theirs.
    Raises: ValueError, if the shapes do not fit; TypeError, if first is not floating.
    Source: Hadsell, Chopra, LeCun 2006, https://doi.org/10.1109/CVPR.2006.100, equation 4.
    """
    name = "contrastive_loss"
    first, second = alike(name, mask, 1, first=first, second=second)
    check_shape(name, "targets", targets, first.shape[:-1], "Give one a pair.")
    targets = hide(name, jnp.asarray(targets, first.dtype), mask)
    squared = jnp.square(first - second).sum(-1)
    gap = jnp.maximum(0, margin - safe_sqrt(squared))
    loss = 0.5 * (targets * squared + (1 - targets) * gap**2)
    return reduce(name, loss, weights, mask, reduction)


def safe_sqrt(x: jax.Array) -> jax.Array:
    """``sqrt(x)``, with gradient 0 instead of infinity at 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def label_pairs(
    name: str, labels: ArrayLike, size: int, mask: ArrayLike | None
) -> tuple[jax.Array, jax.Array]:
    """[B, B] each: i and j are two examples of one label; i and j have different labels."""
    check_shape(name, "labels", labels, (size,), "Give one label an example.")
    labels = jnp.asarray(labels)
    equal = labels[:, None] == labels[None, :]
    shown = _shown(mask, size)
    shown = shown & shown.T
    return equal & ~jnp.eye(size, dtype=bool) & shown, ~equal & shown


def _shown(mask: ArrayLike | None, size: int) -> jax.Array:
    """[B, B], True where column j takes part."""
    row = jnp.ones(size, bool) if mask is None else jnp.broadcast_to(jnp.asarray(mask), (size,))
    return jnp.broadcast_to(row, (size, size))


def _cosines(
    name: str, mask: ArrayLike | None, temperature: ArrayLike, /, **arrays: ArrayLike
) -> jax.Array:
    """[B, B] cosines of the first's rows with the last's, over the temperature."""
    rows = alike(name, mask, 1, **arrays)
    a, b = rows[0], rows[-1]
    check_shape(name, next(iter(arrays)), a, (None, None), "It is [B, D]; use jax.vmap for more.")
    unit = lambda x: x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-12))
    return unit(a) @ unit(b).T / jnp.asarray(temperature, a.dtype)


def _own_among_all(logits: jax.Array, mask: ArrayLike | None) -> jax.Array:
    size = logits.shape[0]
    columns = _shown(mask, size) | jnp.eye(size, dtype=bool)  # a hidden row keeps something finite
    logits = jnp.where(columns, logits, -jnp.inf)
    return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.arange(size))
