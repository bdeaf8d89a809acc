"""Cases: adaptive_log_softmax."""

import nnjax as nn
from tests.catalogue.case import FEATURES, Case, feature_mistakes

adaptive = nn.adaptive_log_softmax(4, 9, [3, 5], div_value=2.0, bias=True)

CASES: dict[str, Case] = {
    "adaptive_log_softmax": Case(
        adaptive, FEATURES, feature_mistakes(adaptive, r"adaptive_log_softmax\(4, 9, \[3, 5\]\)")
    ),
}
