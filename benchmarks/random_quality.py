"""Are the bits of dropout's masks random enough? A battery of tests, threefry's bits beside them.

``python -m benchmarks.random_quality`` prints the p-value of each test on ``nnjax.ops.mask``'s
hash, on threefry, and, to show that the battery has teeth, on the hash with one round of its mixer
in place of two and on a linear congruential generator. A p-value below 1e-4 is a failure. Most
streams are what a network draws: the masks of one step, of successive steps, of neighbouring layers
(keys made by ``fold_in``), and of keys that differ in one bit.

Source of the tests: Knuth, The Art of Computer Programming 2, section 3.3.2 (frequency, serial,
gap, permutation, birthday spacings); Marsaglia's DIEHARD (rank of binary matrices); NIST SP 800-22
(runs, spectral).
"""

import functools
import math
import sys
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from scipy import stats

from nnjax.ops.mask import _mix, hash_bits

Bits = Callable[[jax.Array, int], np.ndarray]  # (key, n) -> n words of 32 bits

FAILURE = 1e-4


def main(size: int = 2**20, seed: int = 0) -> bool:
    """Run the battery on streams of this many words."""
    sides = {"hash": by_hash, "threefry": by_threefry, "one round": one_round, "lcg": congruential}
    found = {name: dict(battery(side, size, seed)) for name, side in sides.items()}
    width = max(map(len, found["hash"]))
    print(" " * width, *(f"{name:>10}" for name in sides))
    for test in found["hash"]:
        print(test.ljust(width), *(f"{found[name][test]:10.2g}" for name in sides))
    failed = {name: [t for t, p in tests.items() if p < FAILURE] for name, tests in found.items()}
    for name, tests in failed.items():
        print(f"{name}: {len(tests)} of {len(found[name])} below {FAILURE:g}. {', '.join(tests)}")
    return not failed["hash"]


@functools.partial(jax.jit, static_argnums=1)
def _hashed(key, n):
    return hash_bits(key, (n,))


@functools.partial(jax.jit, static_argnums=1)
def _threefried(key, n):
    return jax.random.bits(key, (n,), jnp.uint32)


def by_hash(key: jax.Array, n: int) -> np.ndarray:
    return np.asarray(_hashed(key, n))


def by_threefry(key: jax.Array, n: int) -> np.ndarray:
    return np.asarray(_threefried(key, n))


def one_round(key: jax.Array, n: int) -> np.ndarray:
    words = jax.random.key_data(key)
    mixed = _mix((jnp.arange(n, dtype=jnp.uint32) ^ words[0]) + words[1])
    return np.asarray(mixed)


def congruential(key: jax.Array, n: int) -> np.ndarray:
    first, second = (int(word) for word in jax.random.key_data(key))
    with np.errstate(over="ignore"):
        x = np.arange(n, dtype=np.uint32) * np.uint32(1664525) + np.uint32(first)
        return x * np.uint32(22695477) + np.uint32(second)


def battery(bits: Bits, size: int, seed: int) -> Iterator[tuple[str, float]]:
    """The name and p-value of each test."""
    key = jax.random.key(seed)
    flip = lambda bit: jax.random.wrap_key_data(
        jax.random.key_data(key) ^ np.array([0, 1], np.uint32) * np.uint32(2**bit)
    )
    rows = 1024
    streams = {
        "one mask": bits(key, size),
        "steps": _interleaved(
            [bits(jax.random.fold_in(key, i), size // rows) for i in range(rows)]
        ),
        "keys a bit apart": _interleaved([bits(flip(bit), size // 32) for bit in range(32)]),
    }
    for name, words in streams.items():
        yield f"{name}: bytes", frequency(words)
        yield f"{name}: single bits", single_bits(words)
        yield f"{name}: neighbours", serial(words)
        yield f"{name}: triples", triples(words)
        yield f"{name}: runs of masks", runs(words)
        yield f"{name}: gaps", gaps(words)
        yield f"{name}: permutations", permutations(words)
        yield f"{name}: ranks", ranks(words)
        yield f"{name}: spectrum", spectrum(words)
        yield f"{name}: birthdays", birthdays(words)
    a, b = streams["one mask"], bits(jax.random.fold_in(key, 1), size)
    yield "two layers: both bits", together(a, b)
    yield "two keys a bit apart: both bits", together(a, bits(flip(0), size))
    yield "masks at 0.1: share over steps", shares(bits, key, 0.1, size // rows)
    yield "masks at 0.5: pairs of entries over steps", pairs(bits, key)


def _interleaved(streams: list[np.ndarray]) -> np.ndarray:
    """Entry after entry, each from all streams in turn: neighbours come from different keys."""
    return np.stack(streams, 1).reshape(-1)


def _chi2(counts: np.ndarray, expected: np.ndarray | float) -> float:
    """Two-sided: counts that fit too well are not random, either."""
    expected = np.broadcast_to(expected, counts.shape)
    value = float(((counts - expected) ** 2 / expected).sum())
    above = float(stats.chi2.sf(value, counts.size - 1))
    return 2 * min(above, 1 - above)


def _normal(z: float) -> float:
    return float(2 * stats.norm.sf(abs(z)))


def _least(values: list[float]) -> float:
    """The smallest of n p-values, as one p-value."""
    return 1 - (1 - min(values)) ** len(values)


def frequency(words: np.ndarray) -> float:
    each = words.view(np.uint8).reshape(-1, 4)
    return _least(
        [_chi2(np.bincount(each[:, i], minlength=256), len(each) / 256) for i in range(4)]
    )


def single_bits(words: np.ndarray) -> float:
    ones = np.array([(words >> np.uint32(b) & np.uint32(1)).sum() for b in range(32)], float)
    return _least([_normal((one - len(words) / 2) / math.sqrt(len(words) / 4)) for one in ones])


def serial(words: np.ndarray) -> float:
    """Correlation of the words as numbers, at distances of up to a row of a matrix."""
    x = words.astype(float) / 2**32 - 0.5
    found = []
    for lag in (1, 2, 3, 4, 7, 8, 16, 31, 32, 64, 128, 256, 384, 512, 768, 1024):
        product = x[lag:] * x[:-lag]
        found.append(_normal(product.sum() * 12 / math.sqrt(len(product))))
    return _least(found)


def triples(words: np.ndarray) -> float:
    """Three successive words in a cube of 16 x 16 x 16 cells, by their highest and lowest bits."""
    found = []
    for shift in (28, 0):
        cell = (words >> np.uint32(shift) & np.uint32(15)).astype(np.int64)
        cell = cell[: len(cell) // 3 * 3].reshape(-1, 3) @ np.array([256, 16, 1])
        found.append(_chi2(np.bincount(cell, minlength=4096), len(cell) / 4096))
    return _least(found)


def runs(words: np.ndarray) -> float:
    """How often neighbours of a mask differ, at several rates."""
    found = []
    for rate in (0.1, 0.2, 0.5):
        kept = words >= np.uint32(rate * 2**32)
        changes = int((kept[1:] != kept[:-1]).sum())
        p = 2 * rate * (1 - rate)
        n = len(kept) - 1
        # neighbouring changes share an entry: their covariance is rate (1 - rate) (1 - 2 rate)^2
        variance = n * p * (1 - p) + 2 * (n - 1) * rate * (1 - rate) * (1 - 2 * rate) ** 2
        found.append(_normal((changes - n * p) / math.sqrt(variance)))
    return _least(found)


def gaps(words: np.ndarray) -> float:
    """Distances between dropped entries of a mask with rate 1/8 are geometric."""
    at = np.flatnonzero(words < np.uint32(2**29))
    gap = np.minimum(np.diff(at) - 1, 40)
    p = 0.125 * 0.875 ** np.arange(41)
    p[40] = 0.875**40
    return _chi2(np.bincount(gap, minlength=41), len(gap) * p)


def permutations(words: np.ndarray) -> float:
    """The order of five successive words."""
    order = np.argsort(words[: len(words) // 5 * 5].reshape(-1, 5), axis=1)
    cell = order @ 5 ** np.arange(5)
    _, counts = np.unique(cell, return_counts=True)
    return _chi2(counts, len(order) / 120) if len(counts) == 120 else 0.0


def ranks(words: np.ndarray) -> float:
    """Ranks over GF(2) of 32 x 32 matrices, a word a row."""
    matrices = words[: len(words) // 32 * 32].reshape(-1, 32)[:20000].astype(np.uint64)
    rank = np.zeros(len(matrices), int)
    rows = matrices.copy()
    used: np.ndarray = np.zeros(rows.shape, bool)
    for bit in range(32):
        has = (rows >> np.uint64(bit) & np.uint64(1)).astype(bool) & ~used
        found: np.ndarray = np.asarray(has.any(1))
        pivot = has.argmax(1)
        pivot_row = rows[np.arange(len(rows)), pivot] * found.astype(np.uint64)
        used[np.arange(len(rows))[found], pivot[found]] = True
        clear = (rows >> np.uint64(bit) & np.uint64(1)).astype(bool)
        clear[np.arange(len(rows)), pivot] = False
        rows = np.where(clear & found[:, None], rows ^ pivot_row[:, None], rows)
        rank += found
    counts = np.array([(rank == 32).sum(), (rank == 31).sum(), (rank < 31).sum()])
    full = math.prod(1 - 2.0**-i for i in range(1, 33))
    less = 0.5 * math.prod((1 - 2.0 ** -(i + 1)) ** 2 / (1 - 2.0**-i) for i in range(1, 32))
    return _chi2(counts, len(rank) * np.array([full, less, 1 - full - less]))


def spectrum(words: np.ndarray) -> float:
    """Peaks of the Fourier transform of the words' highest bits are exponential."""
    x = (words >> np.uint32(31)).astype(float) * 2 - 1
    power = np.abs(np.fft.rfft(x))[1:-1] ** 2 / len(x)
    return float(stats.kstest(power, "expon").pvalue)


def birthdays(words: np.ndarray) -> float:
    """Equal spacings among 512 birthdays in a year of 2^24 days are Poisson with mean 2."""
    days = (words[: len(words) // 512 * 512] >> np.uint32(8)).reshape(-1, 512).astype(np.int64)
    spacing = np.sort(np.diff(np.sort(days, axis=1), axis=1), axis=1)
    equal = np.minimum((spacing[:, 1:] == spacing[:, :-1]).sum(1), 8)
    p = stats.poisson.pmf(np.arange(9), 512**3 / 2**26)
    p[8] = 1 - p[:8].sum()
    return _chi2(np.bincount(equal, minlength=9), len(equal) * p)


def together(a: np.ndarray, b: np.ndarray) -> float:
    """Every bit of one stream beside every bit of the other: equal in half of the entries."""
    n = len(a)
    signs = lambda w: np.stack([(w >> np.uint32(i) & np.uint32(1)) for i in range(32)]) * 2.0 - 1
    z = (signs(a).astype(np.float32) @ signs(b).astype(np.float32).T) / math.sqrt(n)
    return _least([_normal(float(value)) for value in z.reshape(-1)])


def shares(bits: Bits, key: jax.Array, rate: float, n: int) -> float:
    """The number of dropped entries in each of 512 steps is binomial."""
    limit = np.uint32(rate * 2**32)
    dropped = [int((bits(jax.random.fold_in(key, i), n) < limit).sum()) for i in range(512)]
    z = (np.array(dropped) - n * rate) / math.sqrt(n * rate * (1 - rate))
    above = float(stats.chi2.sf((z**2).sum(), len(z)))
    return 2 * min(above, 1 - above)


def pairs(bits: Bits, key: jax.Array) -> float:
    """Any two of 64 entries are kept together in a quarter of 4,096 steps."""
    steps = np.stack([bits(jax.random.fold_in(key, i), 64) for i in range(4096)])
    signs = (steps >> np.uint32(31)) * 2.0 - 1
    z = (signs.T @ signs)[np.triu_indices(64, 1)] / math.sqrt(len(steps))
    return _least([_normal(float(value)) for value in z])


if __name__ == "__main__":
    sys.exit(0 if tyro.cli(main) else 1)
