"""Linear recurrences over a sequence, in parallel: min_gru, rg_lru and s5.

Gates look at x alone, never at h, so that all steps come from one associative scan. The call is
that of ``lstm``: ``y, carry = layer(params, x)``, with ``carry``, ``lengths`` or ``mask``, and
``reverse``.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.core import Layer, check_entries, check_floating, check_positive, check_shape
from nnjax.initializers import (
    Initializer,
    constant,
    draw,
    lecun_normal,
    normal,
    ones,
    uniform,
    zeros,
)
from nnjax.layers.sequences import running
from nnjax.ops.linear_recurrence import linear_recurrence
from nnjax.ops.precision import widen
from nnjax.ops.recurrence import select


def min_gru(
    in_features: int,
    hidden_features: int,
    *,
    kernel_init: Initializer = lecun_normal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """A GRU whose gate and candidate see x alone. With z, n = x_t @ kernel + bias::

        h = (1 - sigmoid(z)) * h + sigmoid(z) * n

    Shapes: x [..., T, in] -> y [..., T, H], h [..., H]; kernel [in, 2H], bias [2H], side by side in
        the order z, n; lengths [...]; mask [..., T].
    Dtypes: params float32; the scan in float32 or wider; y and the carry have x.dtype.
    Raises: ValueError, for another number of features, or a carry, lengths or mask that do not fit
        x; TypeError, if x is not floating.
    Source: Feng et al. 2024, https://arxiv.org/abs/2410.01201, section 3.1; without the logarithms
        of its appendix, which ask for a candidate above zero.
    """
    name = f"min_gru({in_features}, {hidden_features})"
    check_positive(name, in_features=in_features, hidden_features=hidden_features)
    shapes = {"kernel": (in_features, 2 * hidden_features), "bias": (2 * hidden_features,)}

    def init(key):
        return draw(key, shapes, kernel=kernel_init, bias=bias_init), {}

    def terms(params, x):
        z, n = jnp.split(x @ params["kernel"] + params["bias"], 2, axis=-1)
        z, n = widen(z), widen(n)
        return jax.nn.sigmoid(-z), jax.nn.sigmoid(z) * n  # 1 - sigmoid(z) cancels at large z

    return _layer(name, init, shapes, terms, in_features, (hidden_features,))


def rg_lru(features: int, *, kernel_init: Initializer = lecun_normal()) -> Layer:
    """Real-gated linear recurrent unit. With a = sigmoid(decay), entry by entry::

        r, i = sigmoid(x_t @ kernel + bias)
        h = a^(8 r) * h + sqrt(1 - a^(16 r)) * i * x_t

    Shapes: x [..., T, D] -> y [..., T, D], h [..., D]; kernel [D, 2D], bias [2D], side by side in
        the order r, i; decay [D]; lengths [...]; mask [..., T].
    Dtypes: params float32; gates and scan in float32 or wider; y and the carry have x.dtype.
    Raises: ValueError, for another number of features, or a carry, lengths or mask that do not fit
        x; TypeError, if x is not floating.
    Source: De et al. 2024, https://arxiv.org/abs/2402.19427, section 2.4; a^8 starts uniform in
        (0.9, 0.999) as there. Gates are dense here; Griffin's are block-diagonal.
    """
    name = f"rg_lru({features})"
    check_positive(name, features=features)
    shapes = {"kernel": (features, 2 * features), "bias": (2 * features,), "decay": (features,)}

    def decay_init(key, shape):
        a = (0.9 + uniform(0.099)(key, shape)) ** (1 / 8)
        return jnp.log(a) - jnp.log1p(-a)

    def init(key):
        return draw(key, shapes, kernel=kernel_init, bias=zeros, decay=decay_init), {}

    def terms(params, x):
        gates = widen(x @ params["kernel"] + params["bias"])
        r, i = jnp.split(jax.nn.sigmoid(gates), 2, axis=-1)
        log_a = 8 * r * jax.nn.log_sigmoid(widen(params["decay"]))
        # at a gate of zero the slope of the root would be infinite
        scale = jnp.sqrt(jnp.maximum(-jnp.expm1(2 * log_a), 1e-12))
        return jnp.exp(log_a), scale * i * widen(x)

    return _layer(name, init, shapes, terms, features, (features,))


def s5(features: int, states: int) -> Layer:
    """Diagonal state-space model, complex inside. For state n, with step s_n and rate l_n::

        h = exp(l_n s_n) * h + (exp(l_n s_n) - 1) / l_n * (x_t @ kernel)_n
        y = 2 * Re(h @ readout) + skip * x_t

    This is ``h' = l h + x @ kernel``, sampled exactly for x held still over each step. Each state
    stands for a conjugate pair, of which the real part sees twice one. Real parts of rates are
    ``-exp(decay)``, imaginary parts ``frequency``, steps ``exp(log_step)``.

    Shapes: x [..., T, D] -> y [..., T, D], h [..., N, 2]; a last axis of 2 is real and imaginary
        part; kernel [D, N, 2], readout [N, D, 2], skip [D]; decay, frequency, log_step [N];
        lengths [...]; mask [..., T].
    Dtypes: params float32; complex64 or wider inside; y and the carry have x.dtype.
    Units:  steps of time are those between x_t; frequency is in radians a step, over exp(log_step).
    Raises: ValueError, for another number of features, or a carry, lengths or mask that do not fit
        x; TypeError, if x is not floating.
    Source: Smith et al. 2023, https://arxiv.org/abs/2208.04933, section 3; rates start at the
        eigenvalues of HiPPO-N, steps log-uniform in (0.001, 0.1), as there; kernel and readout are
        drawn in the eigenvectors' basis, where theirs are rotated into it.
    """
    name = f"s5({features}, {states})"
    check_positive(name, features=features, states=states)
    shapes = {
        "kernel": (features, states, 2),
        "readout": (states, features, 2),
        "skip": (features,),
        "decay": (states,),
        "frequency": (states,),
        "log_step": (states,),
    }

    def init(key):
        small, large = math.log(0.001), math.log(0.1)
        makers = {
            "kernel": normal(math.sqrt(0.5 / features)),  # unit variance in two parts
            "readout": normal(math.sqrt(0.5 / (2 * states))),
            "skip": ones,
            "decay": constant(math.log(0.5)),
            "frequency": lambda key, shape: jax.device_put(_hippo_frequencies(states)),
            "log_step": lambda key, shape: uniform(large - small)(key, shape) + np.float32(small),
        }
        return draw(key, shapes, **makers), {}

    def terms(params, x):
        step, kernel = jnp.exp(widen(params["log_step"])), widen(params["kernel"])
        # real parts stay below zero, so that nothing grows
        real, imaginary = -jnp.exp(widen(params["decay"])), widen(params["frequency"])
        turn = jax.lax.complex(real * step, imaginary * step)
        driven = _complex(jnp.tensordot(widen(x), kernel * step[:, None], 1))
        return jnp.exp(turn), jnp.expm1(turn) / turn * driven  # exp(turn) - 1 cancels

    def read(params, x, h):
        readout = _complex(widen(params["readout"]))
        return 2 * jnp.real(h @ readout) + widen(params["skip"]) * widen(x)

    return _layer(name, init, shapes, terms, features, (states, 2), read)


def _layer(name, init, shapes, terms, in_features, carry_shape, read=None) -> Layer:
    """``h_t = a_t * h_{t-1} + b_t``, where ``a, b = terms(params, x)``; ``y = read(params, x, h)``.

    A carry of two axes holds complex numbers as pairs.
    """
    pairs = len(carry_shape) == 2

    def apply(
        params,
        state,
        x,
        *,
        carry: Any = None,
        lengths=None,
        mask=None,
        reverse=False,
        key=None,
        train=False,
    ):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., None, in_features))
        check_entries(name, "params", params, **shapes)
        batch, steps = x.shape[:-2], x.shape[-2]
        if carry is not None:
            fix = "Pass it as an earlier call returned it."
            check_shape(name, "carry", carry, (*batch, *carry_shape), fix)
            carry = _complex(widen(carry)) if pairs else widen(carry)
        runs = running(name, x.shape[:-1], lengths, mask)
        if runs is not None:  # a NaN in the padding would reach the gradients
            x = select(runs, x, 0)
        a, b = terms(params, x)
        if runs is not None:  # a step that leaves h as it is
            a, b = jnp.broadcast_arrays(a, b)
            a, b = select(runs, a, 1), select(runs, b, 0)
        h = linear_recurrence(a, b, carry, reverse=reverse)
        if steps:
            last = h[..., 0 if reverse else -1, :]
        else:
            last = jnp.zeros((*batch, carry_shape[0]), h.dtype) if carry is None else carry
        y = h if read is None else read(params, x, h)
        y = y if runs is None else select(runs, y, 0)
        last = jnp.stack([last.real, last.imag], -1) if pairs else last
        return (y.astype(x.dtype), last.astype(x.dtype)), state

    return Layer(init, apply, name)


def _complex(pairs: jax.Array) -> jax.Array:
    return jax.lax.complex(pairs[..., 0], pairs[..., 1])


def _hippo_frequencies(states: int) -> np.ndarray:
    """Positive imaginary parts of the eigenvalues of HiPPO-N of 2N states; real parts are -1/2."""
    n = np.sqrt(2.0 * np.arange(2 * states) + 1)
    skew = np.tril(np.outer(n, n), -1) / 2
    eigenvalues = np.linalg.eigvalsh(1j * (skew - skew.T))
    return eigenvalues[states:].astype(np.float32)
