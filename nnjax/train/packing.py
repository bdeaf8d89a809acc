"""packing: a tree of many small arrays carried as one vector a dtype.

A jitted call costs about a microsecond for every array that goes in or out. The train state of a
small deep network is hundreds of arrays, and its step little else than handing them over; packed,
it is three or four. The layout is static, so packing and unpacking are slices within the program::

    pack, unpack = nn.train.packing(train_state)
    step = jax.jit(nn.train.packed(step, train_state), donate_argnums=0)
    vectors = pack(train_state)
    vectors, values = step(vectors, batch)
    train_state = unpack(vectors)

Beyond some 100,000 parameters the copies cost more than the hand-over; see docs/benchmarks.md.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Vectors = dict[str, jax.Array]


def packing(tree: Any) -> tuple[Callable[[Any], Vectors], Callable[[Vectors], Any]]:
    """``pack(tree) -> {dtype: vector}`` and ``unpack(vectors) -> tree``, for trees like this one.

    Shapes: leaves of any shape -> vectors [numbers of that dtype].
    Raises: ValueError, from either, for a tree or vectors of another structure, shape or dtype;
        TypeError, for a tree with typed keys, which have no numbers of their own.
    """
    leaves, structure = jax.tree.flatten(tree)
    specs = [jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]
    places, sizes = [], dict[str, int]()
    for spec in specs:
        if jnp.issubdtype(spec.dtype, jax.dtypes.extended):
            raise TypeError(
                f"packing: got a leaf of dtype {spec.dtype}, expected numbers. Carry a key as its "
                "words: jax.random.key_data(key)."
            )
        name = str(spec.dtype)
        places.append((name, sizes.get(name, 0)))
        sizes[name] = sizes.get(name, 0) + math.prod(spec.shape)

    def pack(tree: Any) -> Vectors:
        _check("tree", structure, specs, tree)
        vectors = {name: jnp.zeros(size, name) for name, size in sizes.items()}
        for leaf, (name, start) in zip(jax.tree.leaves(tree), places, strict=True):
            flat = jnp.reshape(leaf, -1)  # concatenating would be fused, badly, into what made them
            vectors[name] = jax.lax.dynamic_update_slice(vectors[name], flat, (np.int32(start),))
        return vectors

    wanted = {name: jax.ShapeDtypeStruct((size,), name) for name, size in sizes.items()}

    def unpack(vectors: Vectors) -> Any:
        _check("vectors", jax.tree.structure(wanted), jax.tree.leaves(wanted), vectors)
        slices = (
            jax.lax.slice_in_dim(vectors[name], start, start + math.prod(spec.shape))
            for spec, (name, start) in zip(specs, places, strict=True)
        )
        shaped = [a.reshape(spec.shape) for a, spec in zip(slices, specs, strict=True)]
        return jax.tree.unflatten(structure, shaped)

    return pack, unpack


def packed(step: Callable[..., Any], train_state: Any) -> Callable[..., Any]:
    """``step(train_state, ...) -> (train_state, values)`` as a step over packed states."""
    pack, unpack = packing(train_state)

    def run(vectors: Vectors, *args: Any):
        after, values = step(unpack(vectors), *args)
        return pack(after), values

    return run


def _check(what: str, structure: Any, specs: list[Any], tree: Any) -> None:
    leaves, got = jax.tree.flatten(tree)
    if got != structure:
        raise ValueError(f"packing: got {what} {got}, expected {structure}.")
    for leaf, spec in zip(leaves, specs, strict=True):
        if jnp.shape(leaf) != spec.shape or jnp.result_type(leaf) != spec.dtype:
            raise ValueError(
                f"packing: got {what} with a leaf of {jnp.shape(leaf)} {jnp.result_type(leaf)}, "
                f"expected {spec.shape} {spec.dtype}. Make a packing of the tree at hand."
            )
