"""weight_norm and spectral_norm against PyTorch's parametrizations, forward, backward and state."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.parity.test_torch import close, gradient, numbers, value

torch: Any = pytest.importorskip("torch", reason="needs `pip install torch==2.13.0`")

pytestmark = pytest.mark.parity


def last(a):
    """[out, in, *size], as PyTorch has it, to [*size, in, out]."""
    return np.moveaxis(a, (0, 1), (-1, -2))


def flat(v, weight):
    """The vector of a flattened [in, *size], in our order [*size, in]."""
    return np.moveaxis(value(v).reshape(weight.shape[1:]), 0, -1).ravel()


CASES = {
    "linear": (lambda: torch.nn.Linear(5, 4), nn.linear(5, 4), (6, 5), lambda z: z),
    "conv": (
        lambda: torch.nn.Conv1d(2, 4, 3),
        nn.conv(2, 4, (3,), padding="VALID"),
        (3, 7, 2),
        lambda z: z.transpose(1, 2),
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("axis", [-1, None])
def test_weight_norm(case, axis):
    make, inner, shape, turn = CASES[case]
    torch.manual_seed(0)
    module = make()
    apply = torch.nn.utils.parametrizations.weight_norm
    theirs = apply(module, dim=None if axis is None else 0)
    g, v = theirs.parametrizations.weight.original0, theirs.parametrizations.weight.original1
    with torch.no_grad():
        g.add_(0.3 * torch.randn(g.shape))
    layer = nn.weight_norm(inner, axis=axis)
    params = lambda of: {
        "kernel": last(of(v)),
        "kernel_scale": of(g).reshape(() if axis is None else -1),
        "bias": of(theirs.bias),
    }
    x = numbers(*shape)
    t = torch.tensor(x, requires_grad=True)
    want = turn(theirs(turn(t)))
    dy = numbers(*want.shape, seed=7)
    want.backward(torch.tensor(dy))
    ours = jax.tree.map(jnp.asarray, params(value))
    y, pull = jax.vjp(jax.jit(layer), ours, jnp.asarray(x))
    close(y, value(want))
    close(pull(jnp.asarray(dy)), (params(gradient), gradient(t)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("steps", [1, 3])
def test_spectral_norm(case, steps):
    """Three steps of gradient descent in training, then evaluation: the state moves alike."""
    make, inner, shape, turn = CASES[case]
    torch.manual_seed(0)
    theirs = torch.nn.utils.parametrizations.spectral_norm(make(), n_power_iterations=steps)
    norm, weight = theirs.parametrizations.weight[0], theirs.parametrizations.weight.original
    params = lambda of: {"kernel": last(of(weight)), "bias": of(theirs.bias)}
    state = lambda: {"kernel_u": value(norm._u), "kernel_v": flat(norm._v, weight)}
    layer = nn.spectral_norm(inner, steps=steps)
    step = jax.jit(
        lambda p, s, x: jax.vjp(lambda p, x: layer.apply(p, s, x, train=True), p, x, has_aux=True)
    )
    ours = jax.tree.map(jnp.asarray, state())
    for seed in range(3):
        x = numbers(*shape, seed=seed)
        t = torch.tensor(x, requires_grad=True)
        theirs.zero_grad()
        before = jax.tree.map(jnp.asarray, params(value))
        want = turn(theirs.train()(turn(t)))
        dy = numbers(*want.shape, seed=7)
        want.backward(torch.tensor(dy))
        y, pull, ours = step(before, ours, jnp.asarray(x))
        close(y, value(want))
        close(ours, state())
        close(pull(jnp.asarray(dy)), (params(gradient), gradient(t)))
        with torch.no_grad():
            for p in theirs.parameters():
                p.sub_(0.1 * p.grad)
    x = numbers(*shape, seed=9)
    want = turn(theirs.eval()(turn(torch.tensor(x))))
    close(layer(jax.tree.map(jnp.asarray, params(value)), jnp.asarray(x), state=ours), value(want))
