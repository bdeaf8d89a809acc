"""Cases: convolution."""

import nnjax as nn
from tests.catalogue.case import IMAGE, Case, image_mistakes

transpose = nn.conv_transpose(3, 4, 3, stride=2, padding=1, output_padding=1)
masked = nn.masked_conv(3, 6, 3, centre=True, colors=3)


def refused_sizes(layer: nn.Layer, name: str):
    """The mistakes of a layer that takes an image of any spatial size."""
    return {k: v for k, v in image_mistakes(layer, name).items() if k != "size"}


CASES: dict[str, Case] = {
    "conv": Case(nn.conv(3, 4, 3), IMAGE, image_mistakes(nn.conv(3, 4, 3, padding=0), "conv")),
    "conv_transpose": Case(
        transpose, IMAGE, image_mistakes(nn.conv_transpose(3, 4, 1, padding=1), "conv_transpose")
    ),
    "depthwise_conv": Case(
        nn.depthwise_conv(3, 3, multiplier=2),
        IMAGE,
        image_mistakes(nn.depthwise_conv(3, 3, padding=0), "depthwise_conv"),
    ),
    "masked_conv": Case(masked, IMAGE, refused_sizes(masked, "masked_conv")),
    "separable_conv": Case(
        nn.separable_conv(3, 4, 3),
        IMAGE,
        image_mistakes(nn.separable_conv(3, 4, 3, padding=0), "depthwise_conv"),
    ),
}
