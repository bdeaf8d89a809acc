"""Cases: resample."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import IMAGE, Case, call, image_mistakes, normal

resize, upsample = nn.resize((5, 9), method="cubic"), nn.upsample((2, 1.5), method="linear")
shuffle, unshuffle = nn.pixel_shuffle((3, 1)), nn.pixel_unshuffle((2, 3))
channels, unfold = nn.channel_shuffle(3), nn.unfold((2, 3), stride=2)
fold = nn.fold((8, 7), 3, stride=1, padding="VALID")
sample, affine = nn.grid_sample(), nn.affine_grid((4, 5))


def rank_and_size(layer: nn.Layer, name: str, *size: int):
    return {
        "rank": (call(layer, jnp.ones(())), rf"{name}\(.*: got x of shape \(\), expected"),
        "size": (call(layer, jnp.ones(size)), rf"{name}\(.*: got x .*, expected"),
    }


CASES: dict[str, Case] = {
    "affine_grid": Case(
        affine,
        (normal(2, 3),),
        {
            "shape": (
                call(affine, jnp.ones((3, 2))),
                r"affine_grid\(.*: got theta of shape \(3, 2",
            ),
            "dtype": (call(affine, jnp.ones((2, 3), int)), r"affine_grid\(.*: got theta of dtype"),
        },
    ),
    "channel_shuffle": Case(channels, IMAGE, rank_and_size(channels, "channel_shuffle", 4)),
    "fold": Case(
        fold,
        (normal(6, 5, 9 * 2),),
        rank_and_size(fold, "fold", 6, 6, 9)
        | {"dtype": (call(fold, jnp.ones((6, 5, 9), int)), r"fold\(.*: got x of dtype int32")},
    ),
    "grid_sample": Case(
        sample,
        (*IMAGE, normal(4, 5, 2)),
        {
            "rank": (call(sample, jnp.ones(3), jnp.ones((4, 2))), r"grid_sample\(\): got x of sha"),
            "batch": (
                call(sample, jnp.ones((2, 3, 3, 1)), jnp.ones((4, 2))),
                r"grid_sample\(\): got x of shape .* and grid of \(4, 2\), expected the same batch",
            ),
            "dtype": (
                call(sample, jnp.ones((3, 3, 1), int), jnp.ones((4, 2))),
                r"grid_sample\(\): got x of dtype int32, expected",
            ),
        },
    ),
    "pixel_shuffle": Case(shuffle, IMAGE, rank_and_size(shuffle, "pixel_shuffle", 2, 2, 4)),
    "pixel_unshuffle": Case(unshuffle, IMAGE, rank_and_size(unshuffle, "pixel_unshuffle", 3, 3, 1)),
    "resize": Case(resize, IMAGE, rank_and_size(resize, "resize", 0, 3, 1)),
    "unfold": Case(unfold, IMAGE, image_mistakes(unfold, "unfold")),
    "upsample": Case(
        upsample,
        IMAGE,
        rank_and_size(nn.upsample(0.3), "upsample", 2, 6, 1)
        | {
            "dtype": (
                call(upsample, jnp.ones((3, 3, 1), int)),
                r"upsample.*: got x of dtype int32",
            ),
            "corners": (
                lambda: nn.upsample(2, align_corners=True),
                r"upsample\(2\): got method='nearest', align_corners=True, .*expected one of the",
            ),
        },
    ),
}
