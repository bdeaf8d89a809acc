"""Cases: mixture."""

import nnjax as nn
from tests.catalogue.case import FEATURES, SEQUENCE, Case, feature_mistakes

gated = nn.gated_mlp(4, 6, 3)
mixture = nn.mixture_of_experts(4, 6, 3, top_k=2)

CASES: dict[str, Case] = {
    "gated_mlp": Case(gated, FEATURES, feature_mistakes(gated, r"gate: linear\(4, 6\)")),
    "mixture_of_experts": Case(
        mixture,
        SEQUENCE,
        {
            **feature_mistakes(mixture, r"mixture_of_experts\(4, 6, 3\)"),
            "top_k": (
                lambda: nn.mixture_of_experts(4, 6, 3, top_k=4),
                r"mixture_of_experts\(4, 6, 3\): got top_k=4, expected at most experts=3",
            ),
        },
    ),
}
