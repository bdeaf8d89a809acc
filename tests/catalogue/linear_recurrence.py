"""Cases: linear recurrences."""

import nnjax as nn
from tests.catalogue.case import SEQUENCE, Case, normal
from tests.catalogue.recurrent import sequence_case

CASES: dict[str, Case] = {
    "min_gru": sequence_case(nn.min_gru(4, 3), r"min_gru\(4, 3\)", carry=normal(3)),
    "rg_lru": sequence_case(nn.rg_lru(4), r"rg_lru\(4\)", carry=SEQUENCE[0][:, 0]),
    "s5": sequence_case(nn.s5(4, 3), r"s5\(4, 3\)", carry=normal(3, 2)),
}
