"""Cases: prelu, rrelu, maxout."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import FEATURES, Case, call, feature_mistakes

prelu = nn.prelu(4)
maxout = nn.maxout(4, 3)

CASES: dict[str, Case] = {
    "prelu": Case(prelu, FEATURES, feature_mistakes(prelu, r"prelu\(4\)")),
    "rrelu": Case(
        nn.rrelu(),
        FEATURES,
        {
            "dtype": (call(nn.rrelu(), jnp.ones(3, int)), r"rrelu\(.*\): got x of dtype int32"),
            "order": (lambda: nn.rrelu(0.5, 0.1), r"rrelu\(0.5, 0.1\): got lower=0.5, expected"),
        },
    ),
    "maxout": Case(maxout, FEATURES, feature_mistakes(maxout, r"maxout\(4, 3\)")),
}
