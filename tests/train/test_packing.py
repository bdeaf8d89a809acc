"""packing: nothing is lost, a packed step is the step, and other trees are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import nnjax as nn

TREE = {
    "w": jnp.arange(6.0).reshape(2, 3),
    "half": jnp.ones((2,), jnp.bfloat16),
    "count": jnp.int32(7),
    "none": jnp.zeros((0, 3)),
    "b": [jnp.full(4, 0.5)],
}


def test_there_and_back():
    pack, unpack = nn.train.packing(TREE)
    vectors = jax.jit(pack)(TREE)
    assert {name: v.shape for name, v in vectors.items()} == {
        "float32": (10,),
        "bfloat16": (2,),
        "int32": (1,),
    }
    again = jax.jit(unpack)(vectors)
    assert jax.tree.structure(again) == jax.tree.structure(TREE)
    jax.tree.map(np.testing.assert_array_equal, again, TREE)


def test_a_packed_step_is_the_step():
    model = nn.serial(nn.linear(4, 8), nn.batch_norm(8), nn.dropout(0.5), nn.linear(8, 2))
    optimizer, loss = optax.sgd(0.1, momentum=0.9), nn.losses.squared_error
    state = nn.train.init_state(model, optimizer, jax.random.key(0))
    batch = jax.random.normal(jax.random.key(1), (16, 4)), jnp.zeros((16, 2))
    step = nn.train.make_step(model, loss, optimizer)
    pack, unpack = nn.train.packing(state)
    run = jax.jit(nn.train.packed(step, state), donate_argnums=0)
    vectors, plain = pack(state), jax.jit(step)
    for _ in range(3):
        state, values = plain(state, batch)
        vectors, packed_values = run(vectors, batch)
        np.testing.assert_allclose(packed_values["loss"], values["loss"], rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), unpack(vectors), state
    )


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda tree: {**tree, "more": jnp.ones(1)}, "packing: got tree PyTreeDef"),
        (
            lambda tree: {**tree, "w": jnp.ones((3, 2))},
            r"a leaf of \(3, 2\) float32, expected \(2, 3\)",
        ),
        (
            lambda tree: {**tree, "w": jnp.ones((2, 3), int)},
            "a leaf of .* int32, expected .* float32",
        ),
    ],
)
def test_another_tree_is_refused(change, message):
    pack, unpack = nn.train.packing(TREE)
    with pytest.raises(ValueError, match=message):
        pack(change(TREE))
    with pytest.raises(ValueError, match="packing: got vectors"):
        unpack({"float32": jnp.ones(3)})


def test_a_typed_key_is_refused():
    with pytest.raises(TypeError, match="got a leaf of dtype key<fry>, expected numbers"):
        nn.train.packing({"key": jax.random.key(0)})
