"""Activations: ``jax.nn``'s under their names, and those that it lacks.

Most are ``jax.nn``'s own functions. ``relu6``, ``leaky_relu`` and the hard ones have the
same values, and at their kinks the derivatives that PyTorch has, where ``jax.nn`` takes the mean of
both sides or the other one. All keep the dtype of x and let NaN through.
"""

import jax
import jax.numpy as jnp
from jax.nn import (
    gelu as gelu,
    identity as identity,
    log_sigmoid as log_sigmoid,
    log_softmax as log_softmax,
    mish as mish,
    relu as relu,
    sigmoid as sigmoid,
    silu as silu,
    soft_sign as soft_sign,
    softmax as softmax,
    softplus as softplus,
    sparse_plus as sparse_plus,
    sparse_sigmoid as sparse_sigmoid,
    squareplus as squareplus,
    tanh as tanh,
)

from nnjax.core.errors import LayerValueError
from nnjax.ops.precision import widen

__all__ = [
    "celu",
    "elu",
    "entmax15",
    "geglu",
    "gelu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "identity",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "reglu",
    "relu",
    "relu6",
    "relu_squared",
    "selu",
    "sigmoid",
    "silu",
    "sine",
    "snake",
    "softshrink",
    "soft_sign",
    "softmax",
    "softmin",
    "softplus",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "straight_through",
    "swiglu",
    "tanh",
    "tanhshrink",
    "threshold",
]


# Piecewise linear, with PyTorch's derivatives at the kinks.


def hard_tanh(x: jax.Array, low: float = -1.0, high: float = 1.0) -> jax.Array:
    """x held within [low, high]; the derivative at both ends is 0."""
    return jnp.where(x <= low, low, jnp.where(x >= high, high, x))


def relu6(x: jax.Array) -> jax.Array:
    """``min(max(x, 0), 6)``; the derivative at 0 and 6 is 0."""
    return hard_tanh(x, 0.0, 6.0)


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """``relu6(x + 3) / 6``; the derivative at -3 and 3 is 0."""
    return relu6(x + 3.0) / 6.0


def hard_silu(x: jax.Array) -> jax.Array:
    """``x * hard_sigmoid(x)``, also called hard swish; the derivative at -3 is 0, at 3 it is 1.

    Source: Howard et al. 2019, https://arxiv.org/abs/1905.02244, section 5.2.
    """
    return x * hard_sigmoid(x)


def leaky_relu(x: jax.Array, negative_slope: float | jax.Array = 0.01) -> jax.Array:
    """x above 0, ``negative_slope * x`` elsewhere; the derivative at 0 is negative_slope."""
    return jnp.where(x > 0, x, negative_slope * x)


def relu_squared(x: jax.Array) -> jax.Array:
    """``max(x, 0)²`` (So et al. 2021, Primer, https://arxiv.org/abs/2109.08668, section 4)."""
    return jnp.square(relu(x))


def threshold(x: jax.Array, threshold: float, value: float) -> jax.Array:
    """x above the threshold, ``value`` elsewhere; the derivative at the threshold is 0."""
    return jnp.where(x <= threshold, value, x)


def hardshrink(x: jax.Array, threshold: float = 0.5) -> jax.Array:
    """x where ``|x| > threshold``, 0 elsewhere; the derivative at the threshold is 0."""
    return jnp.where(jnp.abs(x) > threshold, x, 0.0 * x)  # not 0: a NaN has to show


def softshrink(x: jax.Array, threshold: float = 0.5) -> jax.Array:
    """``sign(x) max(|x| - threshold, 0)``; the derivative at the threshold is 0."""
    return jnp.where(jnp.abs(x) > threshold, x - threshold * jnp.sign(x), 0.0 * x)


# Smooth.


def elu(x: jax.Array, alpha: float | jax.Array = 1.0) -> jax.Array:
    """x above 0, ``alpha (exp(x) - 1)`` elsewhere; the derivative at 0 is alpha.

    Source: Clevert, Unterthiner, Hochreiter 2016, https://arxiv.org/abs/1511.07289, equation 15.
    """
    return jnp.where(x > 0, x, alpha * _expm1(jnp.where(x > 0, 0.0, x)))


def celu(x: jax.Array, alpha: float | jax.Array = 1.0) -> jax.Array:
    """x above 0, ``alpha (exp(x / alpha) - 1)`` elsewhere, whose slope has no jump at 0.

    Source: Barron 2017, https://arxiv.org/abs/1704.07483.
    """
    return jnp.where(x > 0, x, alpha * _expm1(jnp.where(x > 0, 0.0, x) / alpha))


def selu(x: jax.Array) -> jax.Array:
    """``1.0507 elu(x, 1.6733)``, which keeps mean 0 and variance 1 from layer to layer.

    Source: Klambauer et al. 2017, https://arxiv.org/abs/1706.02515, equation 2.
    """
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


@jax.custom_jvp
def _expm1(x: jax.Array) -> jax.Array:
    """``exp(x) - 1``; JAX's own derivative, ``expm1(x) + 1``, cancels where x is far below 0."""
    return jnp.expm1(x)


_expm1.defjvps(lambda dx, y, x: dx * jnp.exp(x))


def tanhshrink(x: jax.Array) -> jax.Array:
    """``x - tanh(x)``."""
    return x - jnp.tanh(x)


def snake(x: jax.Array, frequency: float | jax.Array = 1.0) -> jax.Array:
    """``x + sin²(frequency x) / frequency``, for periodic signals.

    Source: Ziyin, Hartwig, Ueda 2020, https://arxiv.org/abs/2006.08195, equation 3.
    """
    return x + jnp.square(jnp.sin(frequency * x)) / frequency


def sine(x: jax.Array, frequency: float | jax.Array = 30.0) -> jax.Array:
    """``sin(frequency x)``; ``initializers.siren`` makes the kernels that go with it.

    Source: Sitzmann et al. 2020, https://arxiv.org/abs/2006.09661, section 3.2.
    """
    return jnp.sin(frequency * x)


# Gated: the second half of an axis gates the first.


def glu(x: jax.Array, axis: int = -1) -> jax.Array:
    """``a * sigmoid(b)``, where a and b are the halves of x along axis.

    Shapes: x [..., 2 D] -> y [..., D] for axis = -1.
    Raises: ValueError, if the axis has an odd size.
    Source: Dauphin et al. 2017, https://arxiv.org/abs/1612.08083, equation 1.
    """
    a, b = _halves("glu", x, axis)
    return a * sigmoid(b)


def reglu(x: jax.Array, axis: int = -1) -> jax.Array:
    """``a * relu(b)``, where a and b are the halves of x along axis.

    Shapes: x [..., 2 D] -> y [..., D] for axis = -1.
    Raises: ValueError, if the axis has an odd size.
    Source: Shazeer 2020, https://arxiv.org/abs/2002.05202, section 2; its gate is the first half.
    """
    a, b = _halves("reglu", x, axis)
    return a * relu(b)


def geglu(x: jax.Array, axis: int = -1, *, approximate: bool = True) -> jax.Array:
    """``a * gelu(b)``, where a and b are the halves of x along axis.

    Shapes: x [..., 2 D] -> y [..., D] for axis = -1.
    Raises: ValueError, if the axis has an odd size.
    Source: Shazeer 2020, https://arxiv.org/abs/2002.05202, section 2; its gate is the first half.
    """
    a, b = _halves("geglu", x, axis)
    return a * gelu(b, approximate=approximate)


def swiglu(x: jax.Array, axis: int = -1) -> jax.Array:
    """``a * silu(b)``, where a and b are the halves of x along axis.

    Shapes: x [..., 2 D] -> y [..., D] for axis = -1.
    Raises: ValueError, if the axis has an odd size.
    Source: Shazeer 2020, https://arxiv.org/abs/2002.05202, section 2; its gate is the first half.
    """
    a, b = _halves("swiglu", x, axis)
    return a * silu(b)


def _halves(name: str, x: jax.Array, axis: int) -> list[jax.Array]:
    if x.ndim == 0 or x.shape[axis] % 2:
        got = f"got x of shape {x.shape}, expected an even size along axis {axis}"
        raise LayerValueError(f"{name}: {got}. Make the layer before it twice as wide.")
    return jnp.split(x, 2, axis)


# Onto the simplex.


def softmin(x: jax.Array, axis: int = -1) -> jax.Array:
    """``softmax(-x)``."""
    return softmax(-x, axis=axis)


def sparsemax(x: jax.Array, axis: int = -1) -> jax.Array:
    """The point of the simplex nearest to x, ``max(x - tau, 0)``: most entries can be exactly 0.

    Dtypes: computed in float32 or wider; y has x.dtype.
    Source: Martins and Astudillo 2016, https://arxiv.org/abs/1602.02068, algorithm 1.
    """

    def tau(z, count, total, squares):
        return (total - 1.0) / count

    return _on_simplex(x, axis, tau, lambda gap: gap)


def entmax15(x: jax.Array, axis: int = -1) -> jax.Array:
    """1.5-entmax, ``max(x / 2 - tau, 0)²``, halfway from softmax to sparsemax.

    Dtypes: computed in float32 or wider; y has x.dtype.
    Source: Peters, Niculae, Martins 2019, https://arxiv.org/abs/1905.05702, algorithm 2.
    """

    def tau(z, count, total, squares):
        mean = total / count
        spread = squares - mean * total  # sum of (z - mean)²; z is within [-1, 0]
        inside = (1.0 - spread) / count
        return mean - jnp.sqrt(jnp.where(inside > 0, inside, 0.0 * inside))

    return _on_simplex(x / 2, axis, tau, jnp.square)


def _on_simplex(x, axis, tau, power):
    """``power(max(x - tau, 0))``, whose entries sum to 1.

    tau is a function of how many entries are above it, their sum and their sum of squares. Sorting
    finds which ones are; given them, tau is differentiable, and nothing is differentiated through
    the sort.
    """
    wide = jnp.moveaxis(widen(x), axis, -1)
    z = wide - jax.lax.stop_gradient(wide.max(-1, keepdims=True))
    fixed = jnp.maximum(jax.lax.stop_gradient(z), -1.0)  # nothing below max - 1 is above tau
    ordered = -jnp.sort(-fixed, axis=-1)
    count = jnp.arange(1, z.shape[-1] + 1, dtype=z.dtype)
    sums = (jnp.cumsum(a, axis=-1) for a in (ordered, jnp.square(ordered)))
    above = ordered > tau(ordered, count, *sums)  # true up to the last entry of the support
    last = jnp.sum(above, axis=-1, keepdims=True, dtype=jnp.int32) - 1
    least = jnp.take_along_axis(ordered, jnp.maximum(last, 0), axis=-1)
    support = (fixed >= least) & (fixed > -1.0)
    inside = jnp.where(support, z, 0.0)
    moments = (
        support.astype(z.dtype).sum(-1, keepdims=True),
        inside.sum(-1, keepdims=True),
        jnp.square(inside).sum(-1, keepdims=True),
    )
    gap = inside - tau(inside, *moments)
    y = jnp.where(support, power(gap), 0.0 * jax.lax.stop_gradient(z).max(-1, keepdims=True))
    return jnp.moveaxis(y, -1, axis).astype(x.dtype)


# Discrete choices with a derivative.


@jax.custom_jvp
def straight_through(value: jax.Array, surrogate: jax.Array) -> jax.Array:
    """``value``, with the derivative of ``surrogate``.

    ``straight_through(jnp.round(x), x)`` rounds and lets gradients pass.

    Shapes: value and surrogate [...] -> y [...].
    Source: Bengio, Léonard, Courville 2013, https://arxiv.org/abs/1308.3432, section 4.
    """
    kinds = [f"{jnp.result_type(a)}{list(jnp.shape(a))}" for a in (value, surrogate)]
    if kinds[0] != kinds[1]:
        got = f"got value {kinds[0]} and surrogate {kinds[1]}, expected one shape and dtype"
        raise LayerValueError(f"straight_through: {got}. A sum would broadcast, this does not.")
    return value


@straight_through.defjvp
def _straight_through_jvp(primals, tangents):
    value, surrogate = primals
    return straight_through(value, surrogate), tangents[1]


def gumbel_softmax(
    logits: jax.Array,
    key: jax.Array,
    *,
    temperature: float | jax.Array = 1.0,
    hard: bool = False,
    axis: int = -1,
) -> jax.Array:
    """A random one-hot choice with probabilities softmax(logits), smoothed by the temperature.

    ``softmax((logits + g) / temperature)``, with g from a Gumbel distribution. With ``hard`` the
    value is exactly one-hot and the derivative is that of the smooth one.

    Shapes: logits [..., K] -> y [..., K] for axis = -1.
    Dtypes: computed in float32 or wider; y has logits.dtype.
    Source: Jang, Gu, Poole 2017, https://arxiv.org/abs/1611.01144, equation 2; Maddison, Mnih, Teh
        2017, https://arxiv.org/abs/1611.00712.
    """
    wide = widen(logits)
    noise = jax.random.gumbel(key, wide.shape, wide.dtype)
    y = softmax((wide + noise) / temperature, axis=axis)
    if hard:
        size = y.shape[axis]
        one_hot = jax.nn.one_hot(jnp.argmax(y, axis), size, dtype=y.dtype, axis=axis)
        y = straight_through(one_hot, y)
    return y.astype(logits.dtype)
