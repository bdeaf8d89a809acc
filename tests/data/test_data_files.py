"""Data files: where they are looked for, downloads that fail in every way, checksums, idx."""

import errno
import gzip
import os
import re
import threading

import numpy as np
import pytest

from nnjax.data import DataError
from nnjax.data.files import fetch, parse_idx
from tests.data.published import data_file, idx, pack

CONTENT = b"some published bytes " * 100
REFUSED = "http://127.0.0.1:9/file"  # the discard port: nothing listens there


def message(call, *args) -> str:
    with pytest.raises(DataError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files_below(folder):
    return [p for p in folder.rglob("*") if not p.is_dir()]


def put(folder, file, content):
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_downloads_once(server, cache):
    file = data_file("set/a.gz", CONTENT, server.url(CONTENT))
    assert fetch(file) == CONTENT and files_below(cache) == [cache / "set/a.gz"]
    assert fetch(file) == CONTENT and len(server.asked) == 1


def test_cache_falls_back_to_home(server, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    fetch(data_file("set/a.gz", CONTENT, server.url(CONTENT)))
    assert (tmp_path / ".cache/nnjax/set/a.gz").read_bytes() == CONTENT


# what a mirror may do wrong, and how the error tells of it
BROKEN = {
    "absent": (404, r"HTTP Error 404: Not Found"),
    "down": (503, r"HTTP Error 503"),
    "altered": (b"X" + CONTENT[1:], rf"got sha256 \w{{64}} \({len(CONTENT)} bytes\)"),
    "truncated": (CONTENT[:-1], rf"\({len(CONTENT) - 1} bytes\)"),
    "longer": (CONTENT + b"X" * 99, rf"\(over {len(CONTENT)} bytes\)"),
    "closes early": (lambda h: h.send(CONTENT[:500], length=len(CONTENT)), r"500 bytes"),
    "says nothing": (lambda h: None, r"closed connection without response"),
    "no http": (lambda h: h.wfile.write(b"junk\r\n\r\n"), r"junk"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_mirror(how, server, cache):
    page, reason = BROKEN[how]
    broken, good = server.url(page), server.url(CONTENT)
    text = message(fetch, data_file("set/a.gz", CONTENT, broken))
    assert files_below(cache) == []
    assert text.startswith(f"set/a.gz: cannot be downloaded from {broken} (")
    assert re.search(reason, text)
    assert fetch(data_file("set/a.gz", CONTENT, broken, good)) == CONTENT


def test_endless_mirror_is_cut_off(server, cache):
    cut_off = threading.Event()

    def page(handler):
        handler.send_response(200)
        handler.end_headers()  # tells no length
        try:
            for _ in range(1000):
                handler.wfile.write(bytes(100_000))
        except ConnectionError:
            cut_off.set()

    text = message(fetch, data_file("set/a.gz", CONTENT, server.url(page)))
    assert f"(over {len(CONTENT)} bytes)" in text and files_below(cache) == []
    assert cut_off.wait(10)


def test_offline(cache):
    text = message(fetch, data_file("set/a.gz", CONTENT, REFUSED, REFUSED + "2"))
    refused = errno.ECONNREFUSED
    reason = f"[Errno {refused}] {os.strerror(refused)}"
    assert text == (
        f"set/a.gz: cannot be downloaded from {REFUSED} ({reason}) or {REFUSED}2 ({reason}). "
        f"Put the file at {cache / 'set/a.gz'}, or set NNJAX_DATA to a folder that holds set/a.gz."
    )


def test_silent_mirror_is_given_up(server, monkeypatch):
    monkeypatch.setattr("nnjax.data.files._TIMEOUT", 0.1)
    done = threading.Event()
    file = data_file("set/a.gz", CONTENT, server.url(lambda h: done.wait(2)))
    assert "timed out" in message(fetch, file)
    done.set()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_interrupted_write_leaves_nothing(error, server, cache, monkeypatch):
    def replace(source, target):
        assert files_below(cache) == [source]  # beside its target, so that os.replace is atomic
        raise error

    monkeypatch.setattr("os.replace", replace)
    file = data_file("set/a.gz", CONTENT, server.url(CONTENT))
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            fetch(file)
    else:
        text = f"{cache / 'set/a.gz'}: cannot be written (No space left on device). "
        assert message(fetch, file) == text + "Set XDG_CACHE_HOME to a folder that can."
    assert files_below(cache) == []


def test_two_at_once(server, cache):
    both_asked = threading.Barrier(2, timeout=10)

    def page(handler):
        both_asked.wait()
        handler.send(CONTENT)

    file, got = data_file("set/a.gz", CONTENT, server.url(page)), []
    threads = [threading.Thread(target=lambda: got.append(fetch(file))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [CONTENT, CONTENT] and files_below(cache) == [cache / "set/a.gz"]


def test_damaged_cache_is_reported_and_kept(server, cache):
    file = data_file("set/a.gz", CONTENT, server.url(CONTENT))
    path = put(cache, file, CONTENT[:-1])
    text = message(fetch, file)
    assert text.startswith(f"{path}: damaged or altered, got sha256 ")
    assert f"({len(CONTENT) - 1} bytes), expected {file.sha256} ({len(CONTENT)} bytes)." in text
    assert text.endswith("Delete it and run again to download it.")
    assert path.read_bytes() == CONTENT[:-1] and server.asked == []
    path.unlink()
    assert fetch(file) == CONTENT


def test_given_folder(server, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("NNJAX_DATA", str(tmp_path / "mine"))
    file = data_file("set/a.gz", CONTENT, server.url(CONTENT))
    path = tmp_path / "mine/set/a.gz"
    text = message(fetch, file)
    assert text.startswith(f"{path}: got no such file, expected one because NNJAX_DATA is ")
    put(tmp_path / "mine", file, b"altered")
    assert f"Delete it and put the original there ({file.urls[0]})." in message(fetch, file)
    path.write_bytes(CONTENT)
    assert fetch(file) == CONTENT
    path.unlink()
    path.mkdir()
    assert f"{path}: cannot be read (Is a directory)" in message(fetch, file)
    assert server.asked == [] and not cache.exists()


@pytest.mark.parametrize("shape", [(6,), (0,), (2, 3, 4)])
def test_idx(shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    parsed = parse_idx(idx(array), len(shape), "a")
    np.testing.assert_array_equal(parsed, array, strict=True)


GOOD = gzip.decompress(idx(np.arange(6)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (GOOD, r"a: got damaged gzip \(Not a gzipped file"),
        (pack(GOOD)[:-9], r"a: got damaged gzip \(Compressed file ended"),
        (pack(GOOD) + b"more", r"a: got damaged gzip"),
        (pack(GOOD)[:12] + b"\xff" * 20, r"a: got damaged gzip"),
        (pack(b""), r"got idx magic of no bytes, expected 00000801"),
        (pack(b"\1" + GOOD[1:]), r"got idx magic 01000801, expected 00000801"),
        (pack(b"\0\0\x0d" + GOOD[3:]), r"00000d01, expected 00000801 \(uint8 along 1"),
        (idx(np.zeros((2, 3))), r"got idx magic 00000802, expected 00000801"),
        (pack(GOOD[:6]), r"got 6 bytes of idx, expected 8 for sizes \(0,\)"),
        (pack(GOOD[:-1]), r"got 13 bytes of idx, expected 14 for sizes \(6,\)"),
        (pack(GOOD + b"\0"), r"got 15 bytes of idx, expected 14 for sizes \(6,\)"),
    ],
    ids=range(11),
)
def test_idx_errors(content, expected):
    with pytest.raises(DataError, match=expected):
        parse_idx(content, 1, "a")
