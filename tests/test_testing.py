"""The law kit finds what it says it finds: one layer a broken law."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn

DERIVATIVES = "derivatives: forward mode equals reverse mode, to second order, checkpointed or not"
X = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4)), jnp.float32)


def layer(apply=None, init=None, name="bad", random=False):
    """A layer ``x * scale``, but for what is given."""

    def good_init(key):
        return {"scale": jnp.ones(4)}, {}

    def good_apply(params, state, x, *, key=None, train=False):
        if set(params) != {"scale"}:
            raise ValueError(f"got params {sorted(params)}, expected scale")
        return x * params["scale"], state

    return nn.Layer(init or good_init, apply or good_apply, name, random=random)


def with_state(apply):
    return layer(apply, lambda key: ({"scale": jnp.ones(4)}, {"count": jnp.zeros(())}))


def check(params):
    if set(params) != {"scale"}:
        raise ValueError(f"got params {sorted(params)}, expected scale")
    return params["scale"]


def empty_entry():
    return layer(init=lambda key: ({"scale": jnp.ones(4), "nothing": {}}, {}))


def array_of_numpy():
    return layer(init=lambda key: ({"scale": np.ones(4, np.float32)}, {}))


def draws_in_inference():
    def apply(params, state, x, *, key=None, train=False):
        return x * check(params) + jax.random.normal(jax.random.key(0), x.shape), state

    return layer(apply)


def draws_unannounced():
    def apply(params, state, x, *, key: Any = None, train=False):
        noise = jax.random.normal(key, x.shape, x.dtype) if train else 0 * x
        return x * check(params) + noise, state

    return layer(apply)


def same_noise_for_every_key():
    def apply(params, state, x, *, key=None, train=False):
        noise = jax.random.normal(jax.random.key(0), x.shape, x.dtype) if train else 0 * x
        return x * check(params) + noise, state

    return layer(apply, random=True)


def forgets_its_state():
    def apply(params, state, x, *, key=None, train=False):
        return x * check(params), {}

    return with_state(apply)


def moves_state_in_inference():
    def apply(params, state, x, *, key=None, train=False):
        return x * check(params), {"count": state["count"] + 1}

    return with_state(apply)


def changes_the_dtype_of_its_state():
    def apply(params, state, x, *, key=None, train=False):
        return x * check(params), {"count": state["count"].astype(int)} if train else state

    return with_state(apply)


def mixes_examples():
    def apply(params, state, x, *, key=None, train=False):
        return (x - x.mean(0)) * check(params), state

    return layer(apply)


def widens_its_outputs():
    def apply(params, state, x, *, key=None, train=False):
        return x.astype(jnp.float32) * check(params).astype(jnp.float32), state

    return layer(apply)


def has_no_forward_mode():
    @jax.custom_vjp
    def scaled(x, scale):
        return x * scale

    scaled.defvjp(
        lambda x, scale: (x * scale, (x, scale)), lambda r, d: (d * r[1], (d * r[0]).sum(0))
    )
    return layer(
        lambda params, state, x, *, key=None, train=False: (scaled(x, check(params)), state)
    )


def has_an_infinite_derivative():
    def apply(params, state, x, *, key=None, train=False):
        return jnp.sqrt(jnp.maximum(x * check(params), 0)), state

    return layer(apply)


def looks_at_values():
    def apply(params, state, x, *, key=None, train=False):
        return x * check(params) if x[0, 0] > 0 else x, state

    return layer(apply)


def keeps_a_tracer():
    kept = []

    def apply(params, state, x, *, key=None, train=False):
        kept.append(x * check(params))
        return kept[-1], state

    return layer(apply)


def traces_anew():
    calls = []

    def apply(params, state, x, *, key=None, train=False):
        calls.append(0)
        return x * check(params) * len(calls), state

    return layer(apply)


def takes_any_keyword():
    def apply(params, state, x, *, key=None, train=False, **anything):
        return x * check(params), state

    return layer(apply)


def takes_any_params():
    def apply(params, state, x, *, key=None, train=False):
        return x * params.get("scale", 1), state

    return layer(apply)


def unreadable():
    return nn.as_layer(functools.partial(jnp.add, 1)).named(repr(object()))


BAD = {
    empty_entry: "params and state are built-in containers of arrays",
    array_of_numpy: "params and state are built-in containers of arrays",
    draws_in_inference: "inference is deterministic and draws no random numbers",
    draws_unannounced: "`random` says whether training draws, and keys decide what",
    same_noise_for_every_key: "`random` says whether training draws, and keys decide what",
    forgets_its_state: "state keeps its structure, and a step is traced once",
    moves_state_in_inference: "state is untouched when not training",
    changes_the_dtype_of_its_state: "state keeps its structure, and a step is traced once",
    mixes_examples: "vmap over inputs equals the batch",
    widens_its_outputs: "bfloat16 in is bfloat16 out",
    has_no_forward_mode: DERIVATIVES,
    has_an_infinite_derivative: DERIVATIVES,
    looks_at_values: "jit equals eager",
    keeps_a_tracer: "no tracer leaks",
    traces_anew: "jit equals eager",
    takes_any_keyword: "a misspelled keyword is refused",
    takes_any_params: "params of another layer are refused",
    unreadable: "its repr is readable",
}


def with_marks(make):
    slow = make is keeps_a_tracer  # every law of it fails, each with a long search for the leak
    return pytest.param(make, marks=[pytest.mark.slow] if slow else [], id=make.__name__)


@pytest.mark.parametrize("make", [with_marks(make) for make in BAD])
def test_a_bad_layer_is_found(make):
    with pytest.raises(nn.testing.LawError, match="breaks .* laws") as caught:
        nn.testing.check_layer(make(), X)
    assert BAD[make] in caught.value.broken


def test_a_good_layer_passes():
    nn.testing.check_layer(layer(), X)
    nn.testing.check_layer(layer(), jax.ShapeDtypeStruct((8, 4), jnp.float32))


def test_the_report_says_by_how_much():
    with pytest.raises(nn.testing.LawError, match=r"value at \(\d, \d\) is .*, expected .*allowed"):
        nn.testing.check_layer(mixes_examples(), X)


def test_laws_are_listed():
    assert set(BAD.values()) < set(nn.testing.laws())
