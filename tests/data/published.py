"""Files as a publisher would make them, for the tests beside this one."""

import gzip
import hashlib

import numpy as np

from nnjax.data.files import DataFile


def pack(raw: bytes) -> bytes:
    return gzip.compress(raw, mtime=0)  # the same bytes at any time


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return pack(header + array.astype(np.uint8).tobytes())


def data_file(path: str, content: bytes, *urls: str) -> DataFile:
    return DataFile(path, len(content), hashlib.sha256(content).hexdigest(), urls or ("https://-",))
