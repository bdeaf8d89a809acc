"""Cases: normalization."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import (
    FEATURES,
    IMAGE,
    SEQUENCE,
    Case,
    call,
    feature_mistakes,
    image_mistakes,
    normal,
)

batch_norm = nn.batch_norm(4)
group_norm = nn.group_norm(4, 2, axes=1)
instance_norm = nn.instance_norm(3, scale=True, bias=True, running=True)

CASES: dict[str, Case] = {
    "batch_norm": Case(
        batch_norm,
        FEATURES,
        {
            **feature_mistakes(batch_norm, r"batch_norm\(4\)"),
            "mask": (
                call(batch_norm, normal(4), mask=jnp.ones(8)),
                r"batch_norm\(4\): got mask of dtype float32, expected bool",
            ),
            "one value": (
                call(batch_norm, jnp.ones((1, 4)), train=True),
                r"batch_norm\(4\): got x of shape \(1, 4\), expected two or more values",
            ),
            "unmapped": (
                call(nn.batch_norm(4, axis_name="data"), normal(4), train=True),
                r"batch_norm\(4\): got axis_name='data' outside of a transform that maps it",
            ),
        },
        {"mask": jnp.arange(8) != 3},
    ),
    "batch_renorm": Case(
        nn.batch_renorm(4),
        FEATURES,
        {
            **feature_mistakes(nn.batch_renorm(4), r"batch_renorm\(4\)"),
            "bounds": (lambda: nn.batch_renorm(4, max_scale=0.5), "got max_scale=0.5 and max_shi"),
        },
    ),
    "group_norm": Case(
        group_norm,
        SEQUENCE,
        {
            "rank": (call(group_norm, jnp.ones(4)), r"group_norm\(4, 2\): got x of shape \(4,\)"),
            "size": (call(group_norm, jnp.ones((2, 5))), r"group_norm\(4, 2\): got x of shape \(2"),
            "dtype": (call(group_norm, jnp.ones((2, 4), int)), r"group_norm.*: got x of dtype int"),
            "groups": (lambda: nn.group_norm(4, 3), r"group_norm\(4, 3\): got groups=3, expected"),
            "one value": (
                call(nn.group_norm(4, 4, axes=0), normal(4)),
                r"group_norm\(4, 4\): got x of shape \(8, 4\), expected two or more values",
            ),
        },
        {"mask": jnp.arange(40).reshape(8, 5) % 7 != 0},
    ),
    "instance_norm": Case(
        instance_norm,
        IMAGE,
        {
            **image_mistakes(instance_norm, "instance_norm"),
            "size": (call(instance_norm, jnp.ones((2, 2, 4))), r"got x of .*, expected \[.*, 3\]"),
            "mask": (
                call(instance_norm, normal(6, 6, 3), mask=jnp.ones((8, 6), bool)),
                r"instance_norm\(3\): got mask of shape \(8, 6\), expected \[8, 6, 6\]",
            ),
            "one value": (
                call(nn.instance_norm(3), jnp.ones((8, 1, 1, 3))),
                r"instance_norm\(3\): got x of .*, expected two or more values to standardise",
            ),
        },
        {"mask": jnp.arange(288).reshape(8, 6, 6) % 5 != 0},
    ),
    "layer_norm": Case(
        nn.layer_norm((5, 4)), SEQUENCE, feature_mistakes(nn.layer_norm(4), r"layer_norm\(4\)")
    ),
    "rms_norm": Case(nn.rms_norm(4), FEATURES, feature_mistakes(nn.rms_norm(4), r"rms_norm\(4\)")),
}
