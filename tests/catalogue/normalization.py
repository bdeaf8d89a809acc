"""Cases: normalization."""

import nnjax as nn
from tests.catalogue.case import FEATURES, Case, feature_mistakes

batch_norm = nn.batch_norm(4)

CASES: dict[str, Case] = {
    "batch_norm": Case(batch_norm, FEATURES, feature_mistakes(batch_norm, r"batch_norm\(4\)")),
    "layer_norm": Case(
        nn.layer_norm(4), FEATURES, feature_mistakes(nn.layer_norm(4), r"layer_norm\(4\)")
    ),
}
