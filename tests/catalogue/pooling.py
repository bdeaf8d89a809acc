"""Cases: pooling."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import IMAGE, LENGTHS, SEQUENCE, Case, call, image_mistakes


def bin_mistakes(layer: nn.Layer, name: str):
    """Any number of entries fits into bins, but none."""
    return image_mistakes(layer, name) | {
        "size": (call(layer, jnp.ones((0, 3, 1))), rf"{name}\(.*: got x of spatial shape \(0, 3\)"),
    }


def global_mistakes(layer: nn.Layer, name: str):
    return {
        "rank": (call(layer, jnp.ones(3)), rf"{name}\(2\): got x of"),
        "dtype": (call(layer, jnp.ones((2, 2, 1), int)), "got x of dtype int32"),
    }


FRACTIONAL = nn.fractional_max_pool(2, output_size=4)  # of 3, from 6, the steps would all be 2
POOLED, PLACES = nn.max_pool(2, return_indices=True)({}, *IMAGE)
UNPOOL = nn.max_unpool(2)
ATTENTION = nn.attention_pool(4, 2)
MASK = jnp.arange(5) < LENGTHS[:, None]  # one row has nothing to attend to

CASES: dict[str, Case] = {
    "adaptive_avg_pool": Case(
        nn.adaptive_avg_pool((4, 3)),
        IMAGE,
        bin_mistakes(nn.adaptive_avg_pool(2), "adaptive_avg_pool"),
    ),
    "adaptive_max_pool": Case(
        nn.adaptive_max_pool((4, None)),
        IMAGE,
        bin_mistakes(nn.adaptive_max_pool(2), "adaptive_max_pool"),
    ),
    "attention_pool": Case(
        ATTENTION,
        SEQUENCE,
        {
            "rank": (call(ATTENTION, jnp.ones(4)), r"attention_pool\(4, 2\): got x of shape"),
            "dtype": (call(ATTENTION, jnp.ones((2, 4), int)), "got x of dtype int32"),
            "mask": (
                call(ATTENTION, jnp.ones((3, 4)), mask=jnp.ones((2,), bool)),
                r"got mask of shape \(2,\), expected \[3\]",
            ),
            "heads": (lambda: nn.attention_pool(4, 3), "got heads=3, expected a divisor"),
        },
        {"mask": MASK},
    ),
    "avg_pool": Case(nn.avg_pool(2), IMAGE, image_mistakes(nn.avg_pool(2), "avg_pool")),
    "blur_pool": Case(nn.blur_pool(), IMAGE, image_mistakes(nn.blur_pool(), "blur_pool")),
    "fractional_max_pool": Case(
        FRACTIONAL, IMAGE, image_mistakes(FRACTIONAL, "fractional_max_pool")
    ),
    "gem_pool": Case(
        nn.gem_pool(),
        IMAGE,
        global_mistakes(nn.gem_pool(), "gem_pool")
        | {"power": (lambda: nn.gem_pool(power=0.0), "got power=0.0 and eps=1e-06, expected pos")},
    ),
    "global_avg_pool": Case(
        nn.global_avg_pool(), IMAGE, global_mistakes(nn.global_avg_pool(), "global_avg_pool")
    ),
    "global_max_pool": Case(
        nn.global_max_pool(), IMAGE, bin_mistakes(nn.global_max_pool(), "global_max_pool")
    ),
    "lp_pool": Case(nn.lp_pool(3, 2, stride=1), IMAGE, image_mistakes(nn.lp_pool(2, 2), "lp_pool")),
    "max_pool": Case(
        nn.max_pool(3, stride=2, padding=1), IMAGE, image_mistakes(nn.max_pool(2), "max_pool")
    ),
    "max_unpool": Case(
        UNPOOL,
        (POOLED,),
        {
            "rank": (call(UNPOOL, jnp.ones(3), jnp.ones(3, int)), r"max_unpool\(2\): got x of"),
            "size": (
                call(UNPOOL, POOLED, PLACES[0]),
                r"got indices of shape \(3, 3, 3\), expected \[8, 3, 3, 3\]",
            ),
            "dtype": (call(UNPOOL, POOLED, POOLED), "got indices of dtype float32, expected int"),
            "output size": (
                call(nn.max_unpool(2, output_size=(8, 6)), POOLED, PLACES),
                r"got output_size=\(8, 6\), expected \(6, 6\) or less than a stride",
            ),
        },
        {"indices": PLACES},
    ),
    "min_pool": Case(nn.min_pool(2), IMAGE, image_mistakes(nn.min_pool(2), "min_pool")),
    "sum_pool": Case(
        nn.sum_pool(3, stride=2, padding="SAME"),
        IMAGE,
        image_mistakes(nn.sum_pool(2), "sum_pool"),
    ),
}
