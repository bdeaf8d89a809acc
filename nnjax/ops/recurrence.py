"""A recurrence along time, whose weights get their gradients from all steps at once."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero


class Step(NamedTuple):
    """``gates = join(project(weights, x), feed(weights, h))``, then ``y, carry = update(...)``.

    project, feed: take any leading axes, so that of time, too. join: is linear.
    update: ``update(others, gates, carry) -> (y, carry)``; a carry is h, or (h, ...).
    """

    project: Callable[[Any, jax.Array], jax.Array]
    feed: Callable[[Any, jax.Array], jax.Array]
    join: Callable[[jax.Array, jax.Array], Any]
    update: Callable[[Any, Any, Any], tuple[jax.Array, Any]]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def recur(step: Step, outside: bool, reverse: bool, weights, others, xs, start, runs, keep):
    """``jax.lax.scan`` of the step over xs [T, ..., D] -> (carry, y [T, ..., H]).

    A gradient of ``h @ recurrent`` within a scan is a sum over time of small products, each added
    to an array as large as the weights. Here the scan's derivative is with respect to the gates
    alone, and that of the gates of all steps with respect to weights and xs is taken after it, as
    one large product, whose sum is not rounded to the weights' dtype at every step. On two CPU
    cores that takes as long (0.99, ``benchmarks/kernels.py``); elsewhere it is not measured. All
    else that a step computes is computed again on the way back, but for products, since a loop has
    to copy whatever it stores.

    outside: project all of xs before the loop.
    runs: [T, ...], False where a step gives zeros and leaves the carry as it was; None for all.
    keep: what h is multiplied by where it is fed back, for dropout; None for 1.
    Source: the gates' cotangents kept for one product, as in cuDNN: Appleyard et al. 2016,
        https://arxiv.org/abs/1604.01946, section 3.
    """
    carry, y, _ = _scan(step, outside, reverse, weights, others, xs, start, runs, keep)
    return carry, y


def _scan(step, outside, reverse, weights, others, xs, start, runs, keep, slack=None):
    """Carry, all y, and all h as they were fed back; slack [T, ...] is what gates may move by."""

    def move(carry, now):
        x, run, to_gates = now
        h = _fed(carry, keep)
        gates = step.join(x if outside else step.project(weights, x), step.feed(weights, h))
        gates = gates if to_gates is None else _loose(gates, to_gates)
        y, new = update(others, gates, carry)
        if run is not None:
            y = select(run, y, 0)
            new = jax.tree.map(functools.partial(select, run), new, carry)
        return new, (y, h)

    update = jax.checkpoint(
        step.update, prevent_cse=False, policy=jax.checkpoint_policies.dots_saveable
    )
    xs = step.project(weights, xs) if outside else xs
    carry, (y, h) = jax.lax.scan(move, start, (xs, runs, slack), reverse=reverse)
    return carry, y, h


def _derivative(step, outside, reverse, primals, tangents):
    weights, others, xs, start, runs, keep = primals
    to_weights, to_others, to_xs, to_start, *_ = tangents

    def gates(weights, xs, h):
        return step.join(step.project(weights, xs), step.feed(weights, h))

    def run(others, start, slack):
        return _scan(step, outside, reverse, weights, others, xs, start, runs, keep, slack)

    h = _fed(start, keep)
    h = jax.ShapeDtypeStruct((len(xs), *h.shape), h.dtype)
    still = jax.tree.map(
        lambda gate: jnp.zeros(gate.shape, gate.dtype), jax.eval_shape(gates, weights, xs, h)
    )
    (carry, y, h), moved = jax.linearize(run, others, start, varying(still, (weights, xs, start)))
    of_all = lambda weights, xs: gates(weights, xs, h)
    to_gates = _push(of_all, (weights, xs), (to_weights, to_xs))
    to_carry, to_y, _ = moved(_filled(others, to_others), _filled(start, to_start), to_gates)
    return (carry, y), (to_carry, to_y)


recur.defjvp(_derivative, symbolic_zeros=True)


@jax.custom_jvp
def _loose(gates, slack):
    """The gates, which move by slack, too; that it is zero is not read."""
    return gates


@_loose.defjvp
def _(primals, tangents):
    return primals[0], jax.tree.map(jnp.add, *tangents)


def select(runs: jax.Array, x: jax.Array, other: Any) -> jax.Array:
    """x where ``runs``, else ``other``; ``runs`` has the leading axes of x."""
    return jnp.where(runs.reshape(runs.shape + (1,) * (x.ndim - runs.ndim)), x, other)


def hidden(carry: Any) -> jax.Array:
    """What of a carry is fed back: h of h, or of (h, ...)."""
    return carry[0] if isinstance(carry, tuple) else carry


def _fed(carry, keep):
    """h, or of it what dropout keeps."""
    return hidden(carry) if keep is None else hidden(carry) * keep


def _push(function, primals, tangents):
    """The tangent of ``function(*primals)``, without the work for inputs that do not move."""
    leaves, tree = jax.tree.flatten(primals)
    tangents = jax.tree.leaves(tangents)
    moving = [i for i, tangent in enumerate(tangents) if not isinstance(tangent, SymbolicZero)]

    def of_moving(*moved):
        now = leaves.copy()
        for i, leaf in zip(moving, moved, strict=True):
            now[i] = leaf
        return function(*jax.tree.unflatten(tree, now))

    pick = lambda values: [values[i] for i in moving]
    _, tangent = jax.jvp(of_moving, pick(leaves), pick(tangents))
    return tangent


def _filled(primals, tangents):
    """The tangents, with arrays of zeros for those that are known to be zero."""
    fill = lambda a, to_a: jnp.zeros_like(a) if isinstance(to_a, SymbolicZero) else to_a
    return varying(jax.tree.map(fill, primals, tangents), primals)


def varying(tree: Any, inputs: Any) -> Any:
    """The same numbers, varying over the devices of a ``jax.shard_map`` as the inputs do.

    A scan keeps that kind as it keeps shapes. What is added is a sum of nothing.
    """
    nothing = [
        jnp.sum(jnp.atleast_1d(leaf)[:0].astype(bool))
        for leaf in jax.tree.leaves(inputs)
        if isinstance(leaf, Tracer)
    ]
    zero: Any = sum(nothing) if nothing else None
    add = lambda leaf: leaf if zero is None else leaf + zero.astype(jnp.result_type(leaf))
    return jax.tree.map(add, tree)
