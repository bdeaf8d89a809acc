"""flatten and unflatten: NumPy's order of entries, for any number of axes."""

import pytest

import nnjax as nn
from tests.numerics import close, f64, numbers


@pytest.mark.parametrize(
    "shape, axes, want",
    [
        ((2, 3, 4, 5), 3, (2, 60)),
        ((3, 4, 5), 3, (60,)),
        ((2, 6, 3, 4), 2, (2, 6, 12)),
        ((2, 3), 1, (2, 3)),
        ((0, 3, 4, 5), 3, (0, 60)),
        ((2, 0, 4), 2, (2, 0)),
    ],
)
def test_parity(shape, axes, want):
    x = numbers(*shape)
    close(nn.flatten(axes)({}, x), f64(x).reshape(want), rtol=0, atol=0)


def test_messages():
    with pytest.raises(ValueError, match=r"flatten\(3\): got x of shape \(2, 3\), expected at lea"):
        nn.flatten()({}, numbers(2, 3))
    with pytest.raises(ValueError, match=r"flatten\(0\): got axes=0, expected at least 1"):
        nn.flatten(0)
    with pytest.raises(
        ValueError, match=r"unflatten\(2, 3\): got x of shape \(2, 5\), expected \["
    ):
        nn.unflatten(2, 3)({}, numbers(2, 5))


@pytest.mark.parametrize("batch", [(), (0,), (4, 2)])
def test_unflatten_is_the_inverse_of_flatten(batch):
    x = numbers(*batch, 6)
    y = nn.unflatten(2, 1, 3)({}, x)
    close(y, f64(x).reshape(*batch, 2, 1, 3), rtol=0, atol=0)
    close(nn.flatten()({}, y), x, rtol=0, atol=0)
