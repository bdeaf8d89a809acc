"""Vector quantizers: each vector becomes the nearest of a codebook, and has a gradient still."""

import jax
import jax.numpy as jnp

from nnjax.core import Layer, check_entries, check_floating, check_positive, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.initializers import Initializer, draw, ones, variance_scaling
from nnjax.ops.precision import widen
from nnjax.ops.quantize import nearest

_unit = variance_scaling(1.0, "fan_out", "uniform")  # codes of about the length 1


def vector_quantizer(
    codes: int, dim: int, *, commitment: float = 0.25, embedding_init: Initializer = _unit
) -> Layer:
    """The nearest of ``codes`` trained vectors: ``y = embedding[argmin_k |x - embedding_k|^2]``.

    Returns (y, indices, loss). x takes the gradient of y as it is (straight through), the codebook
    none of it. Add the mean of the loss to yours: ``mean (sg(x) - y)^2 + commitment mean (x -
    sg(y))^2`` over the last axis, where sg stops the gradient, draws codes to their vectors and,
    ``commitment`` times as hard, vectors to their codes.

    Shapes: x [..., D] -> y [..., D], indices [...], loss [...]; embedding [K, D].
    Dtypes: params float32; distances and loss computed in float32 or wider; y and loss have
        x.dtype, indices are int32.
    Units:  loss has those of x squared.
    Raises: ValueError, if the last axis of x is not dim; TypeError, if x is not floating.
    Source: van den Oord et al. 2017, https://arxiv.org/abs/1711.00937, equations 1 to 3.
    """
    name = f"vector_quantizer({codes}, {dim})"
    check_positive(name, codes=codes, dim=dim)
    shapes = {"embedding": (codes, dim)}

    def init(key):
        return draw(key, shapes, embedding=embedding_init), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., dim))
        (embedding,) = check_entries(name, "params", params, **shapes)
        h = widen(x)
        embedding = embedding.astype(h.dtype)
        indices = nearest(h, embedding)
        code = embedding[indices]
        attraction = jnp.square(jax.lax.stop_gradient(h) - code).mean(-1)
        loss = attraction + commitment * _distance(h, code)
        return (_straight_through(x, code), indices, loss.astype(x.dtype)), state

    return Layer(init, apply, name)


def ema_vector_quantizer(
    codes: int,
    dim: int,
    *,
    decay: float = 0.99,
    commitment: float = 0.25,
    eps: float = 1e-5,
    axis_name: str | None = None,
    embedding_init: Initializer = _unit,
) -> Layer:
    """``vector_quantizer`` whose codes are running means of the vectors that fell to them.

    Returns (y, indices, loss), where the loss is the commitment alone. Training moves, for each
    code, the count of its vectors and their sum by ``running = decay * running + (1 - decay) *
    batch``, over the devices of ``axis_name`` too if given; the code is their quotient, with counts
    smoothed by ``(count + eps) / (n + codes eps) n``, where n counts all vectors.

    Shapes: x [..., D] -> y [..., D], indices [...], loss [...].
    Dtypes: state float32; distances and loss computed in float32 or wider; y and loss have x.dtype,
        indices are int32.
    State:  count [K] and sum [K, D]; they start at one and at random codes. ``sum / count`` are the
        codes.
    Units:  loss has those of x squared.
    Raises: ValueError, if the last axis of x is not dim, or decay outside [0, 1]; TypeError, if x
        is not floating.
    Source: van den Oord et al. 2017, https://arxiv.org/abs/1711.00937, appendix A.1; smoothing from
        Razavi et al. 2019, https://arxiv.org/abs/1906.00446, as their code has it.
    """
    name = f"ema_vector_quantizer({codes}, {dim})"
    check_positive(name, codes=codes, dim=dim)
    if not 0 <= decay <= 1:
        raise LayerValueError(f"{name}: got decay={decay}, expected 0 <= decay <= 1.")
    shapes = {"count": (codes,), "sum": (codes, dim)}

    def init(key):
        return {}, draw(key, shapes, count=ones, sum=embedding_init)

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., dim))
        count, total = check_entries(name, "state", state, **shapes)
        h = widen(x)
        n = count.sum()
        smooth = (count + eps) / (n + codes * eps) * n
        embedding = (total / smooth[:, None]).astype(h.dtype)
        indices = nearest(h, embedding)
        code = embedding[indices]
        loss = (commitment * _distance(h, code)).astype(x.dtype)
        outputs = _straight_through(x, code), indices, loss
        if not train:
            return outputs, state

        rows = jax.lax.stop_gradient(h).reshape(-1, dim)
        fell = jax.nn.one_hot(indices.reshape(-1), codes, dtype=h.dtype)
        batch = {"count": fell.sum(0), "sum": jnp.einsum("nk,nd->kd", fell, rows)}
        if axis_name is not None:
            batch = jax.lax.psum(batch, axis_name)
        move = lambda old, new: decay * old + (1 - decay) * new.astype(old.dtype)
        return outputs, {entry: move(state[entry], batch[entry]) for entry in shapes}

    return Layer(init, apply, name)


def _distance(h, code):
    return jnp.square(h - jax.lax.stop_gradient(code)).mean(-1)


def _straight_through(x, code):
    """The code, to the last bit, with the derivative of x."""
    return jax.lax.stop_gradient(code).astype(x.dtype) + (x - jax.lax.stop_gradient(x))
