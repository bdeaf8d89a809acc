"""The C++ kernels as older machines compile them: other vectors, other tiles, the same numbers."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nnjax.native.library import compiler

ROOT = Path(__file__).parent.parent.parent
AS_IF = """#!/bin/sh
for word; do
    shift
    [ "$word" = -march=native ] && word=-march={machine}
    set -- "$@" "$word"
done
exec {compiler} "$@"
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the older machines are x86-64 ones")
@pytest.mark.parametrize("machine, needs", [("haswell", "avx2"), ("x86-64-v2", "sse4_2")])
def test_an_older_machine_computes_the_same(machine, needs, tmp_path):
    if shutil.which(compiler()) is None:
        pytest.skip("no C++ compiler")
    if needs not in Path("/proc/cpuinfo").read_text().split():
        pytest.skip(f"no {needs} here")
    cxx = tmp_path / "as_if"
    cxx.write_text(AS_IF.format(machine=machine, compiler=compiler()))
    cxx.chmod(0o755)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    command = ["pytest", "-q", "-m", "not slow", "tests/native/test_convolution.py"]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=env | {"CXX": str(cxx)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:]
    assert "skipped" not in done.stdout
