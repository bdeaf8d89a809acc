"""lora and lora_merge: what is wrapped, values, what is trained, merging back."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import nnjax as nn
from tests.numerics import check_gradients, close, f64, moved, numbers

KEY = jax.random.key(0)
MODEL = nn.serial(nn.linear(4, 5), jnp.tanh, nn.linear(5, 3, bias=False))


def test_it_starts_as_the_model_and_keeps_its_params():
    adapted = nn.lora(MODEL, 2)
    params, _ = adapted.init(KEY)
    plain, _ = MODEL.init(KEY)
    for path, array in nn.paths(plain).items():
        assert (nn.get_path(params, path) == array).all()
    assert set(nn.paths(params)) - set(nn.paths(plain)) == {
        f"linear_{i}/lora_{ab}" for i in (0, 1) for ab in "ab"
    }
    a = nn.get_path(params, "linear_0/lora_a"), nn.get_path(params, "linear_1/lora_a")
    assert a[0].shape == (4, 2) and (a[0][:2] != a[1][:2]).all()
    x = numbers(7, 4)
    close(adapted(params, x), MODEL(plain, x), rtol=0, atol=0)


@pytest.mark.parametrize("alpha, scale", [(None, 1.0), (8.0, 4.0)])
def test_parity_and_merge(alpha, scale):
    adapted = nn.lora(MODEL, 2, alpha=alpha)
    params, x = moved(adapted.init(KEY)[0]), numbers(7, 4)
    p = f64(params)
    one, two = p["linear_0"], p["linear_1"]
    h = np.tanh(f64(x) @ (one["kernel"] + scale * one["lora_a"] @ one["lora_b"]) + one["bias"])
    want = h @ (two["kernel"] + scale * two["lora_a"] @ two["lora_b"])
    close(jax.jit(adapted)(params, x), want, atol=5e-6)
    model, merged = nn.lora_merge(adapted, params)
    assert repr(model) == repr(MODEL)
    assert jax.tree.map(jnp.shape, merged) == jax.tree.map(jnp.shape, MODEL.init(KEY)[0])
    close(MODEL(merged, x), want, atol=5e-6)


def test_match_chooses_by_path():
    model = nn.serial(attn=nn.attention(4, 2), head=nn.linear(4, 3))
    params, _ = nn.lora(model, 2, match="attn/*").init(KEY)
    assert "lora_a" in params["attn"]["query"] and "lora_a" not in params["head"]
    params, _ = nn.lora(model, 2, match="**/value").init(KEY)
    assert [path for path in nn.paths(params) if "lora_a" in path] == ["attn/value/lora_a"]
    with pytest.raises(ValueError, match=r"lora: got match='tail', .*: 'attn/query', .*'head'"):
        nn.lora(model, 2, match="tail")
    with pytest.raises(ValueError, match=r"lora: got match='\*\*', .*: there are none"):
        nn.lora(nn.linear((2, 2), 3), 2)
    with pytest.raises(ValueError, match="lora_merge: got linear.*, expected what lora"):
        nn.lora_merge(nn.linear(2, 3), {})


def test_a_lone_layer_and_stacked_ones_merge():
    for model, x in (
        (nn.linear(4, 4), numbers(7, 4)),
        (nn.repeat(nn.residual(nn.linear(4, 4)), 3), numbers(7, 4)),
        (nn.serial(blocks=nn.ensemble(nn.linear(4, 3), 2)), numbers(7, 4)),
    ):
        adapted = nn.lora(model, 2, alpha=3.0)
        params = moved(adapted.init(KEY)[0])
        plain, merged = nn.lora_merge(adapted, params)
        close(plain(merged, x), adapted(params, x), rtol=1e-4, atol=1e-4)
        close(model(merged, x), adapted(params, x), rtol=1e-4, atol=1e-4)


def test_only_the_update_is_trained():
    adapted = nn.lora(MODEL, 2)
    params, _ = adapted.init(KEY)
    labels = nn.label(params, {"**/lora_*": "train", "**": "freeze"})
    optimizer = optax.partition({"train": optax.sgd(0.1), "freeze": optax.set_to_zero()}, labels)
    state = optimizer.init(params)
    loss = lambda p: jnp.square(adapted(p, numbers(7, 4)) - 1.0).mean()
    first = loss(params)
    for _ in range(2):  # lora_a has no gradient while lora_b is zero
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        params = optax.apply_updates(params, updates)
    after, start = nn.paths(params), nn.paths(adapted.init(KEY)[0])
    for path, array in start.items():
        assert bool((after[path] != array).any()) == ("lora" in path), path
    assert loss(params) < first


def test_gradients():
    adapted = nn.lora(nn.linear(3, 2), 1)
    check_gradients(adapted, moved(adapted.init(KEY)[0]), numbers(2, 3), order=1)
