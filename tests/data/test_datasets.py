"""Data sets: real counts, disjoint stratified splits by seed, standardised on train alone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nnjax import data
from nnjax.data import datasets
from tests.data.published import data_file, idx

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"  # beside a developer's checkout


@pytest.fixture(scope="module")
def digits():
    return data.digits()


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """The four files with 60 + 20 noisy images of 3 x 2, the test images brighter."""

    def make(low=0, high=100):
        rng = np.random.default_rng(0)
        x, y = rng.integers(low, high, (60, 3, 2)), np.arange(60) % 3
        arrays = x, y, x[:20] + 100, y[:20]
        names = [file.path for file in datasets._FILES["mnist"]]
        files = [data_file(n, idx(a)) for n, a in zip(names, arrays, strict=True)]
        (tmp_path / "mnist").mkdir(exist_ok=True)
        for file, array in zip(files, arrays, strict=True):
            (tmp_path / file.path).write_bytes(idx(array))
        monkeypatch.setitem(datasets._FILES, "mnist", tuple(files))
        monkeypatch.setattr(datasets, "_VALIDATION", 12)
        monkeypatch.setenv("NNJAX_DATA", str(tmp_path))
        return x, y

    return make


def check_standardised(train):
    pixels = train.inputs.astype(np.float64)
    assert abs(pixels.mean()) < 1e-6 and abs(pixels.std() - 1) < 1e-6  # of float32 rounding


def check_equal(one, other):
    for a, b in zip((*one.train, *one.validation), (*other.train, *other.validation), strict=True):
        np.testing.assert_array_equal(a, b)


def test_digits(digits):
    assert digits.name == "digits" and digits.classes == tuple("0123456789")
    sizes = {"train": 1257, "validation": 180, "test": 360}
    for part, size in sizes.items():
        inputs, targets = getattr(digits, part)
        assert inputs.shape == (size, 8, 8, 1) and inputs.dtype == np.float32
        assert targets.shape == (size,) and targets.dtype == np.int32
    check_standardised(digits.train)
    assert abs(digits.test.inputs.mean()) > 1e-4  # by the statistics of train, not its own


def test_digits_are_all_there_once(digits):
    splits = digits.train, digits.validation, digits.test
    inputs = np.concatenate([split.inputs for split in splits])
    targets = np.concatenate([split.targets for split in splits])
    levels = np.unique(inputs)  # standardising keeps the order of the 17 grey levels
    rows = np.column_stack([np.searchsorted(levels, inputs.reshape(len(inputs), -1)), targets])
    pixels, labels = load_digits(return_X_y=True)
    original = np.column_stack([np.asarray(pixels), np.asarray(labels)])
    assert len(levels) == 17
    np.testing.assert_array_equal(sorted(rows.tolist()), sorted(original.astype(int).tolist()))


def test_digits_are_stratified(digits):
    shares = np.bincount(load_digits(return_X_y=True)[1]) / 1797
    for _, targets in (digits.train, digits.validation, digits.test):
        counts = np.bincount(targets, minlength=10)
        # within one of the exact share at either division
        np.testing.assert_array_less(np.abs(counts - shares * len(targets)), 2)


def test_digits_by_seed(digits):
    check_equal(digits, data.load("digits", seed=0))
    other = data.digits(seed=1)
    for part in ("train", "validation", "test"):
        assert not np.array_equal(getattr(digits, part).targets, getattr(other, part).targets)


@pytest.mark.parametrize("n, size", [(10, 1), (97, 13), (97, 96), (30, 30)])
def test_divide_is_disjoint(n, size):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, n)
    (rest, rest_labels), (drawn, drawn_labels) = datasets._divide(np.arange(n), labels, size, rng)
    assert len(drawn) == size
    np.testing.assert_array_equal(np.sort(np.concatenate([rest, drawn])), np.arange(n))
    np.testing.assert_array_equal(rest_labels, labels[rest])
    np.testing.assert_array_equal(drawn_labels, labels[drawn])
    shares = np.bincount(labels, minlength=4) * size / n
    np.testing.assert_array_less(np.abs(np.bincount(drawn_labels, minlength=4) - shares), 1)


def test_tiny_mnist(tiny_mnist):
    x, y = tiny_mnist()
    mnist = data.load("mnist", seed=3)
    assert mnist.train.inputs.shape == (48, 3, 2, 1)
    assert mnist.validation.inputs.shape == (12, 3, 2, 1)
    assert np.bincount(mnist.validation.targets).tolist() == [4, 4, 4]
    check_standardised(mnist.train)
    # which images are in train is told by the seed; their mean and std scale the official test set
    (train, _), _ = datasets._divide(x, y, 12, np.random.default_rng(3))
    expected = (x[:20, ..., None] + 100 - train.mean()) / train.std()
    np.testing.assert_allclose(mnist.test.inputs, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(mnist.test.targets, y[:20])
    check_equal(mnist, data.mnist(seed=3))
    assert not np.array_equal(mnist.train.inputs, data.mnist(seed=4).train.inputs)


def test_constant_images(tiny_mnist):
    tiny_mnist(low=7, high=8)
    mnist = data.mnist()
    assert not mnist.train.inputs.any()
    np.testing.assert_array_equal(mnist.test.inputs, 100.0)


def test_altered_file_is_refused(tiny_mnist, tmp_path):
    tiny_mnist()
    path = tmp_path / "mnist/t10k-labels-idx1-ubyte.gz"
    path.write_bytes(idx(np.zeros(20)))
    with pytest.raises(data.DataError, match=f"{path}: damaged or altered"):
        data.mnist()


REAL = {
    "mnist": (
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
        (0.1307, 0.3081),
        "7",
    ),
    "fashion_mnist": ([6000] * 10, [1000] * 10, (0.2860, 0.3530), "Sneaker"),
}


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the real files, in {SHARED}")
@pytest.mark.parametrize("name", REAL)
def test_real(name, monkeypatch):
    train_counts, test_counts, (mean, std), seventh = REAL[name]
    monkeypatch.setenv("NNJAX_DATA", str(SHARED))
    real = data.load(name)
    assert real.name == name and len(real.classes) == 10 and real.classes[7] == seventh
    assert real.train.inputs.shape == (55_000, 28, 28, 1)
    assert real.validation.inputs.shape == (5_000, 28, 28, 1)
    assert real.test.inputs.shape == (10_000, 28, 28, 1)
    counts = [np.bincount(split.targets) for split in (real.train, real.validation, real.test)]
    np.testing.assert_array_equal(counts[0] + counts[1], train_counts)
    np.testing.assert_array_equal(counts[2], test_counts)
    np.testing.assert_allclose(counts[1], np.array(train_counts) / 12, atol=1)
    check_standardised(real.train)
    # black and white, in units of the published statistics of all 60000, 5000 of which are not used
    black, white = real.train.inputs.min(), real.train.inputs.max()
    np.testing.assert_allclose([black, white], [-mean / std, (1 - mean) / std], rtol=5e-3)


@pytest.mark.parametrize("name", datasets._FILES)
def test_mirrors_are_encrypted_and_plural(name):
    for file in datasets._FILES[name]:
        assert len(file.urls) >= 2 and len(file.sha256) == 64
        assert all(u.startswith("https://") and u.endswith(Path(file.path).name) for u in file.urls)


def test_unknown_name():
    expected = "load: got data set 'MNIST', expected one of digits, fashion_mnist, mnist."
    with pytest.raises(ValueError) as caught:
        data.load("MNIST")
    assert str(caught.value) == expected + " Did you mean 'mnist'?"
    with pytest.raises(data.DataError, match="Did you mean 'fashion_mnist'"):
        data.load("fashion-mnist")
    with pytest.raises(data.DataError, match="fashion_mnist, mnist.$"):
        data.load("imagenet-22k")


@pytest.mark.parametrize("name", data.NAMES)
def test_seed_errors(name):
    with pytest.raises(ValueError, match=f"{name}: got seed=-1, expected at least 0"):
        data.load(name, seed=-1)
    with pytest.raises(TypeError, match=f"{name}: got seed=0.5, expected an integer"):
        data.load(name, seed=0.5)  # pyright: ignore[reportArgumentType] -- the mistake under test


def test_import_is_light():
    code = "import sys, nnjax.data; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
