"""flatten: NumPy's order of entries, for any number of axes."""

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
