"""Energies of restricted Boltzmann machines, and contrastive divergence."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from nnjax.core import check_shape
from nnjax.losses.reduction import Reduction, alike, reduce
from nnjax.ops.precision import widen


def rbm_free_energy(
    visible: ArrayLike,
    kernel: ArrayLike,
    visible_bias: ArrayLike,
    hidden_bias: ArrayLike,
) -> jax.Array:
    """``-visible . visible_bias - sum_h log(1 + exp(visible @ kernel + hidden_bias)_h)``.

    Shapes: visible [..., V], kernel [V, H], visible_bias [V], hidden_bias [H] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  nats: ``exp(-free energy)`` is a probability not yet normalised.
    Raises: ValueError, if the shapes do not fit; TypeError, if visible is not floating.
    Source: Hinton 2012, https://doi.org/10.1007/978-3-642-35289-8_32, section 16.1.
    """
    v, w, a, b = _rbm("rbm_free_energy", visible, kernel, visible_bias, hidden_bias)
    return -(v @ a) - jax.nn.softplus(v @ w + b).sum(-1)


def rbm_gibbs_step(
    key: jax.Array,
    visible: ArrayLike,
    kernel: ArrayLike,
    visible_bias: ArrayLike,
    hidden_bias: ArrayLike,
) -> jax.Array:
    """Draws binary hidden units given the visible ones, then visible ones given those.

    Shapes: visible [..., V], kernel [V, H], visible_bias [V], hidden_bias [H] -> [..., V].
    Dtypes: computed and returned in float32 or wider, as zeros and ones.
    Raises: ValueError, if the shapes do not fit; TypeError, if visible is not floating.
    Source: Hinton 2012, https://doi.org/10.1007/978-3-642-35289-8_32, section 3.
    """
    v, w, a, b = _rbm("rbm_gibbs_step", visible, kernel, visible_bias, hidden_bias)
    hidden_key, visible_key = jax.random.split(key)
    h = jax.random.bernoulli(hidden_key, jax.nn.sigmoid(v @ w + b)).astype(v.dtype)
    return jax.random.bernoulli(visible_key, jax.nn.sigmoid(h @ w.T + a)).astype(v.dtype)


def contrastive_divergence(
    free_energy: Callable[[jax.Array], jax.Array],
    data: ArrayLike,
    samples: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    reduction: Reduction = "none",
) -> jax.Array:
    """``free_energy(data) - free_energy(stop_gradient(samples))``: lower at data than at samples.

    ``samples`` come from a few Gibbs steps begun at the data (CD-k) or at the last samples
    (persistent). Only its gradient has a meaning, not its value.

    Shapes: data [..., V], samples [..., V]; free_energy [..., V] -> [...] -> [...].
    Dtypes: computed and returned in float32 or wider.
    Units:  nats.
    Raises: ValueError, if the shapes differ; TypeError, if data is not floating.
    Source: Hinton 2002, https://doi.org/10.1162/089976602760128018, equation 5.
    """
    name = "contrastive_divergence"
    data, samples = alike(name, mask, 1, data=data, samples=samples)
    energies = free_energy(data), free_energy(jax.lax.stop_gradient(samples))
    for energy in energies:
        fix = "It gives one number an example."
        check_shape(name, "free_energy(x)", energy, data.shape[:-1], fix)
    return reduce(name, widen(energies[0] - energies[1]), weights, mask, reduction)


def _rbm(name, visible, kernel, visible_bias, hidden_bias) -> list[jax.Array]:
    (v,) = alike(name, None, 1, visible=visible)
    check_shape(name, "kernel", kernel, (v.shape[-1], None), "It is [V, H].")
    check_shape(name, "visible_bias", visible_bias, v.shape[-1:], "Give one a visible unit.")
    check_shape(name, "hidden_bias", hidden_bias, jnp.shape(kernel)[1:], "Give one a hidden unit.")
    return [v, *(jnp.asarray(a, v.dtype) for a in (kernel, visible_bias, hidden_bias))]
