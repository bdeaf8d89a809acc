"""Gated MLPs, and mixtures of many of them of which each token uses a few."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from nnjax.core import (
    Layer,
    check_choice,
    check_entries,
    check_floating,
    check_positive,
    check_shape,
    compose,
)
from nnjax.core.errors import LayerValueError
from nnjax.initializers import draw, lecun_normal, variance_scaling, zeros
from nnjax.layers.linear import linear
from nnjax.ops import routing

_SLOTS = {"blocks": routing.block_slots, "ragged": routing.ragged_slots}


def gated_mlp(
    in_features: int,
    hidden_features: int,
    out_features: int,
    *,
    activation: Callable[[jax.Array], jax.Array] = jax.nn.silu,
    bias: bool = False,
) -> Layer:
    """``y = down(activation(gate(x)) * up(x))``: an MLP whose hidden units are gated by others.

    With silu it is known as SwiGLU, with gelu as GeGLU, with relu as ReGLU, with sigmoid as GLU.

    Shapes: x [..., in] -> y [..., out].
    Params: gate and up, each a linear(in, hidden), and down, a linear(hidden, out).
    Raises: ValueError, if the last axis of x is not in_features; TypeError, if x is not floating.
    Source: Shazeer 2020, https://arxiv.org/abs/2002.05202, equations 5 and 6.
    """
    name = f"gated_mlp({in_features}, {hidden_features}, {out_features})"

    def forward(net, x):
        return net.down(activation(net.gate(x)) * net.up(x))

    gate, up = (linear(in_features, hidden_features, bias=bias) for _ in range(2))
    down = linear(hidden_features, out_features, bias=bias)
    return compose(forward, name, gate=gate, up=up, down=down)


def mixture_of_experts(
    dim: int,
    hidden_features: int,
    experts: int,
    *,
    top_k: int = 2,
    capacity_factor: float | None = None,
    activation: Callable[[jax.Array], jax.Array] = jax.nn.silu,
    implementation: str = "blocks",
) -> Layer:
    """``y = sum of weight_e(x) * expert_e(x)`` over the top_k experts of each token x.

    Each expert is a gated MLP; a token's weights are the softmax of ``x @ router`` over its top_k
    (over all experts for top_k = 1, or the router would not learn).

    Without capacity_factor nothing is dropped, so that a token's y depends on that token alone.
    With it, each expert takes at most ``ceil(capacity_factor * top_k * tokens / experts)`` of the
    call's tokens: all first choices in order, then all second ones, and so on; the choices that
    find their expert full add nothing to y. Cost is then fixed, and equal for all experts.

    ``implementation`` of the form that drops nothing: "blocks" or "ragged" (``jax.lax.ragged_dot``,
    which jax 0.10 can neither vmap over x alone nor differentiate in reverse mode twice).

    Shapes: x [..., D] -> y [..., D]; router [D, experts]; gate and up [experts, D, H], down
        [experts, H, D].
    Dtypes: params are made in float32; router, weights and losses in float32 or wider; y has the
        dtype that x and params promote to.
    State:  balance_loss and z_loss, scalars: those of the last call in training, differentiable.
        Add them, each times a small factor, to the loss that you minimise: 0.01 (Fedus et al.) and
        0.001 (Zoph et al.).
    Raises: ValueError, if top_k exceeds experts, capacity_factor is not positive, or the last axis
        of x is not dim; TypeError, if x is not floating.
    Source: Shazeer et al. 2017, https://arxiv.org/abs/1701.06538, section 2, without its noise;
        capacity and losses of Fedus, Zoph, Shazeer 2021, https://arxiv.org/abs/2101.03961, and Zoph
        et al. 2022, https://arxiv.org/abs/2202.08906; blocks as in Gale et al. 2022,
        https://arxiv.org/abs/2211.15841.
    """
    name = f"mixture_of_experts({dim}, {hidden_features}, {experts})"
    check_positive(name, dim=dim, hidden_features=hidden_features, experts=experts, top_k=top_k)
    if top_k > experts:
        raise LayerValueError(f"{name}: got top_k={top_k}, expected at most experts={experts}.")
    if capacity_factor is not None and not capacity_factor > 0:
        fix = "None drops nothing."
        got = f"got capacity_factor={capacity_factor}, expected a positive number"
        raise LayerValueError(f"{name}: {got}. {fix}")
    check_choice(name, "implementation", implementation, _SLOTS)
    shapes = {"router": (dim, experts), "gate": (experts, dim, hidden_features)}
    shapes |= {"up": shapes["gate"], "down": (experts, hidden_features, dim)}
    losses = ("balance_loss", "z_loss")

    def init(key):
        # Fans count the leading axis, which is no part of them here: hence the scale.
        each = variance_scaling(experts, "fan_in", "truncated_normal")
        params = draw(key, shapes, router=lecun_normal(), gate=each, up=each, down=each)
        return params, {loss: zeros(key, ()) for loss in losses}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., dim))
        router, gate, up, down = check_entries(name, "params", params, **shapes)
        check_entries(name, "state", state, **dict.fromkeys(losses, ()))
        tokens = x.reshape(math.prod(x.shape[:-1]), dim)
        logits = tokens.astype(router.dtype) @ router
        weights, chosen = routing.top_k_routing(logits, top_k)
        assigned = chosen.T.reshape(-1)  # [top_k * T]: all first choices, then all second ones
        if capacity_factor is None:
            slots = _SLOTS[implementation](assigned, experts)
        else:
            room = math.ceil(capacity_factor * top_k * len(tokens) / experts)
            slots = routing.capacity_slots(assigned, experts, room)
        body = lambda h, dot: dot(activation(dot(h, gate)) * dot(h, up), down)
        parts = slots.run(jnp.tile(tokens, (top_k, 1)), body).reshape(top_k, len(tokens), dim)
        y = (weights.T[..., None] * parts.astype(weights.dtype)).sum(0).astype(parts.dtype)
        y = y.reshape(x.shape)
        if not train:
            return y, state
        balance, z = routing.balance_loss(logits, chosen), routing.router_z_loss(logits)
        as_was = lambda loss, new: new.astype(state[loss].dtype)
        return y, {loss: as_was(loss, new) for loss, new in zip(losses, (balance, z), strict=True)}

    return Layer(init, apply, name)
