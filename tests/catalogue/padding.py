"""Cases: padding."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import IMAGE, Case, call

mirror, crop = nn.pad([(1, 2), 3], mode="reflect"), nn.crop([(0, 1), 2])

CASES: dict[str, Case] = {
    "crop": Case(
        crop,
        IMAGE,
        {
            "rank": (call(crop, jnp.ones(3)), r"crop\(.*\): got x of shape \(3,\), expected"),
            "size": (call(crop, jnp.ones((5, 4, 1))), r"crop\(.*\): got x of .* \(5, 4\), expect"),
            "amount": (lambda: nn.crop(-1), r"crop\(-1\): got amount=-1, expected an integer from"),
        },
    ),
    "pad": Case(
        mirror,
        IMAGE,
        {
            "rank": (call(mirror, jnp.ones(3)), r"pad\(.*\): got x of shape \(3,\), expected"),
            "size": (
                call(mirror, jnp.ones((3, 3, 1))),
                r"pad.*: got x of .* \(3, 3\), expected ro",
            ),
            "mode": (lambda: nn.pad(1, mode="wrap"), r"pad\(1\): got mode='wrap', expected one"),  # type: ignore
        },
    ),
}
