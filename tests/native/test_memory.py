import os
import subprocess
import sys

import jax
import pytest

from nnjax import native

STEPS = """
import resource, sys
import jax, jax.numpy as jnp
import nnjax as nn
if sys.argv[1] == "kept" and not nn.native.keep_memory():
    sys.exit("no glibc")
step = jax.jit(lambda x: jnp.cumsum(jnp.sin(x), 0).sum())  # of 47 MiB and more in between
x = jnp.ones((3_500, 3_500))
for _ in range(5):
    step(x).block_until_ready()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(5):
    step(x).block_until_ready()
print(faults() - before)
"""


def faults(how: str) -> int:
    env = {k: v for k, v in os.environ.items() if k != "PJRT_NPROC"}  # 64 threads would hold much
    command = [sys.executable, "-c", STEPS, how]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if "no glibc" in done.stderr:
        pytest.skip("no glibc")
    return int(done.stdout)


def test_what_is_kept_is_there():
    assert faults("kept") < 0.5 * faults("usual")


def test_too_late():
    jax.devices()
    with pytest.raises(RuntimeError, match="got a call after JAX has begun to compute, expected"):
        native.keep_memory()
