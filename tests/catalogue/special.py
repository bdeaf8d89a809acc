"""Cases: capsules, Hopfield layers, quantizers, splines, radial bases and couplings."""

import jax
import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import (
    FEATURES,
    LENGTHS,
    SEQUENCE,
    Case,
    call,
    feature_mistakes,
    normal,
)

CAPSULE = nn.capsule(5, 4, 2, 3)
HOPFIELD = nn.hopfield(4, 2, beta=1.5, updates=2)
MASK = jnp.arange(5) < LENGTHS[:, None]  # one row has nothing stored
ADDITIVE = nn.additive_coupling(4, nn.serial(nn.linear(2, 2), jnp.tanh))
AFFINE = nn.affine_coupling(4, nn.mlp(2, 5, 4, activation=jnp.tanh), swap=True)

CASES: dict[str, Case] = {
    "additive_coupling": Case(
        ADDITIVE, FEATURES, feature_mistakes(ADDITIVE, "additive_coupling.*")
    ),
    "affine_coupling": Case(
        AFFINE,
        FEATURES,
        feature_mistakes(AFFINE, "affine_coupling.*")
        | {
            "network": (
                call(nn.affine_coupling(4, jax.nn.relu), *FEATURES),
                r"affine_coupling\(4\): got network\(a\) of shape \(8, 2\), expected \[8, 4\]",
            )
        },
    ),
    "capsule": Case(
        CAPSULE,
        SEQUENCE,
        {
            "rank": (call(CAPSULE, jnp.ones(4)), r"capsule\(5, 4, 2, 3\): got x of shape \(4,\)"),
            "size": (call(CAPSULE, jnp.ones((4, 4))), r"got x of .*, expected \[..., 5, 4\]"),
            "dtype": (call(CAPSULE, jnp.ones((5, 4), int)), "got x of dtype int32"),
        },
    ),
    "ema_vector_quantizer": Case(
        nn.ema_vector_quantizer(6, 4),
        SEQUENCE,
        feature_mistakes(nn.ema_vector_quantizer(6, 4), "ema_vector_quantizer.*")
        | {
            "decay": (lambda: nn.ema_vector_quantizer(6, 4, decay=2.0), "got decay=2.0, expected"),
            "state": (
                lambda: nn.ema_vector_quantizer(6, 4)({}, *FEATURES),
                r"got state \[\], expected \['count', 'sum'\]",
            ),
        },
    ),
    "flow": Case(
        nn.flow(ADDITIVE, AFFINE),
        FEATURES,
        {
            "size": (
                call(nn.flow(ADDITIVE, AFFINE), jnp.ones(5)),
                r"step_0: additive_coupling\(4\): got x of shape \(5,\)",
            ),
            "empty": (lambda: nn.flow(), "flow: got no layer, expected one or more"),
        },
    ),
    "hopfield": Case(
        HOPFIELD,
        (*SEQUENCE, normal(5, 4)[:, ::-1]),
        {
            "rank": (call(HOPFIELD, jnp.ones(4)), r"hopfield\(4, 2\): got x of shape \(4,\)"),
            "dtype": (call(HOPFIELD, jnp.ones((2, 4), int)), "got x of dtype int32"),
            "stored": (
                call(HOPFIELD, jnp.ones((3, 4)), jnp.ones((2, 3, 4))),
                r"got stored of shape \(2, 3, 4\), expected \[\*, 4\]",
            ),
            "heads": (lambda: nn.hopfield(4, 3), "got heads=3, expected a divisor of dim=4"),
            "beta": (lambda: nn.hopfield(4, beta=0.0), "got beta=0.0, expected a positive"),
        },
        {"mask": MASK},
    ),
    "kan": Case(
        nn.kan(4, 3, low=-2.5, high=2.5),
        FEATURES,
        feature_mistakes(nn.kan(4, 3), r"kan\(4, 3\)")
        | {"low": (lambda: nn.kan(4, 3, low=1.0), "got low=1.0 and high=1.0, expected low < h")},
    ),
    "rbf": Case(
        nn.rbf(4, 3, gamma=0.2),
        FEATURES,
        feature_mistakes(nn.rbf(4, 3), r"rbf\(4, 3\)")
        | {"gamma": (lambda: nn.rbf(4, 3, gamma=-1.0), "got gamma=-1.0, expected a positive")},
    ),
    "vector_quantizer": Case(
        nn.vector_quantizer(6, 4),
        (2 * SEQUENCE[0],),  # no vector is as near to two codes as bfloat16 rounds
        feature_mistakes(nn.vector_quantizer(6, 4), "vector_quantizer.*"),
    ),
}
