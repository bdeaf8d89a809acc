"""What the machine reaches on a plain product of two square matrices, by ``jax.numpy``."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.suite.side import Side

SIZE = {"cpu": 2048, "gpu": 8192, "tpu": 8192}


def size() -> int:
    return SIZE[jax.default_backend()]


def side(network, way, weights, batch, sizes, laps):
    n = size()
    a = jax.random.normal(jax.random.key(0), (n, n), jnp.float32)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, a))
    laps.mark("init")
    return Side(
        train=lambda: product(a, a),
        infer=lambda: product(a, a),
        wait=jax.block_until_ready,
        outputs=lambda: np.zeros(()),
        loss_and_gradients=lambda: (0.0, {}),
        parts=laps.parts,
    )
