"""repeat and ensemble: n copies of a layer, their parameters stacked on a leading axis."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from nnjax.core.errors import LayerValueError, check_positive
from nnjax.core.layer import Layer, as_layer, changed
from nnjax.core.once import once
from nnjax.ops.random import fold_in

Policy = Callable[..., bool]  # of ``jax.checkpoint``: may this primitive's result be stored?

COSTLY = frozenset(
    "dot_general ragged_dot_general conv_general_dilated fft sort top_k gather scatter scatter-add "
    "random_bits threefry2x32 rng_bit_generator cholesky eigh svd lu qr triangular_solve ffi_call "
    "native_conv all_gather all_to_all ppermute psum psum_invariant reduce_scatter".split()
)


def costly(primitive: Any, *_: Any, **__: Any) -> bool:
    """A policy for ``jax.checkpoint``: store products and their like, not what is quick to redo."""
    return primitive.name in COSTLY


def repeat(
    block: Layer | Callable[..., Any],
    n: int,
    *,
    unroll: bool = False,
    remat: bool | Policy | None = None,
) -> Layer:
    """``n`` blocks one after the other, as one ``jax.lax.scan``: they compile like a single block.

    Equals ``serial`` of ``n`` copies with the same parameters and keys. Further inputs (a mask)
    go to every copy.

    Params, state: the block's, each array with a leading axis of size n, unrolled or not.
    unroll: write the copies out in the program. XLA compiles n times as long; on CPU they run
        faster, and convolutions need it (their gradients are 16 times slower inside a scan).
    remat: what to compute again on the way back instead of storing it. True: all but what passes
        between blocks; False: nothing; or a policy of ``jax.checkpoint_policies``. None, inside
        the scan: what is quick to redo, all but products and their like, since a loop has to
        copy whatever it stores (for a GPT's 6 blocks of width 384 on two CPU cores 0.87 of the
        time, ``benchmarks/kernels.py``; not measured elsewhere). None, unrolled: nothing.
    Raises: ValueError, if a block does not hand on the shape and dtype that it takes.
    """
    check_positive("repeat", n=n)
    block = as_layer(block)
    policy = (False if unroll else costly) if remat is None else remat
    run = once(block) if unroll else block.apply

    def apply(params, state, x, *further, key=None, train=False, **named):
        def step(x, copy):
            index, copy_params, copy_state = copy
            copy_key = fold_in(key, index) if block.random and key is not None else None
            y, new_state = run(
                copy_params, copy_state, x, *further, key=copy_key, train=train, **named
            )
            _check_carry(block, x, y)
            return y, changed(copy_state, new_state)

        if policy is not False:
            stored = policy if callable(policy) else None
            step = jax.checkpoint(step, prevent_cse=unroll, policy=stored)
        _check_stacked(f"repeat({n})", n, params, state)
        if unroll:
            states = []
            for copy in zip(range(n), unstack(params, n), unstack(state, n), strict=True):
                x, new_state = step(x, copy)
                states.append(new_state)
            new_state = stack(states)
        else:
            x, new_state = jax.lax.scan(step, x, (jnp.arange(n), params, state))
        return x, state if new_state is None else new_state

    def rebuild(children):
        return repeat(children[""], n, unroll=unroll, remat=remat)

    name = f"repeat({n})"
    return Layer(_stacked_init(block, n), apply, name, {"": block}, rebuild, block.random)


def ensemble(layer: Layer | Callable[..., Any], n: int) -> Layer:
    """``n`` independent copies side by side on the same inputs, as one ``jax.vmap``.

    Shapes: every output has a leading axis of size n.
    Params, state: the layer's, each array with a leading axis of size n.
    Source: Lakshminarayanan et al. 2017, https://arxiv.org/abs/1612.01474, for what it is good for.
    """
    check_positive("ensemble", n=n)
    layer = as_layer(layer)

    def apply(params, state, *inputs, key=None, train=False, **named):
        def member(index, params, state):
            member_key = fold_in(key, index) if layer.random and key is not None else None
            y, new_state = layer.apply(params, state, *inputs, key=member_key, train=train, **named)
            return y, changed(state, new_state)

        _check_stacked(f"ensemble({n})", n, params, state)
        outputs, new_state = jax.vmap(member)(jnp.arange(n), params, state)
        return outputs, state if new_state is None else new_state

    def rebuild(children):
        return ensemble(children[""], n)

    name = f"ensemble({n})"
    return Layer(_stacked_init(layer, n), apply, name, {"": layer}, rebuild, layer.random)


def stack(trees: Sequence[Any]) -> Any:
    """Trees of one structure as one tree, arrays stacked on a new leading axis.

    ``stack([params["block_0"], params["block_1"]])`` are the parameters of ``repeat(block, 2)``.
    """
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def unstack(tree: Any, n: int | None = None) -> list[Any]:
    """The inverse of ``stack``: one tree for each entry of the leading axis.

    ``n`` is only needed for a tree without arrays, whose number of copies cannot be seen.
    """
    leaves, treedef = jax.tree.flatten(tree)
    n = len(leaves[0]) if n is None else n
    return [jax.tree.unflatten(treedef, [leaf[i] for leaf in leaves]) for i in range(n)]


def _stacked_init(layer: Layer, n: int):
    def init(key):
        keys = [fold_in(key, index) for index in range(n)]
        if isinstance(key, Tracer):
            return jax.vmap(layer.init)(jnp.stack(keys))
        copies = [layer.init(k) for k in keys]  # no program to compile, see nnjax.ops.random
        return jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *copies)

    return init


def _check_carry(block: Layer, x: Any, y: Any) -> None:
    def avals(tree):
        return jax.tree.map(lambda a: (jnp.shape(a), jnp.result_type(a).name), tree)

    if avals(x) != avals(y):
        raise LayerValueError(
            f"repeat: got {block.name} mapping {avals(x)} to {avals(y)}, expected one shape and "
            "dtype in and out. Change the block, or cast its input to the dtype of its parameters."
        )


def _check_stacked(name: str, n: int, params: Any, state: Any) -> None:
    for leaf in jax.tree.leaves((params, state)):
        if jnp.shape(leaf)[:1] != (n,):
            raise LayerValueError(
                f"{name}: got an array of shape {jnp.shape(leaf)}, expected a leading axis of size "
                f"{n}, one entry a copy. nn.stack turns the trees of the copies into one."
            )
