"""Image quality: PSNR and SSIM."""

import jax
import jax.numpy as jnp

from nnjax.core.errors import LayerValueError
from nnjax.metrics.metric import Metric, averaged, pair_of


def psnr(*, data_range: float = 1.0) -> Metric:
    """``10 log10(data_range^2 / mean squared error)`` of an image, mean over images, in decibels.

    Shapes: images [..., H, W, C] of both; mask [...] of images.
    """

    def values(images, targets):
        images, targets = _images("psnr", images, targets)
        error = jnp.square(images - targets).mean((-3, -2, -1))
        return 10 * jnp.log10(data_range**2 / error)

    return averaged("psnr", values)


def ssim(*, data_range: float = 1.0) -> Metric:
    """Structural similarity in a Gaussian window of 11 x 11 (sigma 1.5), mean over images.

    ``(2 mu_x mu_y + c1)(2 cov + c2) / ((mu_x^2 + mu_y^2 + c1)(var_x + var_y + c2))`` with
    c1 = (0.01 data_range)^2 and c2 = (0.03 data_range)^2, over the windows that lie inside.

    Shapes: images [..., H, W, C] of both, H and W from 11; mask [...] of images.
    Raises: ValueError, for smaller images.
    Source: Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861.
    """

    def values(images, targets):
        images, targets = _images("ssim", images, targets)
        *batch, height, width, channels = images.shape
        if min(height, width) < 11:
            got = f"got images of {height} x {width}"
            raise LayerValueError(f"ssim: {got}, expected at least 11 x 11, the window's size.")
        x, y = (a.reshape(-1, height, width, channels) for a in (images, targets))
        # about the image's mean: the window's variance is then no difference of large squares
        shift = x.mean((1, 2), keepdims=True)
        x, y, mean = x - shift, y - shift, _blur
        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
        mx, my = mx + shift, my + shift
        c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
        index = (2 * mx * my + c1) * (2 * cov + c2)
        index /= (mx * mx + my * my + c1) * (vx + vy + c2)
        return index.mean((1, 2, 3)).reshape(batch)

    return averaged("ssim", values)


def _blur(x):
    """x [B, H, W, C] -> [B, H - 10, W - 10, C]."""
    window = jnp.exp(-((jnp.arange(-5, 6, dtype=x.dtype) / 1.5) ** 2) / 2)
    window = window / window.sum()
    slide = lambda x, axis: sum(
        (
            w * jax.lax.slice_in_dim(x, i, x.shape[axis] - 10 + i, axis=axis)
            for i, w in enumerate(window)
        ),
        jnp.zeros((), x.dtype),
    )
    return slide(slide(x, 1), 2)


def _images(name: str, images, targets) -> tuple[jax.Array, jax.Array]:
    if jnp.ndim(images) < 3:
        got = f"got images of shape {jnp.shape(images)}"
        raise LayerValueError(f"{name}: {got}, expected [..., H, W, C]. Add the axis of channels.")
    return pair_of(name, images, targets)
