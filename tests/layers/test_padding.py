"""pad and crop: parity with NumPy, every dtype and batch, gradients, what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from tests.numerics import check_gradients, close, f64, numbers

MODES: dict[str, Any] = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}

CASES: dict[str, tuple[tuple[int, ...], Any, Any]] = {
    # name: (spatial shape, amount, the same as pairs)
    "one number": ((3, 4), 2, [(2, 2), (2, 2)]),
    "by axis": ((3, 4), (0, 3), [(0, 0), (3, 3)]),
    "by side": ((3, 4), ((2, 1), 0), [(2, 1), (0, 0)]),
    "sequence": ((5,), [(4, 0)], [(4, 0)]),
    "volume": ((3, 2, 4), (1, 1, (0, 3)), [(1, 1), (1, 1), (0, 3)]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_parity(case, mode, batch):
    size, amount, pairs = CASES[case]
    x = numbers(*batch, *size, 2)
    value: dict[str, Any] = {"constant_values": 1.5} if mode == "constant" else {}
    want = np.pad(f64(x), [(0, 0)] * len(batch) + pairs + [(0, 0)], MODES[mode], **value)
    pad, crop = nn.pad(amount, mode=mode, value=1.5), nn.crop(amount)
    y, back = jax.jit(lambda: (pad({}, x), crop({}, pad({}, x))))()
    close((y, back), (want, x), rtol=0, atol=0)


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_batch_and_other_dtypes(mode):
    x = jnp.arange(6).reshape(3, 2)
    y = nn.pad((2,), mode=mode)({}, x)
    assert y.dtype == x.dtype and y.shape == (7, 2)
    close(y, np.pad(x, [(2, 2), (0, 0)], MODES[mode]))
    assert nn.pad((2,), mode=mode)({}, numbers(0, 3, 2)).shape == (0, 7, 2)
    assert nn.pad(0, mode=mode)({}, numbers(1, 0, 0, 2)).shape == (1, 0, 0, 2)


@pytest.mark.parametrize("mode", MODES)
def test_gradients(mode):
    check_gradients(lambda x: jnp.sin(nn.pad([(2, 1)], mode=mode)({}, x)), numbers(1, 3, 2))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.pad(1.5), "pad.*: got amount=1.5, expected an integer from 0 up"),  # type: ignore
        (lambda: nn.pad((1, -1)), r"pad.*: got amount=\(1, -1\), expected an integer from 0 up"),
        (lambda: nn.pad(((1, 2, 3),)), "pad.*: got amount=.*, expected an integer from 0 up"),  # type: ignore
        (lambda: nn.pad((1,) * 4), r"pad.*: got amount=\(1, 1, 1, 1\), expected an integer"),
        (lambda: nn.crop(()), r"crop.*: got amount=\(\), expected an integer from 0 up"),
        (
            lambda: nn.pad(3, mode="reflect")({}, numbers(3, 4, 1)),
            r"\(3, 4\), expected room for pa",
        ),
        (
            lambda: nn.pad(4, mode="circular")({}, numbers(3, 4, 1)),
            r"\(3, 4\), expected room for p",
        ),
        (lambda: nn.pad(1, mode="replicate")({}, numbers(0, 4, 1)), r"\(0, 4\), expected room for"),
        (lambda: nn.pad(1, value=0.5)({}, jnp.ones((3, 3, 1), int)), "int32 and value=0.5, which"),
        (lambda: nn.crop((1, 2))({}, numbers(5, 4, 1)), r"\(5, 4\), expected more than is cut off"),
    ],
)
def test_messages(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_padding_is_differentiated_as_the_copies_that_it_makes():
    f = jax.jit(jax.grad(lambda x: nn.pad(((2, 0),), mode="replicate")({}, x).sum()))
    close(f(numbers(3, 1)), np.array([[3.0], [1.0], [1.0]]))
