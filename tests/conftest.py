"""Settings of every test: eight CPU devices, strict dtype promotion, full-precision products."""

import os

# Before jax starts. Sharded steps on more devices than cores deadlock with the default thread pool.
os.environ["PJRT_NPROC"] = "64"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_default_matmul_precision", "highest")


def pytest_configure(config):
    """The quick suite compiles thousands of tiny programs to run each once: skip LLVM's passes.

    It takes less than half as long. The slow and the parity suite compile as users do.
    """
    if config.getoption("markexpr").startswith("not "):
        jax.config.update("jax_disable_most_optimizations", True)
