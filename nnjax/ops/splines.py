"""B-splines."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def uniform_knots(low: float, high: float, intervals: int, degree: int) -> np.ndarray:
    """Knots that cut [low, high] into equal intervals, and ``degree`` more on each side."""
    steps = np.arange(-degree, intervals + degree + 1)
    return low + (high - low) / intervals * steps


def bspline_basis(
    x: Float[Array, "*shape"],
    knots: np.ndarray,
    degree: int,
) -> Float[Array, "*shape K"]:
    """The values at x of the ``len(knots) - degree - 1`` B-splines of a degree on these knots.

    By the recursion of Cox and de Boor. Between knots[degree] and knots[-degree - 1] they sum to 1;
    outside all knots they are 0.

    Source: de Boor 1972, https://doi.org/10.1016/0021-9045(72)90080-9, equation 5.
    """
    t = jnp.asarray(knots, x.dtype)
    x = x[..., None]
    basis = ((t[:-1] <= x) & (x < t[1:])).astype(x.dtype)
    for k in range(1, degree + 1):
        rise = (x - t[: -k - 1]) / (t[k:-1] - t[: -k - 1])
        fall = (t[k + 1 :] - x) / (t[k + 1 :] - t[1:-k])
        basis = rise * basis[..., :-1] + fall * basis[..., 1:]
    return basis
