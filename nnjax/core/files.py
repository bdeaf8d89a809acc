"""save and load: one safetensors file, keyed by path, that NumPy alone can read."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.core.errors import LayerTypeError, LayerValueError
from nnjax.core.paths import paths


def save(file: str | os.PathLike[str], tree: Any, *, config: Any = None) -> None:
    """Write the arrays of ``tree`` by path, and ``config`` (anything that JSON holds) beside them.

    The file appears whole or not at all.

    Raises: TypeError, for a leaf that is not an array of numbers (such as a key).
    """
    from safetensors.numpy import save as serialize

    arrays = {}
    for path, leaf in paths(tree).items():
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        if jnp.issubdtype(dtype, jax.dtypes.prng_key):
            raise LayerTypeError(f"{path}: got a key, expected numbers. Save jax.random.key_data.")
        arrays[path] = np.ascontiguousarray(leaf).reshape(np.shape(leaf))
        if arrays[path].dtype.kind in "OUS":
            raise LayerTypeError(f"{path}: got {leaf!r}, expected an array of numbers.")
    metadata = None if config is None else {"config": json.dumps(config)}

    file = Path(file)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(serialize(arrays, metadata))
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only the owner reads
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise


def load(file: str | os.PathLike[str], like: Any) -> Any:
    """Read a file of ``save`` into the structure of ``like``: arrays, or specs of them.

    ``like`` may be ``jax.eval_shape(model.init, key)``, which allocates nothing.

    Raises: ValueError, listing every entry that is missing, left over, or of another shape or
    dtype, or saying that the file is no safetensors file; FileNotFoundError.
    """
    stored, _ = _open(file)
    wanted = paths(like)
    wrong = [f"missing {name}" for name in wanted if name not in stored]
    wrong += [f"left over {name}" for name in stored if name not in wanted]
    for name in wanted.keys() & stored.keys():
        got, expected = stored[name], wanted[name]
        if (got.shape, got.dtype) != (expected.shape, expected.dtype):
            wrong.append(
                f"{name} is {got.dtype}{list(got.shape)}, "
                f"expected {expected.dtype}{list(expected.shape)}"
            )
    if wrong:
        lines = "".join(f"\n  {line}" for line in sorted(wrong))
        raise LayerValueError(f"{os.fspath(file)} holds another model's arrays:{lines}")
    leaves = [jnp.asarray(stored[name]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def load_config(file: str | os.PathLike[str]) -> Any:
    """The ``config`` that ``save`` was given; None if there was none."""
    metadata = _open(file)[1]
    return json.loads(metadata["config"]) if "config" in metadata else None


def _open(file: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(file):
        raise FileNotFoundError(
            f"got {os.fspath(file)}, expected a file of nn.save; there is none."
        )
    try:
        with safe_open(os.fspath(file), framework="np") as opened:
            return {k: opened.get_tensor(k) for k in opened.keys()}, opened.metadata() or {}
    except SafetensorError as error:
        reason = str(error).splitlines()[0]
        raise LayerValueError(
            f"{os.fspath(file)}: got a damaged or foreign file ({reason}), expected safetensors."
        ) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
