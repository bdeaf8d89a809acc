"""Initializers: ``jax.nn.initializers``' names and values, drawn without a compile a shape.

An initializer is a function ``(key, shape, dtype=float32) -> array``. Those of
``jax.nn.initializers`` fit wherever one is asked for; the ones here give the same numbers and start
a program about a second sooner (see ``nnjax.ops.random``). ``reinitialize`` and ``lsuv`` take the
parameters of a whole network instead.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from nnjax.core import Layer, get_path, map_layers, matches, paths, set_path
from nnjax.core.errors import LayerValueError
from nnjax.ops import random
from nnjax.ops.precision import widen

Initializer = Callable[..., jax.Array]

__all__ = [
    "constant",
    "delta_orthogonal",
    "depth_scaled",
    "dirac",
    "draw",
    "fixup",
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "lsuv",
    "normal",
    "ones",
    "orthogonal",
    "per_copy",
    "reinitialize",
    "scaled",
    "siren",
    "sparse",
    "torch_default",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "zeros",
]

delta_orthogonal = jax.nn.initializers.delta_orthogonal
orthogonal = jax.nn.initializers.orthogonal


def draw(
    key: jax.Array, shapes: Mapping[str, tuple[int, ...]], **makers: Initializer
) -> dict[str, jax.Array]:
    """The parameters of a layer: entry i of ``shapes`` by its maker, from ``fold_in(key, i)``."""
    entries = enumerate(shapes.items())
    return {name: makers[name](random.fold_in(key, i), shape) for i, (name, shape) in entries}


def constant(value: float) -> Initializer:
    """Every entry is ``value``."""

    def init(key, shape, dtype: Any = jnp.float32):
        return jax.device_put(np.full(shape, value, dtype))  # jnp.full compiles a program a shape

    return init


zeros = constant(0.0)
ones = constant(1.0)


def uniform(scale: float = 1e-2) -> Initializer:
    """Uniform in [0, scale)."""

    def init(key, shape, dtype: Any = jnp.float32):
        return random.uniform(key, shape, 0.0, scale).astype(dtype)

    return init


def normal(stddev: float = 1e-2) -> Initializer:
    """Normal with mean 0 and standard deviation ``stddev``."""

    def init(key, shape, dtype: Any = jnp.float32):
        return random.normal(key, shape, stddev).astype(dtype)

    return init


def truncated_normal(stddev: float = 1e-2, lower: float = -2.0, upper: float = 2.0) -> Initializer:
    """Normal given (lower, upper), times ``stddev``; its own deviation is 0.88 ``stddev``."""

    def init(key, shape, dtype: Any = jnp.float32):
        return random.truncated_normal(key, shape, lower, upper, stddev).astype(dtype)

    return init


def variance_scaling(
    scale: float,
    mode: Literal["fan_in", "fan_out", "fan_avg"],
    distribution: Literal["truncated_normal", "normal", "uniform"],
) -> Initializer:
    """Mean 0 and variance ``scale / fan``, with the fan that ``mode`` names.

    Shapes: [..., in, out]; leading axes are a receptive field and count in both fans.
    Raises: ValueError, for another mode or distribution, or a shape of fewer than two axes.
    """
    if mode not in ("fan_in", "fan_out", "fan_avg"):
        raise ValueError(f"got mode {mode!r}, expected 'fan_in', 'fan_out' or 'fan_avg'")
    if distribution not in ("truncated_normal", "normal", "uniform"):
        raise ValueError(
            f"got distribution {distribution!r}, expected 'truncated_normal', 'normal' or 'uniform'"
        )

    def init(key, shape, dtype: Any = jnp.float32):
        if len(shape) < 2:
            raise ValueError(f"got shape {shape}, expected [..., in, out] to count the fans of")
        field = math.prod(shape[:-2])
        fan_in, fan_out = shape[-2] * field, shape[-1] * field
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
        stddev = math.sqrt(scale / max(1.0, fan))
        if distribution == "normal":
            return random.normal(key, shape, stddev).astype(dtype)
        if distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return random.uniform(key, shape, -limit, limit).astype(dtype)
        stddev /= _STDDEV_WITHIN_2
        return random.truncated_normal(key, shape, -2.0, 2.0, stddev).astype(dtype)

    return init


_STDDEV_WITHIN_2 = 0.87962566103423978  # standard deviation of a unit normal given |x| < 2


def lecun_normal() -> Initializer:
    """Variance 1 / fan_in (LeCun et al. 1998, "Efficient BackProp", section 4.6)."""
    return variance_scaling(1.0, "fan_in", "truncated_normal")


def lecun_uniform() -> Initializer:
    """Uniform with variance 1 / fan_in (LeCun et al. 1998, "Efficient BackProp", section 4.6)."""
    return variance_scaling(1.0, "fan_in", "uniform")


def glorot_normal() -> Initializer:
    """Variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, equation 16)."""
    return variance_scaling(1.0, "fan_avg", "truncated_normal")


def glorot_uniform() -> Initializer:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010, equation 16)."""
    return variance_scaling(1.0, "fan_avg", "uniform")


def he_normal() -> Initializer:
    """Variance 2 / fan_in, for ReLU (He et al. 2015, https://arxiv.org/abs/1502.01852)."""
    return variance_scaling(2.0, "fan_in", "truncated_normal")


def he_uniform() -> Initializer:
    """Uniform with variance 2 / fan_in (He et al. 2015, https://arxiv.org/abs/1502.01852)."""
    return variance_scaling(2.0, "fan_in", "uniform")


def gain(nonlinearity: str, negative_slope: float = 0.01) -> float:
    """How much to widen a kernel, so that layer and nonlinearity together keep the deviation.

    ``variance_scaling(gain("relu") ** 2, "fan_in", "normal")`` is ``he_normal``, untruncated.

    Raises: ValueError, for a name that is not in the table.
    Source: He et al. 2015, https://arxiv.org/abs/1502.01852, equation 10, for relu and leaky_relu;
        the others are PyTorch's.
    """
    table = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2.0 / (1.0 + negative_slope**2)),
        "selu": 3 / 4,
    }
    if nonlinearity not in table:
        raise ValueError(f"got nonlinearity {nonlinearity!r}, expected one of {sorted(table)}")
    return table[nonlinearity]


def scaled(init: Initializer, factor: float) -> Initializer:
    """``factor`` times the values of another initializer.

    T-Fixup's, for instance, is ``scaled(glorot_normal(), 0.67 * layers**-0.25)`` for an encoder
    (Huang et al. 2020, http://proceedings.mlr.press/v119/huang20f.html, section 3.3).
    """

    def wider(key, shape, dtype: Any = jnp.float32):
        values = init(key, shape, dtype)
        return values * jnp.asarray(factor, values.dtype)

    return wider


def per_copy(init: Initializer) -> Initializer:
    """``init`` for each entry of the leading axis, as ``repeat`` and ``ensemble`` stack params."""

    def stacked(key, shape, dtype: Any = jnp.float32):
        copies, *rest = shape
        keys = (random.fold_in(key, index) for index in range(copies))
        return jnp.stack([init(k, tuple(rest), dtype) for k in keys])

    return stacked


def identity(gain: float = 1.0) -> Initializer:
    """``gain`` on the diagonal of a [in, out] kernel: features pass, as far as there are both."""

    def init(key, shape, dtype: Any = jnp.float32):
        if len(shape) != 2:
            raise ValueError(f"got shape {shape}, expected [in, out]; dirac() is for convolutions")
        return jax.device_put((gain * np.eye(*shape)).astype(dtype))

    return init


def dirac(groups: int = 1) -> Initializer:
    """A convolution that hands its channels on, those of each group as far as there are both.

    Shapes: [*kernel_size, in / groups, out]; the ones are at index size // 2 of each window axis.
    Raises: ValueError, for a shape without a window, or groups that do not divide out.
    """

    def init(key, shape, dtype: Any = jnp.float32):
        *window, ins, outs = shape
        if not window or outs % groups:
            expected = f"[*kernel_size, in, out] with an out that {groups} groups divide"
            raise ValueError(f"got shape {shape}, expected {expected}")
        kernel = np.zeros(shape, dtype)
        centre = tuple(size // 2 for size in window)
        for channel in range(min(ins, outs // groups)):
            kernel[(*centre, channel, slice(channel, None, outs // groups))] = 1
        return jax.device_put(kernel)

    return init


def sparse(sparsity: float, stddev: float = 0.01) -> Initializer:
    """Normal, with the share ``sparsity`` of each unit's incoming weights set to zero, rounded up.

    Shapes: [in, out]; each column is one unit's incoming weights. PyTorch's ``sparse_`` keeps
    [out, in] and counts along columns all the same, which are outgoing weights there.
    Source: Martens 2010, "Deep learning via Hessian-free optimization", section 5.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"got sparsity {sparsity}, expected a share between 0 and 1")

    def init(key, shape, dtype: Any = jnp.float32):
        if len(shape) != 2:
            raise ValueError(f"got shape {shape}, expected [in, out]")
        order = random.uniform(random.fold_in(key, 1), shape).argsort(0).argsort(0)
        values = random.normal(random.fold_in(key, 0), shape, stddev)
        return jnp.where(order < math.ceil(sparsity * shape[0]), 0.0, values).astype(dtype)

    return init


def torch_default(fan_in: int) -> dict[str, Any]:
    """What PyTorch gives linear and convolution layers: uniform within ±1 / sqrt(fan_in).

    Both initializers, as keywords: ``linear(784, 512, **torch_default(784))``. The fan_in of a
    convolution is the size of its window times in / groups; the bias cannot tell it from its own
    shape.

    Source: ``torch.nn.Linear.reset_parameters``: kaiming_uniform with a = sqrt(5), whose gain of
        sqrt(1 / 3) undoes the sqrt(3) of a uniform distribution.
    """
    init = _within(1.0 / math.sqrt(fan_in))
    return {"kernel_init": init, "bias_init": init}


def siren(frequency: float = 30.0, *, first: bool = False) -> Initializer:
    """For layers followed by ``sine(x, frequency)``; the ``first`` one takes coordinates.

    Uniform within ±1 / fan_in for the first layer, ±sqrt(6 / fan_in) / frequency for the others.

    Source: Sitzmann et al. 2020, https://arxiv.org/abs/2006.09661, section 3.2 and supplement 1.5.
    """

    def init(key, shape, dtype: Any = jnp.float32):
        fan_in = math.prod(shape[:-1])
        limit = 1.0 / fan_in if first else math.sqrt(6.0 / fan_in) / frequency
        return _within(limit)(key, shape, dtype)

    return init


def depth_scaled(layers: int, stddev: float = 0.02) -> Initializer:
    """Normal with deviation ``stddev / sqrt(layers)``, for kernels that end a residual branch.

    The sum over as many branches then has the deviation of one. A transformer block has two.

    Source: Radford et al. 2019 (GPT-2), section 2.3.
    """
    return normal(stddev / math.sqrt(layers))


def fixup(branches: int, layers: int = 2) -> Initializer:
    """He's normal times ``branches**(-1 / (2 layers - 2))``: residual networks without norms.

    For all kernels of a residual branch of so many ``layers`` but its last, which begins as zeros.

    Raises: ValueError, for branches of a single layer, whose only kernel begins as zeros.
    Source: Zhang, Dauphin, Ma 2019, https://arxiv.org/abs/1901.09321, section 3.
    """
    if layers < 2:
        raise ValueError(f"got layers={layers}, expected 2 or more; the last begins as zeros")
    return scaled(
        variance_scaling(2.0, "fan_in", "normal"), branches ** (-1.0 / (2.0 * layers - 2.0))
    )


def _within(limit: float) -> Initializer:
    """Uniform in [-limit, limit)."""

    def init(key, shape, dtype: Any = jnp.float32):
        return random.uniform(key, shape, -limit, limit).astype(dtype)

    return init


def reinitialize(params: Any, key: jax.Array, rules: Mapping[str, Initializer]) -> Any:
    """Draw some parameters anew: each by the first rule whose pattern its path matches.

    ``reinitialize(params, key, {"head/kernel": zeros, "**/kernel": orthogonal()})``. Patterns are
    those of ``nn.label``; parameters that match none stay as they are. Those that ``repeat`` has
    stacked want ``per_copy``.

    Dtypes: each parameter keeps its own.
    Raises: ValueError, naming the patterns that are the first to match no parameter.
    """
    drawn, idle = params, dict(rules)
    for index, (path, old) in enumerate(paths(params).items()):
        pattern = next((pattern for pattern in rules if matches(pattern, path)), None)
        if pattern is not None:
            idle.pop(pattern, None)
            new = rules[pattern](random.fold_in(key, index), old.shape, old.dtype)
            drawn = set_path(drawn, path, new)
    if idle:
        raise LayerValueError(
            f"reinitialize: got {', '.join(map(repr, idle))}, which match no array first, expected "
            f"patterns of {', '.join(paths(params))}."
        )
    return drawn


def lsuv(model: Layer, params: Any, *inputs: Any, state: Any = None, steps: int = 10) -> Any:
    """Layer-sequential unit variance: kernels scaled until each layer's output has deviation 1.

    One pass over a batch of inputs, layer after layer as they are called, not training. Orthogonal
    kernels to begin with, as in the paper, are
    ``reinitialize(params, key, {"**/kernel": orthogonal()})``. Layers without a ``kernel`` of their
    own, or with several outputs, are left alone.

    Raises: ValueError, for layers inside ``repeat`` or ``jit``, where outputs have no values yet.
    Source: Mishkin and Matas 2016, https://arxiv.org/abs/1511.06422, algorithm 1.
    """
    kernels: dict[str, jax.Array] = {}

    def measured(path, layer):
        if layer.children:
            return layer

        def apply(own, state, *inputs, **named):
            if "kernel" not in own:
                return layer.apply(own, state, *inputs, **named)
            first = path not in kernels  # a layer called again keeps what its first call made
            kernel = kernels.setdefault(path, own["kernel"])
            y = layer.apply({**own, "kernel": kernel}, state, *inputs, **named)
            for _ in range(steps if first and isinstance(y[0], jax.Array) else 0):
                if isinstance(y[0], Tracer):
                    fix = "Call lsuv outside jit, and take serial in place of repeat or ensemble."
                    raise LayerValueError(f"lsuv: got {path or layer.name} being traced. {fix}")
                deviation = widen(y[0]).std()
                if deviation == 0 or abs(deviation - 1) < 1e-3:
                    break
                kernels[path] = (kernels[path] / deviation).astype(kernel.dtype)
                y = layer.apply({**own, "kernel": kernels[path]}, state, *inputs, **named)
            return y

        return Layer(layer.init, apply, layer.name, random=layer.random)

    map_layers(measured, model)(params, *inputs, state=state)
    tree = {"model": params}  # so that a lone layer has a path, too
    for path, kernel in kernels.items():
        place = f"model/{path}/kernel".replace("//", "/")
        assert get_path(tree, place).shape == kernel.shape
        tree = set_path(tree, place, kernel)
    return tree["model"]
