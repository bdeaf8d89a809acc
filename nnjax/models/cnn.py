"""cnn: a small convolutional classifier, LeNet's plan with batch norm and 3x3 kernels."""

from collections.abc import Sequence

import jax

from nnjax.core import Layer, output_shape, serial
from nnjax.layers import batch_norm, conv, dropout, flatten, linear, max_pool


def cnn(
    image: tuple[int, int, int],
    classes: int,
    *,
    features: Sequence[int] = (32, 64, 128),
    dropout_rate: float = 0.3,
) -> Layer:
    """Stages of convolution, batch norm, ReLU and 2x2 max-pooling, then one linear layer.

    The last stage does not pool, so that 28x28 images end as 7x7.

    Shapes: x [..., H, W, C] for image = (H, W, C) -> logits [..., classes].
    Raises: ValueError, if the image is too small to be halved len(features) - 1 times.
    Source: LeCun et al. 1998, https://doi.org/10.1109/5.726791, section II.B; batch norm after
        Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167.
    """
    stages = []
    for i, (before, after) in enumerate(zip((image[-1], *features), features, strict=False)):
        stages += [max_pool(2)] if i else []
        stages += [conv(before, after, 3, bias=False), batch_norm(after), jax.nn.relu]
    body = serial(*stages, flatten())
    (width,) = output_shape(body, image)
    return serial(*stages, flatten(), dropout(dropout_rate), linear(width, classes)).named("cnn")
