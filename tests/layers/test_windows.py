"""Sizes, strides and paddings against counting by hand, and what is refused."""

import itertools

import numpy as np
import pytest

from nnjax.layers.windows import output_size, per_axis, resolve_padding

SMALL = list(itertools.product(range(1, 8), range(1, 6), range(1, 5)))


@pytest.mark.parametrize("size, reach, stride", SMALL[::7])
def test_same_pads_as_little_as_gives_a_window_to_every_stride(size, reach, stride):
    (pads,) = resolve_padding("conv", "SAME", (size,), (reach,), (stride,))
    windows = lambda total: len(range(0, size + total - reach + 1, stride))
    wanted, total = -(-size // stride), sum(pads)
    assert windows(total) == wanted and (total == 0 or windows(total - 1) < wanted)
    assert pads[1] - pads[0] in (0, 1)  # an odd unit goes after
    assert output_size("conv", (size,), (reach,), (stride,), [pads]) == (wanted,)


@pytest.mark.parametrize("size, reach, stride", SMALL[::7])
def test_causal_gives_as_many_windows_none_of_which_looks_ahead(size, reach, stride):
    pads = resolve_padding("conv", "CAUSAL", (size,), (reach,), (stride,))
    assert output_size("conv", (size,), (reach,), (stride,), pads) == (-(-size // stride),)
    assert pads == [(reach - 1, 0)]  # window i ends at entry stride * i of x


@pytest.mark.parametrize(
    "padding, pads",
    [
        ("VALID", [(0, 0), (0, 0)]),
        (2, [(2, 2), (2, 2)]),
        (np.int64(2), [(2, 2), (2, 2)]),
        ((1, 2), [(1, 1), (2, 2)]),
        ([[1, 2], 0], [(1, 2), (0, 0)]),
        (((1, 2), (3, 4)), [(1, 2), (3, 4)]),
    ],
)
def test_explicit_padding(padding, pads):
    assert resolve_padding("conv", padding, (5, 5), (3, 3), (1, 1)) == pads


@pytest.mark.parametrize(
    "padding", ["same", None, 1.5, (1,), (1, 2, 3), ((1,), 1), ((1, 2, 3), 1), ("1", 1)]
)
def test_other_padding_is_refused(padding):
    with pytest.raises(ValueError, match=r"conv: got padding=.*, expected 'SAME', .* 2 integers"):
        resolve_padding("conv", padding, (5, 5), (3, 3), (1, 1))


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="conv: got padding=.*, expected nothing negative"):
        resolve_padding("conv", (0, (1, -1)), (5, 5), (3, 3), (1, 1))


def test_one_entry_an_axis():
    assert per_axis("conv", "stride", 2, 3) == (2, 2, 2)
    assert per_axis("conv", "stride", np.int64(2), 1) == (2,)
    assert per_axis("conv", "kernel_size", [3], 2) == (3,)  # says how many axes there are
    assert per_axis("conv", "output_padding", 0, 2, least=0) == (0, 0)
    with pytest.raises(TypeError, match="conv: got output_padding=0.5, expected an integer"):
        per_axis("conv", "output_padding", 0.5, 2, least=0)
    with pytest.raises(ValueError, match=r"conv: got stride=\(1, 1\), expected 3 entries"):
        per_axis("conv", "stride", (1, 1), 3)
