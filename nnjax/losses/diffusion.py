"""Losses of diffusion and flow matching: what to predict, and how to weigh noise levels.

A noised example is ``x = alpha * clean + sigma * noise``; alpha and sigma come from any schedule.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.core import check_floating, check_shape
from nnjax.core.errors import LayerValueError
from nnjax.losses.reduction import Reduction, alike, hide, reduce
from nnjax.ops.precision import widen

Target = Literal["noise", "velocity", "clean"]


def noised(clean: ArrayLike, noise: ArrayLike, alphas: ArrayLike, sigmas: ArrayLike) -> jax.Array:
    """``alphas * clean + sigmas * noise``: what the network sees.

    With ``alphas = t`` and ``sigmas = 1 - t`` it is the straight path of flow matching.

    Shapes: clean [B, ...], noise [B, ...], alphas [B], sigmas [B] -> [B, ...].
    Dtypes: computed and returned in float32 or wider.
    Raises: ValueError, if the shapes do not fit; TypeError, if clean is not floating.
    """
    clean, noise, alphas, sigmas = _levels("noised", None, clean, noise, alphas, sigmas)
    return alphas * clean + sigmas * noise


def diffusion_target(
    clean: ArrayLike,
    noise: ArrayLike,
    alphas: ArrayLike,
    sigmas: ArrayLike,
    *,
    target: Target = "noise",
) -> jax.Array:
    """What the network predicts: the noise, the clean example, or ``alpha noise - sigma clean``.

    Shapes: clean [B, ...], noise [B, ...], alphas [B], sigmas [B] -> [B, ...].
    Dtypes: computed and returned in float32 or wider.
    Raises: ValueError, if the shapes do not fit or the target is none of the three; TypeError, if
            clean is not floating.
    Source: Ho et al. 2020, https://arxiv.org/abs/2006.11239; velocity from Salimans, Ho 2022,
            https://arxiv.org/abs/2202.00512, section 4.
    """
    clean, noise, alphas, sigmas = _levels("diffusion_target", None, clean, noise, alphas, sigmas)
    return _target("diffusion_target", target, clean, noise, alphas, sigmas)


def snr_weights(
    alphas: ArrayLike,
    sigmas: ArrayLike,
    *,
    target: Target = "noise",
    gamma: float | None = None,
) -> jax.Array:
    """``min(snr, gamma)``, ``snr = (alpha / sigma)**2``, in units of the target's squared error.

    That is over snr for noise, over ``snr + 1`` for velocity, over 1 for clean. Without gamma, all
    three make the same loss: the squared error of the noise. With gamma (5 in the paper) it is
    min-SNR weighting.

    Shapes: alphas [...], sigmas [...] -> [...], all the same.
    Dtypes: computed and returned in float32 or wider. sigma 0 gives infinity for clean.
    Raises: ValueError, if the shapes differ or the target is none of the three; TypeError, if
            alphas are not floating.
    Source: Hang et al. 2023, https://arxiv.org/abs/2303.09556, section 3.4.
    """
    name = "snr_weights"
    a, s = alike(name, None, alphas=alphas, sigmas=sigmas)
    a, s = a**2, s**2
    # min(a / s, gamma) times s, as sigma may be 0
    top = a if gamma is None else jnp.minimum(a, gamma * s)
    if target == "noise":
        return jnp.where(a > 0, top / jnp.where(a > 0, a, 1), 1)
    if target == "velocity":
        return top / (a + s)
    if target == "clean":
        return a / s if gamma is None else jnp.minimum(a / s, gamma)
    raise _unknown(name, target)


def diffusion_loss(
    predictions: ArrayLike,
    clean: ArrayLike,
    noise: ArrayLike,
    alphas: ArrayLike,
    sigmas: ArrayLike,
    *,
    target: Target = "noise",
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``mean((predictions - diffusion_target(clean, noise, alphas, sigmas))**2)`` of each example.

    Weigh noise levels by multiplying with snr_weights (``weights`` would also divide the mean).

    Shapes: predictions [B, ...], clean [B, ...], noise [B, ...], alphas [B], sigmas [B] -> [B].
    Dtypes: computed and returned in float32 or wider.
    Units:  the target's, squared.
    Raises: ValueError, if the shapes do not fit or the target is none of the three; TypeError, if
            predictions are not floating.
    Source: Ho et al. 2020, https://arxiv.org/abs/2006.11239, equation 14.
    """
    name = "diffusion_loss"
    check_shape(name, "predictions", predictions, (None, ...), "Give it an axis of examples.")
    event = len(jnp.shape(predictions)) - 1
    predictions, clean = alike(name, mask, event, predictions=predictions, clean=clean)
    levels = _levels(name, mask, clean, noise, alphas, sigmas)
    errors = predictions - _target(name, target, *levels)
    loss = jnp.square(errors).mean(tuple(range(1, event + 1)))
    return reduce(name, loss, weights, mask, reduction)


def flow_matching_loss(
    predictions: ArrayLike,
    clean: ArrayLike,
    noise: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``mean((predictions - (clean - noise))**2)`` of each example: the straight path's velocity.

    The path goes from noise at t = 0 to clean at t = 1: ``noised(clean, noise, t, 1 - t)``.

    Shapes: predictions [B, ...], clean [B, ...], noise [B, ...] -> [B].
    Dtypes: computed and returned in float32 or wider.
    Units:  those of the examples, squared.
    Raises: ValueError, if the shapes differ; TypeError, if predictions are not floating.
    Source: Lipman et al. 2022, https://arxiv.org/abs/2210.02747, equation 23 with sigma_min 0.
    """
    name = "flow_matching_loss"
    check_shape(name, "predictions", predictions, (None, ...), "Give it an axis of examples.")
    event = len(jnp.shape(predictions)) - 1
    p, x, e = alike(name, mask, event, predictions=predictions, clean=clean, noise=noise)
    loss = jnp.square(p - (x - e)).mean(tuple(range(1, event + 1)))
    return reduce(name, loss, weights, mask, reduction)


def _levels(name, mask, clean, noise, alphas, sigmas) -> list[jax.Array]:
    """All in one wide dtype; alphas and sigmas [B, 1, ...]."""
    check_shape(name, "clean", clean, (None, ...), "Give it an axis of examples.")
    event = len(jnp.shape(clean)) - 1
    clean, noise = alike(name, mask, event, clean=clean, noise=noise)
    out = [clean, noise]
    for argument, a in (("alphas", alphas), ("sigmas", sigmas)):
        check_floating(name, argument, a)
        check_shape(name, argument, a, clean.shape[:1], "Give one an example.")
        a = hide(name, jnp.asarray(widen(a), clean.dtype), mask)
        out.append(a.reshape(a.shape + (1,) * event))
    return out


def _target(name, target, clean, noise, alphas, sigmas) -> jax.Array:
    if target == "noise":
        return noise
    if target == "velocity":
        return alphas * noise - sigmas * clean
    if target == "clean":
        return clean
    raise _unknown(name, target)


def _unknown(name: str, target: str) -> LayerValueError:
    got = f'got target={target!r}, expected "noise", "velocity" or "clean"'
    return LayerValueError(f"{name}: {got}. It says what the network predicts.")
