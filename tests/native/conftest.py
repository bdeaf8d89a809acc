"""The C++ kernels, compiled once, below pytest's own folder."""

import shutil

import pytest

from nnjax import native
from nnjax.native.library import compiler


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    if shutil.which(compiler()) is None:
        pytest.skip("no C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))
        return native.build()
