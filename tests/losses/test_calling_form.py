"""Every loss: parity with float64 NumPy, both modes of derivative, and one calling form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.losses.cases import CASES, PARTS, STOPPED, B
from tests.numerics import close, f64

SHOWN = np.array([True, True, False, True, False])
rng = np.random.default_rng(1)


@pytest.fixture(params=CASES, ids=str)
def name(request):
    return request.param


def test_every_loss_has_a_case():
    assert {name.split(",")[0] for name in CASES} | PARTS == set(nn.losses.__all__)


def is_float(a):
    return np.issubdtype(a.dtype, np.floating)


def wide(args):
    return [np.float64(a) if is_float(a) else a for a in args]


def test_values_reductions_and_derivatives(name):
    """One program a loss, as compiling is what takes long."""
    case = CASES[name]
    want = case.reference(*wide(case.args))
    weights = rng.uniform(0.5, 2, want.shape).astype(np.float32)
    places = [i for i, a in enumerate(case.args) if is_float(a)]
    stopped = STOPPED.get(name, -1)
    steps = [
        rng.normal(size=a.shape).astype(np.float32) * (i in places and stopped not in (i, None))
        for i, a in enumerate(case.args)
    ]
    mask = jnp.asarray(SHOWN).reshape(
        (B,) + (1,) * (case.args[1].ndim - 1 if case.own_mask else want.ndim - 1)
    )
    poisoned = [
        np.where(SHOWN.reshape((B,) + (1,) * (a.ndim - 1)), a, np.nan if is_float(a) else -100)
        for a in case.args
    ]
    poisoned = [a.astype(b.dtype) for a, b in zip(poisoned, case.args, strict=True)]

    @jax.jit
    def program(args, poisoned, steps, weights):
        def at(floats, args=args, **form):
            filled = list(args)
            for i, a in zip(places, floats, strict=True):
                filled[i] = a
            return case.loss(*filled, **form)

        floats = [args[i] for i in places]
        values, pull = jax.vjp(at, floats)
        (gradient,) = pull(weights)
        _, slope = jax.jvp(at, (floats,), ([steps[i] for i in places],))
        bad = [poisoned[i] for i in places]
        shown, pull = jax.vjp(lambda floats: at(floats, poisoned, mask=mask), bad)
        nothing = jax.value_and_grad(lambda f: at(f, mask=jnp.zeros_like(mask), reduction="mean"))
        return {
            "values": values,
            "gradient": gradient,
            "slope": slope,
            "shown": shown,
            "hidden": pull(weights)[0],
            "mean": at(bad, poisoned, mask=mask, weights=weights, reduction="mean"),
            "sum": at(bad, poisoned, mask=mask, weights=weights, reduction="sum"),
            "nothing": nothing(floats),
            "empty": case.loss(*(a[:0] for a in args), reduction="mean"),
        }

    got = jax.tree.map(np.asarray, program(list(case.args), poisoned, steps, weights))
    close(got["values"], want, rtol=2e-5, atol=5e-6)

    if stopped is not None:  # along one direction, against differences of the definition
        h = 1e-5
        moved = lambda s: wide(
            [
                a + s * h * np.float64(v) if is_float(a) else a
                for a, v in zip(case.args, steps, strict=True)
            ]
        )
        slope = (case.reference(*moved(1)) - case.reference(*moved(-1))) / (2 * h)
        close(got["slope"], slope, rtol=1e-3, atol=1e-4)
        along = sum(f64(g * steps[i]).sum() for i, g in zip(places, got["gradient"], strict=True))
        close(along, (slope * weights).sum(), rtol=1e-3, atol=1e-3)

    # what is hidden is as if it were not there, NaN and all
    alone = case.reference(*wide([a[SHOWN] for a in case.args]))
    close(got["shown"][SHOWN], alone, rtol=2e-5, atol=5e-6)
    assert not got["shown"][~SHOWN].any()
    for gradient in got["hidden"]:
        assert np.isfinite(gradient).all() and not gradient[~SHOWN].any()
    assert any(gradient[SHOWN].any() for gradient in got["hidden"])
    total, count = (alone * weights[SHOWN]).sum(), f64(weights[SHOWN]).sum()
    close(got["sum"], total, rtol=2e-5, atol=2e-5)
    if not case.counted:
        close(got["mean"], total / count, rtol=2e-5, atol=5e-6)
    for a in (got["empty"], *jax.tree.leaves(got["nothing"])):
        assert not np.any(a)


def test_bfloat16_is_computed_in_float32(name):
    case = CASES[name]
    half = [jnp.asarray(a, jnp.bfloat16) if is_float(a) else jnp.asarray(a) for a in case.args]
    assert jax.eval_shape(case.loss, *half).dtype == jnp.float32
    with jax.enable_x64(True):
        args = [jnp.asarray(a, jnp.float64) if is_float(a) else jnp.asarray(a) for a in case.args]
        assert jax.eval_shape(case.loss, *args).dtype == jnp.float64


def test_what_merely_broadcasts_is_refused(name):
    case = CASES[name]
    *front, end = case.args
    call = lambda *args, **form: jax.eval_shape(functools.partial(case.loss, **form), *args)
    short = name.split(",")[0]
    shape = np.shape(case.reference(*wide(case.args)))
    refused = lambda error, match: pytest.raises(error, match=f"^{short}: got {match}")
    if case.checks_last:
        with refused(ValueError, r"\w+ of shape .*, expected \["):
            call(*front, end[:, None])
        with refused(ValueError, r"\w+ of shape .*, expected \["):
            call(*front, end[:1])
    with refused(ValueError, r"weights of shape .*, expected \[5"):
        call(*case.args, weights=np.ones((*shape, 1), np.float32))
    with refused(ValueError, r"weights of shape .*, expected \[5"):
        call(*case.args, weights=np.ones(3, np.float32))
    with refused(ValueError, r"mask of shape \(3,\), expected \[5"):
        call(*case.args, mask=np.ones(3, bool))
    with refused(TypeError, r"mask of dtype int32, expected bool\. True is what takes part"):
        call(*case.args, mask=np.ones(shape, np.int32))
    with refused(ValueError, 'reduction=\'average\', expected "none", "mean" or "sum"'):
        call(*case.args, reduction="average")
    with refused(TypeError, r"\w+ of dtype int32, expected floating"):
        call(*(np.ones(a.shape, np.int32) for a in case.args))
