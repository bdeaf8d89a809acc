"""Data: small real data sets, checked by checksum, and batches. NumPy on the host throughout."""

from nnjax.data.datasets import (
    NAMES as NAMES,
    Dataset as Dataset,
    Split as Split,
    digits as digits,
    fashion_mnist as fashion_mnist,
    load as load,
    mnist as mnist,
)
from nnjax.data.files import DataError as DataError
from nnjax.data.loader import batches as batches, count_batches as count_batches

__all__ = [
    "NAMES",
    "DataError",
    "Dataset",
    "Split",
    "batches",
    "count_batches",
    "digits",
    "fashion_mnist",
    "load",
    "mnist",
]
