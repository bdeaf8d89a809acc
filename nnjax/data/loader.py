"""Batches of arrays that fit in memory; the position in the data is (seed, epoch, index)."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np

from nnjax.core import check_positive

Tail = Literal["drop", "keep", "pad"]


def batches(
    arrays: tuple[Any, ...],
    batch_size: int,
    *,
    seed: int | None = None,
    epoch: int = 0,
    start: int = 0,
    tail: Tail = "drop",
) -> Iterator[tuple[np.ndarray, ...]]:
    """One epoch of ``arrays`` (a ``Split``, or any tuple of arrays) in batches, as tuples.

    Without a seed the order is kept; with one it is a permutation that (seed, epoch) determine, so
    that ``start=k`` continues an epoch at batch k exactly as if it had never been interrupted.

    A last batch short of batch_size is left out by ``tail="drop"``, yielded short by ``"keep"``,
    and filled up with zeros by ``"pad"``: then every batch ends in a mask, False where a row is
    filler, and no shape ever changes, so that a jitted step is compiled once.

    Shapes: arrays [N, ...] -> [B, ...] each, and with ``tail="pad"`` a boolean mask [B].
    Dtypes: as given. Without a seed, full batches are views of the arrays.
    Raises: ValueError, for arrays of unequal or no length, sizes or positions out of range, or if
    ``tail="drop"`` would leave nothing; TypeError, if arrays is not a tuple of arrays.
    """
    n = _length(arrays)
    count = count_batches(n, batch_size, tail=tail)
    check_natural("batches", epoch=epoch, start=start)
    if start > count:
        raise ValueError(f"batches: got start={start}, expected at most {count}, all of an epoch.")
    order = None
    if seed is not None:
        check_natural("batches", seed=seed)
        order = np.random.default_rng((seed, epoch)).permutation(n)
    columns = [np.asarray(a) for a in arrays]

    def batch(index: int) -> tuple[np.ndarray, ...]:
        rows = slice(index * batch_size, (index + 1) * batch_size)
        parts = tuple(a[rows if order is None else order[rows]] for a in columns)
        if tail != "pad":
            return parts
        mask = np.arange(batch_size) < len(parts[0])
        return (*(_fill(part, batch_size) for part in parts), mask)

    return map(batch, range(start, count))


def count_batches(n: int, batch_size: int, *, tail: Tail = "drop") -> int:
    """How many batches ``batches`` makes of ``n`` examples in an epoch."""
    check_positive("batches", batch_size=batch_size)
    if tail not in get_args(Tail):
        raise ValueError(
            f"batches: got tail={tail!r}, expected one of {', '.join(get_args(Tail))}."
        )
    if n < 1:
        raise ValueError("batches: got arrays of length 0, expected at least one example.")
    if tail == "drop" and batch_size > n:
        got = f'got batch_size={batch_size} for {n} examples, which tail="drop" leaves out'
        raise ValueError(f'batches: {got}. Take a smaller batch_size, or tail="pad" or "keep".')
    return n // batch_size if tail == "drop" else -(-n // batch_size)


def check_natural(name: str, **numbers: int) -> None:
    """Refuse a seed or position that is not an integer of at least 0."""
    for argument, number in numbers.items():
        if not hasattr(number, "__index__"):
            raise TypeError(f"{name}: got {argument}={number!r}, expected an integer.")
        if number < 0:
            raise ValueError(f"{name}: got {argument}={number}, expected at least 0.")


def _length(arrays: tuple[Any, ...]) -> int:
    fix = "Pass a split, as in batches(dataset.train, 32), or a tuple of arrays, as in (x, y)."
    if not isinstance(arrays, tuple | list) or not arrays:
        got = f"{type(arrays).__name__}{' of length 0' if isinstance(arrays, tuple | list) else ''}"
        raise TypeError(f"batches: got {got}, expected a tuple of arrays. {fix}")
    for i, a in enumerate(arrays):
        if not getattr(a, "shape", ()):
            got = f"got {type(a).__name__} at place {i}, expected an array with a leading axis"
            raise TypeError(f"batches: {got}. {fix}")
    lengths = [a.shape[0] for a in arrays]
    if len(set(lengths)) > 1:
        raise ValueError(f"batches: got arrays of lengths {lengths}, expected one, N.")
    return lengths[0]


def _fill(part: np.ndarray, size: int) -> np.ndarray:
    if len(part) == size:
        return part
    return np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
