"""Cases: dropout."""

import jax
import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import FEATURES, IMAGE, Case, call, image_mistakes


def mistakes(make, name: str, argument: str = "dropout_rate"):
    return {
        "dtype": (call(make(0.5), jnp.ones(3, int)), rf"{name}\(0.5\): got x of dtype int32"),
        "rate": (lambda: make(-1), rf"{name}\(-1\): got {argument}=-1, expected"),
    }


def training(layer, x):
    return lambda: layer({}, x, key=jax.random.key(0), train=True)


channels = {"broadcast_axes": (-3, -2)}
blocks = nn.drop_block(0.3, 3)

CASES: dict[str, Case] = {
    "alpha_dropout": Case(
        nn.alpha_dropout(0.5, **channels),
        IMAGE,
        {
            **mistakes(nn.alpha_dropout, "alpha_dropout"),
            "axes": (
                training(nn.alpha_dropout(0.5, **channels), jnp.ones(3)),
                r"alpha_dropout\(0.5\): got x of shape \(3,\), expected one with broadcast",
            ),
        },
    ),
    "drop_block": Case(
        blocks,
        IMAGE,
        {
            **image_mistakes(nn.drop_block(0.3, (2, 2)), "drop_block"),
            "rate": (
                lambda: nn.drop_block(1, 2),
                r"drop_block\(1, 2\): got dropout_rate=1, expect",
            ),
            "window": (
                call(blocks, jnp.ones((2, 6, 3))),
                r"drop_block\(0.3, 3\): got x of spatial shape \(2, 6\), expected room",
            ),
        },
    ),
    "dropout": Case(
        nn.dropout(0.5),
        FEATURES,
        {
            **mistakes(nn.dropout, "dropout"),
            "axes": (
                training(nn.dropout(0.5, broadcast_axes=(-3, -2)), jnp.ones((2, 3))),
                r"dropout\(0.5\): got x of shape \(2, 3\), expected one with broadcast",
            ),
        },
    ),
    "gaussian_dropout": Case(
        nn.gaussian_dropout(0.5), FEATURES, mistakes(nn.gaussian_dropout, "gaussian_dropout")
    ),
    "gaussian_noise": Case(
        nn.gaussian_noise(0.5), FEATURES, mistakes(nn.gaussian_noise, "gaussian_noise", "stddev")
    ),
    "stochastic_depth": Case(
        nn.stochastic_depth(0.5),
        FEATURES,
        {
            **mistakes(nn.stochastic_depth, "stochastic_depth"),
            "rank": (
                call(nn.stochastic_depth(0.5, batch_axes=2), jnp.ones(3)),
                r"stochastic_depth\(0.5\): got x of shape \(3,\), expected \[\*, \*, ...\]",
            ),
        },
    ),
}
