"""The cross entropy of a linear layer over many classes, without all logits at once."""

import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.core import check_floating, check_positive, check_shape
from nnjax.losses.classification import softmax_cross_entropy, z_loss as squared_logsumexp
from nnjax.losses.reduction import Reduction, hide, integer_labels, is_integer, reduce
from nnjax.ops.precision import widen


def linear_softmax_cross_entropy(
    x: ArrayLike,
    labels: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    chunk_size: int | None = None,
    class_weights: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``softmax_cross_entropy(x @ kernel + bias, labels) + z_loss * logsumexp(...)**2``, in chunks.

    Logits are made for ``chunk_size`` examples at a time, and made again for the gradient, so that
    [examples, V] never is in memory; by default a chunk's logits take about the memory of x. It is
    a ``jax.lax.scan`` of ``jax.checkpoint``: any derivative works, at the cost of one more product
    of x and kernel a gradient.

    Shapes: x [..., D]; labels [...] of integers, or [..., V] of probabilities; kernel [D, V], bias
            [V], class_weights [V] -> [...].
    Dtypes: logits and loss in float32 or wider, whatever x and kernel; the kernel's gradient is
            summed over chunks in float32 too. A label outside [0, V) gives NaN.
    Units:  nats.
    Raises: ValueError, if the shapes do not fit; TypeError, if x or kernel are not floating.
    Source: chunks of examples as in Hsu et al. 2024, https://arxiv.org/abs/2410.10989, section 3.2.
    """
    name = "linear_softmax_cross_entropy"
    for argument, a in {"x": x, "kernel": kernel}.items():
        check_floating(name, argument, a)
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    check_shape(name, "x", x, (..., None), "Give it an axis of features.")
    check_shape(name, "kernel", kernel, (x.shape[-1], None), "It is [D, V], for x [..., D].")
    batch, classes = x.shape[:-1], jnp.shape(kernel)[1]
    x = hide(name, x, mask, 1)
    if is_integer(labels):
        labels = hide(name, jnp.asarray(labels, int), mask)
        integer_labels(name, labels, (*batch, classes), None)  # its checks, before any chunk
    else:
        check_shape(name, "labels", labels, (*batch, classes), "Probabilities have x's batch axes.")
        labels = hide(name, jnp.asarray(labels), mask, 1)
    if bias is not None:
        check_shape(name, "bias", bias, (classes,), "Give one a class.")
        bias = widen(bias)
    if chunk_size is not None:
        check_positive(name, chunk_size=chunk_size)
    size = math.prod(batch)
    rows, labels = x.reshape(size, x.shape[-1]), labels.reshape(size, *labels.shape[len(batch) :])
    chunk = chunk_size or max(1, -(-size * x.shape[-1] // classes), min(size, 128))
    wide = max(widen(x).dtype, widen(kernel).dtype, key=lambda dtype: dtype.itemsize)
    dtype = x.dtype if x.dtype == kernel.dtype else wide  # of the factors
    wide_kernel = kernel.astype(wide)  # its cotangent is summed in this dtype, chunk after chunk

    @jax.checkpoint
    def loss_of(rows, labels):
        w = wide_kernel.astype(dtype)
        logits = jnp.matmul(rows.astype(dtype), w, preferred_element_type=wide)
        logits = logits if bias is None else logits + bias.astype(logits.dtype)
        loss = softmax_cross_entropy(
            logits, labels, class_weights=class_weights, label_smoothing=label_smoothing
        )
        return loss + z_loss * squared_logsumexp(logits) if z_loss else loss

    if size <= chunk:
        loss = loss_of(rows, labels)
    else:
        loss = jax.lax.map(lambda row: loss_of(*row), (rows, labels), batch_size=chunk)
    counts = None
    if class_weights is not None:
        c, flat = jnp.asarray(class_weights, loss.dtype), labels
        counts = c[flat] if is_integer(flat) else (flat.astype(loss.dtype) * c).sum(-1)
        counts = counts.reshape(batch)
    return reduce(name, loss.reshape(batch), weights, mask, reduction, counts)
