"""A pair: one of our layers and a peer's, as pure functions of the same parameters and inputs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import nnjax as nn
from benchmarks.conformance.compare import Difference, difference

TOLERANCE = 1e-5  # float32: some tens of roundings


@dataclasses.dataclass(frozen=True)
class Pair:
    """``ours(params, *inputs)`` and ``theirs(params, *inputs)``, in our tree and our layout.

    ``theirs`` moves parameters and axes to where the peer has them, so that gradients come back in
    ours.
    """

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    params: Any
    inputs: tuple[Any, ...]


Make = Callable[[], list[Pair]]
PAIRS: dict[tuple[str, str], Make] = {}  # by the names of our layer and the peer
NOTES: dict[tuple[str, str], str] = {}  # where the two differ in what they mean, shortly


def pairs(layer: str, peer: str, note: str = "") -> Callable[[Make], Make]:
    """Register the configurations of ``nn.<layer>`` beside the peer's."""

    def register(make):
        assert (layer, peer) not in PAIRS, (layer, peer)
        PAIRS[layer, peer] = make
        if note:
            NOTES[layer, peer] = note
        return make

    return register


def numbers(*shape: int, seed: int = 0, mean: float = 0.0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(mean, 1, shape).astype(np.float32))


def integers(high: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(1).integers(0, high, shape).astype(np.int32))


def padded(lengths: list[int], size: int) -> jax.Array:
    """A mask [B, size], True up to each length."""
    return jnp.arange(size) < jnp.asarray(lengths)[:, None]


def off_start(tree: Any) -> Any:
    """Parameters off zero and one, or one that goes unused would pass unseen."""
    leaves, treedef = jax.tree.flatten(tree)
    moved = [a + 0.3 * numbers(*a.shape, seed=i + 20) for i, a in enumerate(leaves)]
    return jax.tree.unflatten(treedef, moved)


def beside(
    layer: Any,
    theirs: Callable[..., Any],
    *inputs: Any,
    call: Callable[..., Any] = lambda f, *inputs: f(*inputs),
    train: bool = False,
    state: Any = None,
    with_state: bool = False,
) -> Pair:
    """The layer with parameters of its init, moved; ``call(f, *inputs)`` sorts out keywords.

    With with_state, the new state is an output, too.
    """
    layer = nn.as_layer(layer)
    params, first = layer.init(jax.random.key(0))
    state = first if state is None else state

    def ours(params, *inputs):
        new = state

        def f(*inputs, **named):
            nonlocal new
            y, new = layer.apply(params, state, *inputs, train=train, **named)
            return y

        y = call(f, *inputs)
        return (y, new) if with_state else y

    return Pair(ours, theirs, off_start(params), inputs)


def one_bias(pair: Pair) -> Pair:
    """An attention's with the biases of query, key and value as one array, as PyTorch has them.

    The key's alone moves all scores of a query alike: its gradient is zero, but for roundings.
    """
    parts = [part for part in ("query", "key", "value") if "bias" in pair.params[part]]
    if not parts:
        return pair
    joined = jnp.concatenate([pair.params[part]["bias"] for part in parts])
    ends = np.cumsum([pair.params[part]["bias"].size for part in parts])[:-1].tolist()

    def split(params):
        params, bias = params
        biases = zip(parts, jnp.split(bias, ends), strict=True)
        return params | {part: params[part] | {"bias": b} for part, b in biases}

    rest = pair.params | {part: {"kernel": pair.params[part]["kernel"]} for part in parts}
    return Pair(
        lambda params, *inputs: pair.ours(split(params), *inputs),
        lambda params, *inputs: pair.theirs(split(params), *inputs),
        (rest, joined),
        pair.inputs,
    )


def measure(pair: Pair) -> Difference:
    """Outputs, and gradients of all parameters and floating inputs for the same cotangents."""
    leaves, tree = jax.tree.flatten(pair.inputs)
    moving = [i for i, a in enumerate(leaves) if jnp.issubdtype(a.dtype, jnp.floating)]

    def run(f, params, floating):
        filled = list(leaves)
        for i, a in zip(moving, floating, strict=True):
            filled[i] = a
        return f(params, *jax.tree.unflatten(tree, filled))

    rng = np.random.default_rng(7)
    # none near zero, which would leave its entry out of the comparison
    draw = lambda z: jnp.asarray(
        rng.choice([-1.0, 1.0], z.shape) * rng.uniform(0.5, 1.5, z.shape), z.dtype
    )
    floating = [leaves[i] for i in moving]
    shapes = jax.eval_shape(lambda p, x: run(pair.ours, p, x), pair.params, floating)
    cotangents = jax.tree.map(draw, shapes)

    def both(f):
        def outputs_and_gradients(params, floating, cotangents):
            y, pull = jax.vjp(lambda p, x: run(f, p, x), params, floating)
            return y, pull(cotangents)

        return jax.jit(outputs_and_gradients)(pair.params, floating, cotangents)

    (got, got_slopes), (want, want_slopes) = both(pair.ours), both(pair.theirs)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    return Difference(difference(got, want), difference(got_slopes, want_slopes))


@dataclasses.dataclass
class Cell:
    """What came of one layer beside one peer."""

    layer: str
    peer: str
    configurations: int = 0
    worst: float = 0.0
    failures: list[str] = dataclasses.field(default_factory=list)


def cell(layer: str, peer: str) -> Cell:
    """Measure all configurations of the layer beside the peer's."""
    found = Cell(layer, peer)
    try:
        for i, pair in enumerate(PAIRS[layer, peer]()):
            worst = measure(pair).worst()
            found.configurations += 1
            found.worst = max(found.worst, worst)
            if not worst <= TOLERANCE:
                found.failures.append(f"configuration {i} differs by {worst:.1e}")
    except Exception as error:  # a report of all layers beats a stop at the first
        found.failures.append(f"{type(error).__name__}: {error}".splitlines()[0])
    jax.clear_caches()
    return found
