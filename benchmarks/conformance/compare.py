"""One sample through the peer and through its twin: outputs and all gradients."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import nnjax as nn
from benchmarks.conformance.torch_samples import Sample
from benchmarks.conformance.twin import Twin


@dataclasses.dataclass(frozen=True)
class Difference:
    """Largest difference of any entry, over the largest entry of its array (or 1e-3 if smaller)."""

    forward: float
    backward: float

    def worst(self) -> float:
        return max(self.forward, self.backward)


def to_jax(a: Any) -> Any:
    """Tensors, in tuples and dicts too, as JAX arrays; anything else as it is."""
    if torch.is_tensor(a):
        a = a.detach()
        if a.dtype == torch.bfloat16:
            return jnp.asarray(a.float().numpy()).astype(jnp.bfloat16)
        return jnp.asarray(a.numpy().copy())
    if isinstance(a, (tuple, list)):
        return type(a)(map(to_jax, a))
    return a


def difference(got: Any, want: Any) -> float:
    got, want = jax.tree.leaves(got), jax.tree.leaves(want)
    assert len(got) == len(want), f"{len(got)} arrays for {len(want)}"
    worst = 0.0
    for a, b in zip(got, want, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape, f"shape {a.shape} for {b.shape}"
        if a.size == 0:
            continue
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return float("inf")
        gap = np.abs(a - b)[finite].max(initial=0)
        worst = max(worst, float(gap / max(np.abs(b[finite]).max(initial=0), 1e-3)))
    return worst


def compare(sample: Sample, twin: Twin, train: bool) -> Difference:
    """The twin's outputs and gradients (parameters and floating inputs) against the peer's."""
    module = sample.module.train(train)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # off zero and one, or a parameter that goes unused would pass unseen
        for p in module.parameters():
            p.add_((0.3 * torch.randn(p.shape, generator=generator)).to(p.dtype))
    leaf = lambda a: (
        a.detach().clone().requires_grad_(a.is_floating_point()) if torch.is_tensor(a) else a
    )
    lift = lambda a: type(a)(map(lift, a)) if isinstance(a, (tuple, list)) else leaf(a)
    args = tuple(map(lift, sample.args))
    kwargs = {k: lift(v) for k, v in sample.kwargs.items()}
    buffers = {n: to_jax(b) for n, b in module.named_buffers()}
    values = {n: to_jax(p) for n, p in module.named_parameters()}
    params, state = twin.params(values.__getitem__), twin.state(buffers.__getitem__)
    ours = (jax.tree.map(lambda a: a, to_jax(args)), {k: to_jax(v) for k, v in kwargs.items()})

    want = [z for z in jax.tree.leaves(module(*args, **kwargs)) if torch.is_tensor(z)]
    leaves, tree = jax.tree.flatten(ours)
    places = [
        i
        for i, a in enumerate(leaves)
        if hasattr(a, "dtype") and jnp.issubdtype(a.dtype, jnp.floating)
    ]
    layer = nn.as_layer(twin.layer)

    def run(params, floating):
        filled = list(leaves)
        for i, a in zip(places, floating, strict=True):
            filled[i] = a
        inputs, keywords = jax.tree.unflatten(tree, filled)
        entered = twin.enter(*inputs, **keywords)
        named = {}
        if isinstance(entered, tuple) and len(entered) == 2 and isinstance(entered[1], dict):
            entered, named = entered
        if not isinstance(entered, tuple):
            entered = (entered,)
        outputs, new_state = layer.apply(params, state, *entered, train=train, **named)
        return jax.tree.leaves(twin.leave(outputs)), new_state

    floating = [leaves[i] for i in places]
    got, pull, new_state = jax.vjp(jax.jit(run), params, floating, has_aux=True)
    moved = {n: to_jax(b) for n, b in module.named_buffers()}
    want_all = [to_jax(z) for z in want], twin.state(moved.__getitem__)
    forward = difference((got, new_state), want_all)

    differentiable = [i for i, z in enumerate(want) if z.requires_grad]
    if not differentiable:
        return Difference(forward, 0.0)
    rng = np.random.default_rng(7)
    cotangents = [jnp.asarray(rng.normal(size=z.shape)).astype(z.dtype) for z in got]
    total: Any = sum(
        (want[i] * torch.tensor(np.asarray(cotangents[i], np.float64)).to(want[i].dtype)).sum()
        for i in differentiable
    )
    total.backward()
    zero = lambda i, c: c if i in differentiable else jax.numpy.zeros_like(c)
    integer = lambda z: not jnp.issubdtype(z.dtype, jnp.floating)
    pulled = pull(
        [
            np.zeros(c.shape, jax.dtypes.float0) if integer(c) else zero(i, c)
            for i, c in enumerate(cotangents)
        ]
    )
    grads = {
        n: to_jax(torch.zeros_like(p) if p.grad is None else p.grad)
        for n, p in module.named_parameters()
    }
    tensors = [a for a in jax.tree.leaves((args, kwargs)) if torch.is_tensor(a)]
    wanted = [
        to_jax(torch.zeros_like(t) if t.grad is None else t.grad)
        for t in tensors
        if t.is_floating_point()
    ]
    backward = difference(pulled, (twin.params(grads.__getitem__), wanted))
    return Difference(forward, backward)
