import pytest

from nnjax import native
from nnjax.native import library

pytestmark = pytest.mark.usefixtures("kernels")


def test_it_is_built_once(kernels, monkeypatch):
    made = kernels.stat().st_mtime_ns
    assert native.build() == kernels and native.built()
    monkeypatch.setattr(library, "_loaded", [])  # as in another process
    monkeypatch.setenv("XDG_CACHE_HOME", str(kernels.parents[2]))
    assert not native.built()
    assert native.build() == kernels and native.built()
    assert kernels.stat().st_mtime_ns == made
    assert [file.name for file in kernels.parent.iterdir()] == [kernels.name]


@pytest.mark.parametrize(
    "compiler, message",
    [
        (
            "/no/such/c++",
            r"got no compiler '/no/such/c\+\+' \(No such file or directory\), expected",
        ),
        ("false", r"false -march=native .*\nended with status 1, expected a compiler for C\+\+20"),
    ],
)
def test_without_a_compiler(compiler, message, monkeypatch, tmp_path):
    monkeypatch.setattr(library, "_loaded", [])
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match=message):
        native.build()
    assert not native.built() and not list(tmp_path.rglob("*.so"))
