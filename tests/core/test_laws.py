"""Laws of the combinators: identity, grouping, repetition, sharing and the keys of noise."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn

KEY = jax.random.key(5)
X = jax.random.normal(jax.random.key(1), (6, 4))


def stochastic_block():
    def forward(net, x):
        return x + net.drop(jnp.tanh(net.dense(net.norm(x))))

    return nn.compose(forward, norm=nn.batch_norm(4), dense=nn.linear(4, 4), drop=nn.dropout(0.4))


def with_masks(layer):
    """The layer, and a list that fills with every mask its dropouts draw when it runs eagerly."""
    masks = []

    def watch(path, layer):
        if not layer.name.startswith("dropout"):
            return layer

        def apply(params, state, x, *, key=None, train=False):
            ones, _ = layer.apply(params, state, jnp.ones_like(x), key=key, train=train)
            masks.append(np.asarray(ones > 0))
            return layer.apply(params, state, x, key=key, train=train)

        return dataclasses.replace(layer, _apply=apply)

    return nn.map_layers(watch, layer), masks


def all_differ(masks):
    return len({mask.tobytes() for mask in masks}) == len(masks)


def test_empty_serial_is_the_identity():
    identity = nn.serial()
    assert identity.init(KEY) == ({}, {})
    assert identity({}, X) is X


def test_grouping_changes_nothing():
    a, b, c = nn.linear(4, 5), nn.batch_norm(5), nn.linear(5, 3)
    flat, left, right = (
        nn.serial(a, b, c),
        nn.serial(nn.serial(a, b), c),
        nn.serial(a, nn.serial(b, c)),
    )
    params, state = flat.init(KEY)
    (p, q, r), (s,) = params.values(), state.values()
    grouped = {
        left: ({"serial_0": {"linear_0": p, "batch_norm_0": q}, "linear_0": r}, "serial_0"),
        right: ({"linear_0": p, "serial_0": {"batch_norm_0": q, "linear_0": r}}, "serial_0"),
    }
    expected, moved = flat.apply(params, state, X, train=True)
    for layer, (tree, name) in grouped.items():
        y, new = layer.apply(tree, {name: {"batch_norm_0": s}}, X, train=True)
        np.testing.assert_array_equal(y, expected)
        chex.assert_trees_all_equal(new[name]["batch_norm_0"], moved["batch_norm_0"])


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("remat", [None, False, True, jax.checkpoint_policies.dots_saveable])
def test_repeat_equals_n_copies(n, unroll, remat):
    """Same keys for parameters and for noise; dropout and batch norm inside, gradients too."""
    block = stochastic_block()
    copies, repeated = nn.serial(*[block] * n), nn.repeat(block, n, unroll=unroll, remat=remat)
    params, state = copies.init(KEY)
    stacked, stacked_state = repeated.init(KEY)
    chex.assert_trees_all_equal(stacked, nn.stack(list(params.values())))

    def run(layer, params, state):
        def loss(params):
            y, new_state = layer.apply(params, state, X, key=KEY, train=True)
            return jnp.sum(jnp.sin(y)), (y, new_state)

        (_, (y, new_state)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return y, new_state, grads

    y, new_state, grads = run(copies, params, state)
    z, stacked_new, stacked_grads = run(repeated, stacked, stacked_state)
    # the same sums in other fusions
    chex.assert_trees_all_close(z, y, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(stacked_new, nn.stack(list(new_state.values())), rtol=1e-5)
    chex.assert_trees_all_close(stacked_grads, nn.stack(list(grads.values())), rtol=1e-4, atol=1e-5)


def test_unrolled_and_stacked_trees_convert_without_loss():
    params, _ = nn.repeat(stochastic_block(), 3).init(KEY)
    there = nn.unstack(params)
    assert len(there) == 3
    chex.assert_trees_all_equal(nn.stack(there), params)
    chex.assert_trees_all_equal(nn.unstack(nn.stack(there)), there)


def test_repeat_passes_further_inputs_to_every_copy():
    attend = nn.compose(lambda net, x, mask=None: net.a(x, mask=mask), a=nn.attention(4, 2))
    mask = jnp.tril(jnp.ones((6, 6), bool))
    once = nn.repeat(attend, 1)
    params, _ = once.init(KEY)
    x = X[None]
    one = jax.tree.map(lambda p: p[0], params)
    np.testing.assert_allclose(
        once(params, x, mask=mask), attend(one, x, mask=mask), rtol=1e-6, atol=1e-6
    )
    assert not np.allclose(once(params, x, mask=mask), once(params, x))


def test_ensemble_is_n_layers():
    block = stochastic_block()
    group = nn.ensemble(block, 3)
    params, state = group.init(KEY)
    y, new = group.apply(params, state, X, key=KEY, train=True)
    for i in range(3):
        key = jax.random.fold_in(KEY, i)
        member, member_state = block.init(key)
        chex.assert_trees_all_equal(member, nn.unstack(params)[i])
        z, after = block.apply(member, member_state, X, key=key, train=True)
        np.testing.assert_allclose(y[i], z, rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_close(nn.unstack(new)[i], after, rtol=1e-5)


def test_no_two_dropouts_share_a_mask():
    def twice(net, x):
        return net.drop(net.drop(net.inner(net.inner(x))))

    drop = nn.dropout(0.5)
    inner = nn.compose(lambda net, x: net.a(net.b(net.a(x))), a=drop, b=drop)
    layers = {
        3: nn.serial(drop, drop, drop),
        2: nn.parallel(drop, drop),
        8: nn.compose(twice, drop=drop, inner=inner),
        6: nn.repeat(nn.serial(drop, drop), 3, unroll=True),
        12: nn.repeat(nn.repeat(nn.serial(drop, drop), 3, unroll=True), 2, unroll=True),
    }
    x = jnp.ones((8, 32))
    for count, layer in layers.items():
        watched, masks = with_masks(layer)
        watched.apply({}, {}, x, key=KEY, train=True)
        assert len(masks) == count and all_differ(masks), layer


def test_masks_inside_a_scanned_repeat_differ():
    """Each copy adds its own mask to a carry that counts in base 2, so that all can be read off."""

    def forward(net, carry):
        mask = net.drop(jnp.ones(64)) > 0
        return 2 * carry + mask.astype(jnp.int32)

    counted = nn.repeat(nn.compose(forward, drop=nn.dropout(0.5)), 5)
    total = np.asarray(counted({}, jnp.zeros(64, jnp.int32), key=KEY, train=True))
    assert all_differ([(total >> bit) & 1 for bit in range(5)])


def test_another_key_draws_other_noise_and_the_same_key_the_same():
    layer = nn.repeat(stochastic_block(), 2)
    params, state = layer.init(KEY)
    run = lambda seed: layer(params, X, state=state, key=jax.random.key(seed), train=True)
    np.testing.assert_array_equal(run(0), run(0))
    assert not np.allclose(run(0), run(1))


def test_appending_a_layer_leaves_the_draws_before_it_alone():
    short = nn.serial(nn.linear(4, 4), nn.dropout(0.5))
    long = nn.serial(nn.linear(4, 4), nn.dropout(0.5), jnp.tanh, nn.linear(4, 4))
    params, _ = short.init(KEY)
    longer, _ = long.init(KEY)
    chex.assert_trees_all_equal(params["linear_0"], longer["linear_0"])
    watched, masks = with_masks(short)
    again, masks_again = with_masks(long)
    watched.apply(params, {}, X, key=KEY, train=True)
    again.apply(longer, {}, X, key=KEY, train=True)
    np.testing.assert_array_equal(masks[0], masks_again[0])


def test_a_network_with_k_dropouts_derives_at_most_k_keys():
    deep = nn.serial(*[nn.serial(nn.linear(4, 4), jnp.tanh)] * 5, nn.dropout(0.1), nn.dropout(0.1))
    params, _ = deep.init(KEY)
    jaxpr = jax.make_jaxpr(lambda p, x, k: deep(p, x, key=k, train=True))(params, X, KEY)
    assert str(jaxpr).count("random_fold_in") == 2


def test_remat_keeps_flags_out_of_the_trace():
    def pick(net, x, *, mask, twice=False, mode="sum"):
        return jnp.where(mask, x * (2 if twice else 1), 0) if mode == "sum" else x

    layer = nn.remat(nn.compose(pick))
    x, mask = jnp.arange(4.0), jnp.arange(4) < 2
    f = jax.grad(lambda x: layer({}, x, mask=mask, twice=True, mode="sum").sum())
    assert f(x).tolist() == [2, 2, 0, 0]
