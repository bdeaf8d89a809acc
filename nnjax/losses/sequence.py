"""Losses of sequences whose alignment is not known: CTC."""

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from nnjax.core import check_dtype, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.losses.reduction import Reduction, alike, hide, reduce


def ctc_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    logit_lengths: ArrayLike | None = None,
    label_lengths: ArrayLike | None = None,
    *,
    blank: int = 0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``-log`` of the probability of all frame by frame paths that collapse to the labels.

    A path collapses by merging repeated classes and then dropping blanks. Labels that no path of
    the given length can say have loss infinity and gradient 0: hide them by ``mask``. A label
    outside [0, V), or a length that its axis does not have, makes its sequence's loss NaN.

    Shapes: logits [B, T, V], labels [B, N] of integers, logit_lengths [B], label_lengths [B] ->
            [B]. What is beyond the lengths is not read; without lengths all of it is.
    Dtypes: computed and returned in float32 or wider. Logits need not be normalised.
    Units:  nats a sequence. (PyTorch's "mean" divides by each label length first.)
    Raises: ValueError, if the shapes do not fit, there is no frame, or blank is outside [0, V);
            TypeError, if logits are not floating or labels or lengths not integers.
    Source: Graves et al. 2006, https://doi.org/10.1145/1143844.1143891; computed by optax.
    """
    name = "ctc_loss"
    (logits,) = alike(name, mask, 2, logits=logits)
    check_shape(name, "logits", logits, (None, None, None), "It is [B, T, V].")
    batch, frames, classes = logits.shape
    if not frames:
        fix = "Hide an example without frames by mask, or give it logit_lengths of 0."
        raise LayerValueError(f"{name}: got logits of shape {logits.shape}, expected T > 0. {fix}")
    if not 0 <= blank < classes:
        fix = f"It is one of the classes of logits {logits.shape}, the last is {classes - 1}."
        raise LayerValueError(f"{name}: got blank={blank}, expected 0 <= blank < {classes}. {fix}")
    check_shape(name, "labels", labels, (batch, None), "One row of labels an example.")
    check_dtype(name, "labels", labels, jnp.integer, "Classes are integers: labels.astype(int).")
    labels = hide(name, jnp.asarray(labels, int), mask, 1)
    t = _lengths(name, "logit_lengths", logit_lengths, batch, frames)
    n = _lengths(name, "label_lengths", label_lengths, batch, labels.shape[1])
    read = jnp.arange(labels.shape[1]) < n[:, None]
    labels = jnp.where(read, labels, 0)
    known = ((labels >= 0) & (labels < classes)).all(-1)
    known &= (0 <= t) & (t <= frames) & (0 <= n) & (n <= labels.shape[1])
    late = jnp.arange(frames) >= t[:, None]
    logits = jnp.where(late[..., None], 0, logits)
    paddings = (a.astype(logits.dtype) for a in (late, ~read))
    with jax.numpy_dtype_promotion("standard"):  # optax's mixes dtypes
        loss = optax.losses.ctc_loss(logits, next(paddings), labels, next(paddings), blank_id=blank)
    repeats = ((labels[:, 1:] == labels[:, :-1]) & read[:, 1:]).sum(-1)
    possible = t >= n + repeats  # a repeated label needs a blank between
    loss = jnp.where(possible, loss, jnp.inf) * jnp.where(known, 1.0, jnp.nan).astype(loss.dtype)
    return reduce(name, loss, weights, mask, reduction)


def _lengths(
    name: str, argument: str, lengths: ArrayLike | None, batch: int, size: int
) -> jax.Array:
    if lengths is None:
        return jnp.full(batch, size)
    check_dtype(name, argument, lengths, jnp.integer, "A length is an integer.")
    check_shape(name, argument, lengths, (batch,), "Give one an example.")
    return jnp.asarray(lengths, int)
