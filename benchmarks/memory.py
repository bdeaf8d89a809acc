"""How much memory does a gradient need, in chunks and at once?

``python -m benchmarks.memory`` compiles the gradients of attention over 8,192 positions and of the
cross entropy over 50,257 classes, the plain way and in chunks, and prints XLA's own count of the
temporaries (``compile().memory_analysis()``). Nothing is run, so it needs little memory itself.
"""

import argparse
from collections.abc import Callable

import jax
import jax.numpy as jnp

import nnjax as nn
from nnjax.losses import linear_softmax_cross_entropy, softmax_cross_entropy


def temporaries(f: Callable[..., jax.Array], *specs: jax.ShapeDtypeStruct) -> int:
    """Bytes that the compiled gradient of ``f`` needs beside its inputs and outputs."""
    gradient = jax.jit(jax.grad(f, argnums=tuple(range(len(specs)))))
    counted = gradient.lower(*specs).compile().memory_analysis()
    if counted is None:
        raise RuntimeError("This backend does not count the memory of its programs.")
    return counted.temp_size_in_bytes


def attention(length: int, dim: int, heads: int) -> dict[str, int]:
    """Causal self-attention of one example."""
    x = jax.ShapeDtypeStruct((1, length, dim), jnp.float32)
    found = {}
    for way in ("xla", "chunked"):
        layer = nn.attention(dim, heads, causal=True, implementation=way)
        params, _ = layer.init(jax.random.key(0))
        loss = lambda x, layer=layer, params=params: jnp.sum(jnp.sin(layer(params, x)))
        found[way] = temporaries(loss, x)
    return found


def cross_entropy(tokens: int, dim: int, vocabulary: int) -> dict[str, int]:
    """A linear layer and the cross entropy of its logits."""
    f32 = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    labels = jnp.zeros(tokens, jnp.int32)
    plain = lambda x, kernel: softmax_cross_entropy(x @ kernel, labels).mean()
    chunked = lambda x, kernel: linear_softmax_cross_entropy(x, labels, kernel).mean()
    specs = f32(tokens, dim), f32(dim, vocabulary)
    return {"plain": temporaries(plain, *specs), "chunked": temporaries(chunked, *specs)}


def main() -> dict[str, dict[str, int]]:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--length", type=int, default=8192)
    parser.add_argument("--vocabulary", type=int, default=50257)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--dim", type=int, default=512)
    a = parser.parse_args()
    found = {
        f"attention, T = {a.length}, {a.dim} features, 8 heads": attention(a.length, a.dim, 8),
        f"cross entropy, {a.tokens} tokens, V = {a.vocabulary}": cross_entropy(
            a.tokens, a.dim, a.vocabulary
        ),
    }
    for what, sizes in found.items():
        (_, plain), (way, chunked) = sizes.items()
        figures = f"{plain / 2**20:8.0f} MiB plain, {chunked / 2**20:6.0f} MiB {way}"
        print(f"{what:48} {figures}, ratio {chunked / plain:.4f}")
    return found


if __name__ == "__main__":
    main()
