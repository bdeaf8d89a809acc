"""Data files: fetched once, checked against their sha256 at every reading, parsed strictly."""

import gzip
import hashlib
import logging
import math
import os
import uuid
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

_TIMEOUT = 30.0  # seconds without a byte before a mirror is given up


class DataError(ValueError):
    """Data that is unknown, missing, damaged or out of reach. The message is one line."""


class DataFile(NamedTuple):
    """One published file: where it lies below the data folder, and how to know and get it."""

    path: str
    size: int
    sha256: str
    urls: tuple[str, ...]  # mirrors, tried in this order


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/nnjax``, or ``~/.cache/nnjax``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nnjax"


def fetch(file: DataFile) -> bytes:
    """The content of ``file``, verified.

    If NNJAX_DATA names a folder, the file is read from there and nothing is ever downloaded;
    otherwise it is read from the cache folder, and downloaded to it if missing.

    Raises: DataError, if the file is missing, unreadable, altered, or not to be downloaded.
    """
    given = os.environ.get("NNJAX_DATA")
    path = (Path(given).expanduser() if given else cache_folder()) / file.path
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        if not given:
            return _download(file, path)
        raise DataError(
            f"{path}: got no such file, expected one because NNJAX_DATA is {given}. Put the file "
            f"there ({file.urls[0]}), or unset NNJAX_DATA to have it downloaded."
        ) from None
    except OSError as error:
        fix = "It has to be a file that you may read."
        raise DataError(f"{path}: cannot be read ({_reason(error)}). {fix}") from None
    if wrong := _difference(file, content):
        again = f"put the original there ({file.urls[0]})" if given else "run again to download it"
        raise DataError(f"{path}: damaged or altered, {wrong}. Delete it and {again}.")
    return content


def read_idx(file: DataFile, axes: int) -> np.ndarray:
    """The uint8 array of ``axes`` axes in a gzipped idx file, fetched and verified."""
    return parse_idx(fetch(file), axes, file.path)


def parse_idx(content: bytes, axes: int, name: str) -> np.ndarray:
    """Decode gzipped idx: two zero bytes, type, number of axes, big-endian sizes, the values.

    Dtypes: uint8 alone, read-only.
    Raises: DataError, if the gzip is damaged, the type or number of axes is another, or the sizes
    do not account for every byte; ``name`` begins the message.
    Source: http://yann.lecun.com/exdb/mnist/, "The IDX file format".
    """
    try:
        raw = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name}: got damaged gzip ({error}), expected gzipped idx.") from None
    magic, start = bytes((0, 0, 8, axes)), 4 + 4 * axes
    if raw[:4] != magic:
        got = f"got idx magic {raw[:4].hex() or 'of no bytes'}, expected {magic.hex()}"
        raise DataError(f"{name}: {got} (uint8 along {axes} axes).")
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    if len(raw) != start + math.prod(shape):
        expected = f"{start + math.prod(shape)} for sizes {shape}"
        raise DataError(f"{name}: got {len(raw)} bytes of idx, expected {expected}.")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _download(file: DataFile, path: Path) -> bytes:
    from http.client import HTTPException  # on first use: importing nnjax needs no network code
    from urllib.error import HTTPError
    from urllib.request import urlopen

    failures = []
    for url in file.urls:
        logging.getLogger(__name__).info("downloading %s to %s", url, path)
        try:
            with urlopen(url, timeout=_TIMEOUT) as answer:
                content = answer.read(file.size + 1)  # never more, whatever a mirror sends
        except (OSError, HTTPException) as error:
            if isinstance(error, HTTPError):
                error.close()
            failures.append(f"{url} ({_reason(error)})")
            continue
        if wrong := _difference(file, content):
            failures.append(f"{url} ({wrong})")
            continue
        _write(path, content)
        return content
    raise DataError(
        f"{file.path}: cannot be downloaded from {' or '.join(failures)}. Put the file at {path}, "
        f"or set NNJAX_DATA to a folder that holds {file.path}."
    )


def _write(path: Path, content: bytes) -> None:
    """The file appears whole or not at all, though processes write it at once or are killed."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as out:
            out.write(content)
        os.replace(partial, path)
    except OSError as error:
        fix = "Set XDG_CACHE_HOME to a folder that can."
        raise DataError(f"{path}: cannot be written ({_reason(error)}). {fix}") from None
    finally:
        partial.unlink(missing_ok=True)


def _difference(file: DataFile, content: bytes) -> str:
    """What sets ``content`` apart from the published file; empty if nothing does."""
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 == file.sha256 and len(content) == file.size:
        return ""
    size = f"over {file.size}" if len(content) > file.size else f"{len(content)}"
    expected = f"expected {file.sha256} ({file.size} bytes)"
    return f"got sha256 {sha256} ({size} bytes), {expected}"


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(reason.removeprefix("<urlopen error ").removesuffix(">").split())
