"""What a step frees, kept for the next one, where the C library has a switch for it."""

import ctypes
from pathlib import Path

_MMAP_MAX, _TRIM_THRESHOLD, _ARENA_MAX = -4, -1, -8  # of mallopt, in glibc's malloc.h


def keep_memory() -> bool:
    """Have this process keep the memory that it frees, instead of giving it back to the kernel.

    XLA:CPU allocates the temporaries of a step anew at every call. Large blocks glibc takes from
    the kernel and gives back, and the kernel hands out zeroed pages of 4 KiB, a page fault each:
    18,500 of them in a step of LeNet, which takes a quarter of its time. Kept, they are there.
    ``python -m benchmarks.pages`` times both. The price is that the process never shrinks, and that
    all threads take memory from one place: a step of next to no work takes a third longer.

    Returns: whether the C library is glibc, on Linux; elsewhere nothing is changed.
    Raises: RuntimeError, if JAX has started its threads already: they keep memory of their own.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # of macOS, musl, Windows
        return False
    threads = (task.read_text() for task in Path("/proc/self/task").glob("*/comm"))
    if any(name.startswith("tf_XLA") for name in threads):
        raise RuntimeError(
            "nnjax.native.keep_memory: got a call after JAX has begun to compute, expected one "
            "before. Call it at the top of the program, right after the imports."
        )
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1), mallopt(_ARENA_MAX, 1)])
