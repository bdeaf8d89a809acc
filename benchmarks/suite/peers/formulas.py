"""Formulas that JAX's libraries have no layer for, so that several peers share them."""

import jax
import jax.numpy as jnp

from benchmarks.suite.peers.layouts import frequencies


def propagate(x, senders, receivers):
    """``D^(-1/2) (A + I) D^(-1/2) x``: x [N, D], senders and receivers [E] -> [N, D]."""
    loops = jnp.arange(len(x))
    senders, receivers = jnp.append(senders, loops), jnp.append(receivers, loops)
    degree = jax.ops.segment_sum(jnp.ones(len(receivers)), receivers, len(x))
    weight = jax.lax.rsqrt(degree[senders] * degree[receivers])
    return jax.ops.segment_sum(weight[:, None] * x[senders], receivers, len(x))


def waves(times, dim):
    """The sines and cosines that embed times [B]: -> [B, dim]."""
    angles = times[:, None] * frequencies(dim)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)


def doubled(x):
    """x [B, H, W, C] -> [B, 2 H, 2 W, C], each pixel four times."""
    return x.repeat(2, 1).repeat(2, 2)
