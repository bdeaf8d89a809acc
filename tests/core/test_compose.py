"""compose, residual, remat and map_layers: sharing, state, modes and the errors of each."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (5, 3))


def test_a_child_called_twice_shares_weights_and_threads_state():
    both = nn.compose(lambda net, x: net.norm(net.norm(x)), norm=nn.batch_norm(3))
    params, state = both.init(KEY)
    assert list(nn.paths(params)) == ["norm/bias", "norm/scale"]
    _, after = both.apply(params, state, 5 + X, train=True)
    norm = nn.batch_norm(3)
    y, once = norm.apply(params["norm"], state["norm"], 5 + X, train=True)
    _, twice = norm.apply(params["norm"], once, y, train=True)
    np.testing.assert_allclose(after["norm"]["mean"], twice["mean"], rtol=1e-6)


def test_a_child_can_be_held_still():
    frozen = nn.compose(lambda net, x: net.norm(x, train=False), norm=nn.batch_norm(3))
    params, state = frozen.init(KEY)
    _, after = frozen.apply(params, state, X, train=True)
    assert after["norm"]["mean"] is state["norm"]["mean"]


def test_forward_gets_a_key_and_the_mode_if_it_asks():
    def forward(net, x, *, key: Any = None, train=False):
        return x + jax.random.normal(key, x.shape) if train else x

    noisy = nn.compose(forward)
    assert noisy.random and noisy.name == "test_forward_gets_a_key_and_the_mode_if_it_asks"
    np.testing.assert_array_equal(noisy({}, X), X)
    assert not np.allclose(noisy({}, X, key=KEY, train=True), X)
    with pytest.raises(ValueError, match="train=True and no key"):
        noisy({}, X, train=True)


@pytest.mark.parametrize("outer", ["eager", "jit"])
@pytest.mark.parametrize("child", [nn.batch_norm(3), nn.dropout(0.5)], ids=lambda c: c.name)
def test_a_transform_within_forward_is_an_error_not_a_leak(child, outer):
    def scanned(net, x):
        return jax.lax.scan(lambda carry, row: (carry, net.child(row[None])), 0, x)[1]

    def mapped(net, x):
        return jax.vmap(lambda row: net.child(row[None]))(x)

    for forward in (scanned, mapped):
        layer = nn.compose(forward, child=child)
        params, state = layer.init(KEY)
        x = jnp.stack([X, X])
        run = lambda x, layer=layer, p=params, s=state: layer.apply(p, s, x, key=KEY, train=True)
        run = jax.jit(run) if outer == "jit" else run
        with pytest.raises(ValueError, match="'child' cannot .* inside a jax transform"):
            run(x)
        layer.apply(params, state, x)  # nothing is drawn or updated, so nothing can leak


def test_a_key_of_its_own_lets_a_child_draw_inside_a_transform():
    def forward(net, x, *, key: Any = None):
        keys = jax.random.split(key, len(x))
        return jax.vmap(lambda k, row: net.drop(row, key=k))(keys, x)

    layer = nn.compose(forward, drop=nn.dropout(0.5))
    y = layer({}, jnp.ones((2, 64)), key=KEY, train=True)
    assert not np.array_equal(y[0], y[1])


def test_errors_begin_with_the_path():
    model = nn.serial(body=nn.repeat(nn.serial(nn.linear(3, 3), head=nn.linear(4, 3)), 2))
    params, _ = model.init(KEY)
    with pytest.raises(ValueError, match=r"^body/head: linear\(4, 3\): got x of shape \(5, 3\)"):
        model(params, X)


def test_unknown_children_and_bad_names_are_refused():
    layer = nn.compose(lambda net, x: net.typo(x), "net", dense=nn.linear(3, 3))
    params, _ = layer.init(KEY)
    with pytest.raises(AttributeError, match="net: got no child 'typo'; its children are dense"):
        layer(params, X)
    with pytest.raises(ValueError, match="no slash and no leading underscore"):
        nn.compose(lambda net, x: x, **{"a/b": nn.linear(3, 3)})
    with pytest.raises(TypeError, match="got params of type tuple, expected a dict by child"):
        layer(layer.init(KEY), X)
    with pytest.raises(ValueError, match="two layers named 'linear_0'"):
        nn.serial(nn.linear(3, 3), linear_0=nn.linear(3, 3))


def test_residual_adds_and_remat_changes_nothing():
    body = nn.linear(3, 3)
    added = nn.residual(body)
    params, _ = added.init(KEY)
    np.testing.assert_allclose(added(params, X), X + body(params["body"], X), rtol=1e-6)
    again = nn.remat(body, policy=jax.checkpoint_policies.nothing_saveable)
    np.testing.assert_array_equal(again(params["body"], X), body(params["body"], X))
    assert "remat" in str(jax.make_jaxpr(again)(params["body"], X))


def test_scopes_name_the_layers_in_the_compiled_program():
    model = nn.serial(blocks=nn.repeat(nn.serial(inner=nn.linear(3, 3)), 2), head=nn.linear(3, 2))
    params, _ = model.init(KEY)
    text = jax.jit(model).lower(params, X).compile().as_text() or ""
    assert "head/dot_general" in text and "blocks/" in text and "inner/dot_general" in text


def test_map_layers_rewrites_a_network_by_path():
    """Low-rank adapters (Hu et al. 2021) on the attention's projections, without its code."""
    rank = 2
    attend = nn.repeat(nn.residual(nn.attention(4, 2)), 3)

    def adapt(path, layer):
        if not layer.name.startswith("linear"):
            return layer
        spec, _ = jax.eval_shape(layer.init, KEY)
        in_features, out_features = spec["kernel"].shape
        down, up = nn.linear(in_features, rank, bias=False), nn.linear(rank, out_features)
        forward = lambda net, x: net.base(x) + net.up(net.down(x))
        return nn.compose(forward, "lora", base=layer, down=down, up=up)

    adapted = nn.map_layers(adapt, attend)
    params, _ = adapted.init(KEY)
    assert params["body"]["query"]["down"]["kernel"].shape == (3, 4, rank)
    assert adapted(params, jnp.ones((2, 5, 4))).shape == (2, 5, 4)
    assert "lora {" in repr(adapted) and nn.map_layers(lambda _, layer: layer, attend) is attend


def test_map_layers_keeps_names_and_random():
    model = nn.mlp(3, 4, 2, dropout_rate=0.5)
    calm = nn.map_layers(
        lambda path, layer: nn.as_layer(lambda x: x) if layer.name == "dropout(0.5)" else layer,
        model,
    )
    assert model.random and not calm.random and calm.name == "mlp(3, 4, 2)"
    params, _ = model.init(KEY)
    np.testing.assert_array_equal(calm(params, X, train=True), model(params, X))


def test_layers_are_opaque_values():
    layer = nn.linear(3, 2)
    assert jax.tree.leaves(layer) == [layer] and hash(layer) == hash(layer)
    with pytest.raises(dataclasses.FrozenInstanceError):
        layer.name = "other"  # type: ignore
    params, _ = layer.init(KEY)
    apply = jax.jit(lambda layer, params, x: layer(params, x), static_argnums=0)
    assert apply(layer, params, X).shape == (5, 2)
