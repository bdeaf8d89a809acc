"""Data sets of labelled images, split and standardised: digits, MNIST, Fashion-MNIST."""

import difflib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from nnjax.data.files import DataError, DataFile, read_idx
from nnjax.data.loader import check_natural

_DIGITS = tuple("0123456789")
_CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_VALIDATION = 5_000  # examples that MNIST and Fashion-MNIST hold out of their training sets


_IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _idx_files(folder: str, *checks: tuple[int, str], mirrors: tuple[str, ...]):
    return tuple(
        DataFile(f"{folder}/{name}", size, sha256, tuple(url + name for url in mirrors))
        for name, (size, sha256) in zip(_IDX_NAMES, checks, strict=True)
    )


_FILES = {
    "mnist": _idx_files(
        "mnist",
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
    "fashion_mnist": _idx_files(
        "fashion_mnist",
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        mirrors=(
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            # the better known address of this bucket, fashion-mnist.s3-website, has no TLS
            "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        ),
    ),
}


class Split(NamedTuple):
    """Examples, row by row. ``nnjax.data.batches`` takes one as it is."""

    inputs: Float32[np.ndarray, "N H W C"]
    targets: Int32[np.ndarray, " N"]


class Dataset(NamedTuple):
    """Three splits without a common example; target k means ``classes[k]``.

    Inputs are standardised by the mean and standard deviation of the training split's pixels.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]


def digits(*, seed: int = 0) -> Dataset:
    """Handwritten digits of 8 x 8 pixels that come with scikit-learn: no download, no waiting.

    1257 examples to train, 180 to validate, 360 to test, drawn by seed with equal class shares.

    Shapes: inputs [N, 8, 8, 1], targets [N].
    Dtypes: inputs float32, targets int32.
    Raises: ValueError, for a negative seed.
    Source: Alpaydin, Kaynak 1998, https://doi.org/10.24432/C50P49, the test half; CC BY 4.0.
    """
    from sklearn.datasets import load_digits  # on first use: it takes about a second

    check_natural("digits", seed=seed)
    pixels, labels = load_digits(return_X_y=True)
    images = np.asarray(pixels, np.uint8).reshape(-1, 8, 8, 1)  # whole numbers, 0 to 16
    rng = np.random.default_rng(seed)
    rest, test = _divide(images, np.asarray(labels), 360, rng)
    train, validation = _divide(*rest, 180, rng)
    return _dataset("digits", _DIGITS, train, validation, test)


def mnist(*, seed: int = 0) -> Dataset:
    """Handwritten digits of 28 x 28 pixels: 55000 to train, 5000 to validate, 10000 to test.

    The test set is the official one; the validation set is drawn from the official training set by
    seed, with equal class shares. Downloaded once (11 MB) to the cache folder, or read from the
    folder that NNJAX_DATA names, as ``mnist/train-images-idx3-ubyte.gz`` and so on.

    Shapes: inputs [N, 28, 28, 1], targets [N].
    Dtypes: inputs float32, targets int32.
    Raises: DataError, if a file is missing, altered, or not to be downloaded; ValueError, for a
    negative seed.
    Source: LeCun, Bottou, Bengio, Haffner 1998, https://doi.org/10.1109/5.726791; CC BY-SA 3.0.
    """
    return _idx_dataset("mnist", _DIGITS, seed)


def fashion_mnist(*, seed: int = 0) -> Dataset:
    """Photographs of clothes in the format, sizes and splits of ``mnist``, and harder than it.

    Downloaded once (31 MB) to the cache folder, or read from the folder that NNJAX_DATA names, as
    ``fashion_mnist/train-images-idx3-ubyte.gz`` and so on.

    Shapes: inputs [N, 28, 28, 1], targets [N].
    Dtypes: inputs float32, targets int32.
    Raises: DataError, if a file is missing, altered, or not to be downloaded; ValueError, for a
    negative seed.
    Source: Xiao, Rasul, Vollgraf 2017, https://arxiv.org/abs/1708.07747; MIT.
    """
    return _idx_dataset("fashion_mnist", _CLOTHES, seed)


_MAKERS = {"digits": digits, "fashion_mnist": fashion_mnist, "mnist": mnist}

NAMES = tuple(_MAKERS)


def load(name: str, *, seed: int = 0) -> Dataset:
    """The data set of this name, one of ``nnjax.data.NAMES``.

    Raises: DataError, for an unknown name, and as the data set's own function does.
    """
    if name not in _MAKERS:
        close = difflib.get_close_matches(str(name).lower(), NAMES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise DataError(f"load: got data set {name!r}, expected one of {', '.join(NAMES)}.{hint}")
    return _MAKERS[name](seed=seed)


def _idx_dataset(name: str, classes: tuple[str, ...], seed: int) -> Dataset:
    check_natural(name, seed=seed)
    images, labels, test_images, test_labels = (
        read_idx(file, axes) for file, axes in zip(_FILES[name], (3, 1, 3, 1), strict=True)
    )
    rng = np.random.default_rng(seed)
    train, validation = _divide(images[..., None], labels, _VALIDATION, rng)
    return _dataset(name, classes, train, validation, (test_images[..., None], test_labels))


def _divide(images, labels, size: int, rng: np.random.Generator):
    """Draw ``size`` examples, each class in its share to within one: (the rest, those drawn)."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # by class, at random within each
    drawn = np.zeros(len(labels), bool)
    drawn[order[np.arange(size) * len(labels) // size]] = True  # evenly spaced over the classes
    return (images[~drawn], labels[~drawn]), (images[drawn], labels[drawn])


def _dataset(name, classes, train, validation, test) -> Dataset:
    pixels = train[0]
    mean = pixels.mean(dtype=np.float64)
    # exact for uint8, and without the float64 copy of all pixels that std() would make
    var = np.square(pixels, dtype=np.uint16).mean(dtype=np.float64) - mean**2
    std = np.sqrt(var) if var > 0 else 1.0

    def split(images, labels):
        inputs = images - np.float32(mean)
        inputs /= np.float32(std)
        return Split(inputs, labels.astype(np.int32))

    return Dataset(name, split(*train), split(*validation), split(*test), classes)
