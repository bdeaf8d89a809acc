"""Cases: convolution."""

import nnjax as nn
from tests.catalogue.case import IMAGE, Case, image_mistakes

CASES: dict[str, Case] = {
    "conv": Case(nn.conv(3, 4, 3), IMAGE, image_mistakes(nn.conv(3, 4, 3, padding=0), "conv")),
}
