"""Linear recurrences, all steps at once by an associative scan."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact


def linear_recurrence(
    decay: Inexact[Array, "..."],
    inputs: Inexact[Array, "..."],
    initial: Inexact[Array, "..."] | None = None,
    *,
    axis: int = -2,
    reverse: bool = False,
) -> Inexact[Array, "..."]:
    """All h_t of ``h_t = decay_t * h_{t-1} + inputs_t``, entry by entry.

    Two steps in a row are again such a step, ``(a, b)`` then ``(c, d)`` giving ``(a c, c b + d)``,
    and joining steps is associative: T of them take about 2 log2(T) rounds.

    ``initial`` is h before the first step, zero if None; with ``reverse`` the last step is first.

    Shapes: decay and inputs broadcast to those of h, steps along ``axis``; initial has no ``axis``.
    Dtypes: one for all, real or complex.
    Source: Blelloch 1990, "Prefix sums and their applications", section 1.4.
    """
    decay, inputs = jnp.broadcast_arrays(decay, inputs)
    axis %= inputs.ndim
    if inputs.shape[axis] == 0:
        return inputs
    if initial is not None:
        first = (slice(None),) * axis + (-1 if reverse else 0,)
        inputs = inputs.at[first].add(decay[first] * initial)

    def join(early, late):
        (a, b), (c, d) = early, late
        return a * c, c * b + d

    return jax.lax.associative_scan(join, (decay, inputs), reverse=reverse, axis=axis)[1]
