"""Capsules: vectors whose length is a probability, routed by agreement."""

import jax.numpy as jnp

from nnjax.core import Layer, check_entries, check_floating, check_positive, check_shape
from nnjax.initializers import Initializer, draw, truncated_normal
from nnjax.ops.capsule import dynamic_routing


def capsule(
    in_capsules: int,
    in_dim: int,
    out_capsules: int,
    out_dim: int,
    *,
    iterations: int = 3,
    kernel_init: Initializer = truncated_normal(0.1),
) -> Layer:
    """Capsules of one layer vote for those of the next, which are routed by agreement.

    Votes are ``x_i @ kernel_ij``. Routing repeats ``c_i = softmax_j(b_ij)``, ``v_j = squash(sum_i
    c_ij votes_ij)``, ``b_ij += votes_ij . v_j``, from b = 0, and y is the last v. Derivatives go
    through all of it. The length of y_j, in [0, 1), says how sure it is that j is there.

    Shapes: x [..., I, in_dim] -> y [..., J, out_dim]; kernel [I, J, in_dim, out_dim].
    Dtypes: params float32; routing in float32 or wider; y has x.dtype.
    Raises: ValueError, if x is not [..., in_capsules, in_dim]; TypeError, if x is not floating.
    Source: Sabour, Frosst, Hinton 2017, https://arxiv.org/abs/1710.09829, section 2.
    """
    name = f"capsule({in_capsules}, {in_dim}, {out_capsules}, {out_dim})"
    check_positive(name, in_capsules=in_capsules, in_dim=in_dim, out_capsules=out_capsules)
    check_positive(name, out_dim=out_dim, iterations=iterations)
    shapes = {"kernel": (in_capsules, out_capsules, in_dim, out_dim)}

    def init(key):
        return draw(key, shapes, kernel=kernel_init), {}

    def apply(params, state, x, *, key=None, train=False):
        check_floating(name, "x", x)
        check_shape(name, "x", x, (..., in_capsules, in_dim))
        (kernel,) = check_entries(name, "params", params, **shapes)
        votes = jnp.einsum("...id,ijde->...ije", x, kernel.astype(x.dtype))
        return dynamic_routing(votes, iterations), state

    return Layer(init, apply, name)
