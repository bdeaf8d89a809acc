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
    """The tests compile thousands of tiny programs to run each once: compile them plainly.

    It takes less than a third as long. `-m slow`, or no `-m` at all, compiles as users do.
    """
    if config.getoption("markexpr") not in ("", "slow"):
        jax.config.update("jax_disable_most_optimizations", True)
        if jax.__version_info__[:2] == (0, 10):  # XLA dies of a flag that it does not know
            flags = os.environ.get("XLA_FLAGS", "")
            os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false"
