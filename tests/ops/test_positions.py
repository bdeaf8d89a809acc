"""Rotary frequencies against the formulas of the papers, slopes and buckets against the code."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax.ops import positions
from tests.numerics import bf16, close, f64, numbers


def np_rotate(x, places, frequencies, interleaved=False):
    """By complex numbers."""
    half = len(frequencies)
    pairs = (
        x[..., : 2 * half].reshape(*x.shape[:-1], half, 2)
        if interleaved
        else np.stack([x[..., :half], x[..., half : 2 * half]], -1)
    )
    z = (pairs[..., 0] + 1j * pairs[..., 1]) * np.exp(1j * places[:, None, None] * frequencies)
    turned = np.stack([z.real, z.imag], -1)
    turned = turned if interleaved else turned.swapaxes(-1, -2)
    return np.concatenate([turned.reshape(*x.shape[:-1], -1), x[..., 2 * half :]], -1)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rotation_is_that_of_complex_numbers(interleaved):
    x, places = numbers(2, 5, 3, 8), np.array([0, 7, 1, 100, 2])
    frequencies, _ = positions.rotary_frequencies(6)
    at = jnp.asarray(places)
    f = jax.jit(lambda x: positions.rotate(x, at, frequencies, interleaved=interleaved))
    y = f(x)
    # float32 rounds an angle of 100 by 4e-6
    close(y, np_rotate(f64(x), places, frequencies, interleaved), atol=2e-5)
    assert (np.asarray(y)[..., 6:] == np.asarray(x)[..., 6:]).all()
    half = f(bf16(x))
    assert half.dtype == jnp.bfloat16
    close(half, np_rotate(f64(bf16(x)), places, frequencies, interleaved), atol=2e-2, rtol=2.0**-7)


def hub_yarn(dim, base, factor, length, fast=32.0, slow=1.0):
    """As the authors' code has it, dimension by dimension."""
    correction = lambda turns: dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base))
    low, high = math.floor(correction(fast)), math.ceil(correction(slow))
    low, high = max(low, 0), min(high, dim - 1)
    found = []
    for i in range(dim // 2):
        plain = 1 / base ** (2 * i / dim)
        keep = 1 - min(max((i - low) / (high - low), 0), 1)
        found.append(plain / factor * (1 - keep) + plain * keep)
    return np.array(found)


def hub_llama3(dim, base, factor=8.0, length=8192, low=1.0, high=4.0):
    """As the published code has it, by wavelength."""
    found = []
    for i in range(dim // 2):
        plain = 1 / base ** (2 * i / dim)
        wavelength = 2 * math.pi / plain
        if wavelength < length / high:
            found.append(plain)
        elif wavelength > length / low:
            found.append(plain / factor)
        else:
            smooth = (length / wavelength - low) / (high - low)
            found.append((1 - smooth) * plain / factor + smooth * plain)
    return np.array(found)


def test_scalings():
    dim, base = 128, 500000.0
    plain = base ** (-np.arange(0, dim, 2) / dim)
    get = lambda scaling, base=base: positions.rotary_frequencies(dim, base, scaling)
    close(get(None), (plain, 1.0))
    close(get(positions.linear_scaling(4.0)), (plain / 4, 1.0))
    close(get(positions.llama3_scaling()), (hub_llama3(dim, base), 1.0))
    for factor, length in ((4.0, 4096), (32.0, 32768)):
        got, attention = get(positions.yarn_scaling(factor, length), 1e4)
        close(got, hub_yarn(dim, 1e4, factor, length), rtol=1e-12)
        assert attention == pytest.approx(0.1 * math.log(factor) + 1)
        assert got[0] == 1.0 and got[-1] == pytest.approx(1e4 ** (-126 / 128) / factor)
    got, _ = get(positions.ntk_scaling(8.0))
    assert got[0] == 1 and got[-1] == pytest.approx(plain[-1] / 8)  # the slowest pair, by factor
    ratio = np.log(plain / got)
    close(np.diff(ratio), np.full(63, math.log(8) / 63), rtol=1e-6)


def test_llama3_keeps_fast_pairs_and_interpolates_slow_ones():
    got, _ = positions.rotary_frequencies(128, 5e5, positions.llama3_scaling())
    plain = 5e5 ** (-np.arange(64) / 64)
    turns = 8192 * plain / (2 * np.pi)
    assert (got[turns > 4] == plain[turns > 4]).all() and (turns > 4).sum() == 29
    close(got[turns < 1], plain[turns < 1] / 8)
    assert (turns < 1).sum() == 29


def test_sinusoids():
    places = jnp.array([[0, 1, 5], [1000, 3, 2]])
    for dim in (6, 5):
        got = positions.sinusoids(places, dim)
        want = np.empty((2, 3, dim))
        for i in range(dim):
            angle = f64(places) / 1e4 ** (2 * (i // 2) / dim)
            want[..., i] = np.cos(angle) if i % 2 else np.sin(angle)
        close(got, want, atol=1e-4)  # float32 rounds an angle of 1000 by 6e-5


def test_slopes_of_the_paper():
    assert positions.alibi_slopes(8).tolist() == [2.0**-i for i in range(1, 9)]
    close(positions.alibi_slopes(16), np.array([2 ** (-i / 2) for i in range(1, 17)]))
    # the authors' code for 12 heads: those of 8, then the 1st, 3rd, 5th and 7th of 16
    odd = [2 ** (-i / 2) for i in (1, 3, 5, 7)]
    close(positions.alibi_slopes(12), np.array([2.0**-i for i in range(1, 9)] + odd))
    assert positions.alibi_slopes(1).tolist() == [2.0**-8]


def hub_t5(relative, buckets, max_distance, bidirectional):
    """One distance at a time, by comparing powers, without a logarithm."""
    bucket = 0
    if bidirectional:
        buckets //= 2
        bucket += buckets * (relative > 0)
        relative = abs(relative)
    else:
        relative = -min(relative, 0)
    exact = buckets // 2
    if relative < exact:
        return bucket + relative
    wide = buckets - exact
    step = 0  # the largest with exact * (max / exact)^(step / wide) <= relative
    while step + 1 < wide and relative**wide * exact ** (step + 1) >= (
        exact**wide * max_distance ** (step + 1)
    ):
        step += 1
    return bucket + exact + step


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("buckets, max_distance", [(32, 128), (8, 20), (64, 256)])
def test_t5_buckets(buckets, max_distance, bidirectional):
    away = np.arange(-300, 301)
    got = positions.t5_bucket(jnp.asarray(away), buckets, max_distance, bidirectional)
    want = [hub_t5(int(a), buckets, max_distance, bidirectional) for a in away]
    np.testing.assert_array_equal(got, want)
    assert set(np.asarray(got)) <= set(range(buckets))
