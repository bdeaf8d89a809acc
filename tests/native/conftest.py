"""The C++ kernels, compiled once, below pytest's own folder."""

import os
import shutil

import pytest

from nnjax import native


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        pytest.skip("no C++ compiler")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))
        return native.build()
