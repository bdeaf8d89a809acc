"""The C++ kernels, compiled for this processor and handed to XLA."""

import ctypes
import hashlib
import os
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import jax

_SOURCE = Path(__file__).with_name("convolution.cc")
CALLS = ("nnjax_conv", "nnjax_conv_by_images", "nnjax_conv_by_kernel")
_loaded: list[Path] = []


def build() -> Path:
    """Compile the kernels, unless this machine has done so before, and take them from now on.

    On a CPU, ``nn.conv`` and ``nn.conv_transpose`` then choose "native" for "auto" wherever it is
    quicker, and may be told to; what ``jax.jit`` has traced before stays as it is. Compiling takes
    some seconds, and a C++20 compiler: ``$CXX``, or c++. The library, which is returned, lies in
    the cache folder (``$XDG_CACHE_HOME/nnjax``, or ``~/.cache/nnjax``) under a name that stands for
    source, jaxlib, compiler and processor.

    Raises: RuntimeError, if there is no compiler, or it refuses the source, with what it said.
    """
    if _loaded:
        return _loaded[0]
    machine = _run(compiler(), "-march=native", "-dM", "-E", "-x", "c++", os.devnull)  # all macros
    told = "\n".join([_SOURCE.read_text(), machine, version("jaxlib")])
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nnjax" / "native"
    library = folder / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:  # whole, or not there
            new = Path(scratch) / library.name
            flags = ("-std=c++20", "-O3", "-march=native", "-w", "-shared", "-fPIC")
            _run(compiler(), *flags, f"-I{jax.ffi.include_dir()}", "-o", str(new), str(_SOURCE))
            new.replace(library)
    functions = ctypes.CDLL(str(library))
    for name in CALLS:
        capsule = jax.ffi.pycapsule(getattr(functions, name))
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    _loaded.append(library)
    return library


def compiler() -> str:
    """What ``build`` calls: ``$CXX``, or c++."""
    return os.environ.get("CXX", "c++")


def built() -> bool:
    """Whether ``build`` has run in this process."""
    return bool(_loaded)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise RuntimeError(
            f"nnjax.native.build: got no compiler '{command[0]}' ({error.strerror}), expected one "
            "for C++20. Install one (apt install g++; xcode-select --install), or name it in $CXX."
        ) from None
    if done.returncode:
        raise RuntimeError(
            f"nnjax.native.build: {' '.join(command)}\nended with status {done.returncode}, "
            f"expected a compiler for C++20. It said:\n{done.stderr[:2000]}\n"
            "Name another in $CXX, or go without: all works the same, only slower."
        )
    return done.stdout
