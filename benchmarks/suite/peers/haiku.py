"""Haiku: functions that call modules, made pure by ``hk.transform_with_state``; optax.

Its users write a step over params, state and the optimizer's state, and jit it; the only way here
is ``donated``, that step with its old state's memory taken over. No network draws random numbers,
so ``hk.without_apply_rng``.
"""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from benchmarks.suite.peers.formulas import propagate
from benchmarks.suite.peers.layouts import one_kernel, two_kernels
from benchmarks.suite.side import jax_side

# nnjax's leaf names by Haiku's
NAMES = {"w": "kernel", "b": "bias", "offset": "bias", "scale": "scale", "embeddings": "embedding"}


def side(network, way, weights, batch, sizes, laps):
    function = NETWORKS[network]
    model = hk.without_apply_rng(
        hk.transform_with_state(lambda x, train: function(x, train, sizes))
    )
    example = jax.tree.map(lambda a: jnp.asarray(a[:1]), batch[0])
    theirs, state = model.init(jax.random.key(0), example, True)
    params = jax.device_put(to_haiku(weights, theirs))
    # init in training mode counts one batch into the averages: back to mean 0 and variance 1
    state = {
        path: jax.tree.map(jnp.zeros_like, s)
        | {"average": jnp.full_like(s["average"], "var_ema" in path)}
        for path, s in state.items()
    }
    by_path = lambda tree: from_haiku(tree, weights)
    return jax_side(model.apply, params, state, batch, by_path, laps)


def our_path(module: str, name: str) -> str:
    path = f"{module}/{NAMES[name]}".replace("attn/linear", "attn/out")
    return path.replace("positions", "positions/table")


def to_haiku(weights, theirs):
    """Names are nnjax's; batch norm's parameters have four axes, and the LSTM has one kernel."""
    if "lstm/linear" in theirs:
        weights = one_kernel(weights, "lstm/linear")
        bias = weights["lstm/linear/bias"]
        bias[len(bias) // 2 : 3 * len(bias) // 4] -= 1  # the layer adds 1 to the forget gate
    return {
        module: {k: weights[our_path(module, k)].reshape(v.shape) for k, v in leaves.items()}
        for module, leaves in theirs.items()
    }


def from_haiku(tree, weights):
    found = {
        our_path(module, name): leaf
        for module, leaves in tree.items()
        for name, leaf in leaves.items()
    }
    if "lstm/linear/kernel" in found:
        found = two_kernels(found, "lstm/linear")
    return {path: leaf.reshape(weights[path].shape) for path, leaf in found.items()}


def mlp(x, train, sizes, activation=jax.nn.relu):
    *hidden, last = sizes["widths"][1:]
    for i, width in enumerate(hidden):
        x = activation(hk.Linear(width, name=f"linear_{i}")(x))
    return hk.Linear(last, name=f"linear_{len(hidden)}")(x)


def batch_norm(x, train, name):
    return hk.BatchNorm(True, True, decay_rate=0.9, eps=1e-5, name=name)(x, train)


def cnn(x, train, sizes):
    for i, features in enumerate(sizes["features"]):
        x = hk.Conv2D(features, 5, padding=[(2, 2), (2, 2)], name=f"conv_{i}")(x)
        x = jax.nn.relu(batch_norm(x, train, f"norm_{i}"))
        x = hk.max_pool(x, 2, 2, "VALID")
    x = jax.nn.relu(hk.Linear(sizes["hidden"], name="linear_0")(hk.Flatten()(x)))
    return hk.Linear(sizes["classes"], name="linear_1")(x)


def conv(x, features, kernel_size, name, stride=1):
    padding = [(kernel_size // 2,) * 2] * 2
    return hk.Conv2D(features, kernel_size, stride, padding=padding, with_bias=False, name=name)(x)


class BasicBlock(hk.Module):
    def __init__(self, features: int, first: bool, name: str):
        super().__init__(name)
        self.features, self.first = features, first  # first of a stage: halves the image

    def __call__(self, x, train):
        stride = 2 if self.first else 1
        h = conv(x, self.features, 3, "conv_0", stride)
        h = conv(jax.nn.relu(batch_norm(h, train, "norm_0")), self.features, 3, "conv_1")
        h = batch_norm(h, train, "norm_1")
        if self.first:
            x = conv(x, self.features, 1, "shortcut", stride)
            x = batch_norm(x, train, "shortcut_norm")
        return jax.nn.relu(x + h)


def resnet(x, train, sizes):
    features = sizes["features"]
    x = jax.nn.relu(batch_norm(conv(x, features[0], 3, "stem"), train, "stem_norm"))
    for i in range(2 * len(features)):
        first = i % 2 == 0 and i > 0
        x = BasicBlock(features[i // 2], first, name=f"block_{i}")(x, train)
    return hk.Linear(sizes["classes"], name="linear")(x.mean((1, 2)))


def layer_norm(x, name):
    return hk.LayerNorm(axis=-1, create_scale=True, create_offset=True, name=name)(x)


class Mlp(hk.Module):
    def __call__(self, x):
        dim = x.shape[-1]
        return mlp(x, True, {"widths": (dim, 4 * dim, dim)}, jax.nn.gelu)


class Block(hk.Module):
    def __init__(self, heads: int, name: str, causal: bool = True):
        super().__init__(name)
        self.heads, self.causal = heads, causal

    def __call__(self, x):
        length, dim = x.shape[1:]
        mask = jnp.tril(jnp.ones((1, 1, length, length), bool)) if self.causal else None
        init = hk.initializers.VarianceScaling(1.0)
        attn = hk.MultiHeadAttention(self.heads, dim // self.heads, w_init=init, name="attn")
        h = layer_norm(x, "attn_norm")
        x = x + attn(h, h, h, mask)
        return x + Mlp(name="mlp")(layer_norm(x, "mlp_norm"))


def gpt(x, train, sizes):
    dim, length = sizes["dim"], sizes["length"]
    h = hk.Embed(sizes["vocabulary"], dim, name="embed")(x)
    h = h + hk.Embed(length, dim, name="positions")(jnp.arange(length))
    for i in range(sizes["blocks"]):
        h = Block(sizes["heads"], name=f"block_{i}")(h)
    return hk.Linear(sizes["vocabulary"], name="head")(layer_norm(h, "norm"))


def lstm(x, train, sizes):
    core = hk.LSTM(sizes["features"], name="lstm")
    y: Any
    y, _ = hk.dynamic_unroll(core, x, core.initial_state(len(x)), time_major=False)
    return hk.Linear(sizes["classes"], name="linear")(y[:, -1])


def vit(x, train, sizes):
    dim, patch = sizes["dim"], sizes["patch"]
    h = hk.Conv2D(dim, patch, patch, padding="VALID", name="patches")(x).reshape(len(x), -1, dim)
    h = h + hk.Embed(h.shape[1], dim, name="positions")(jnp.arange(h.shape[1]))
    for i in range(sizes["blocks"]):
        h = Block(sizes["heads"], f"block_{i}", causal=False)(h)
    return hk.Linear(sizes["classes"], name="head")(layer_norm(h, "norm").mean(1))


class GraphConv(hk.Module):
    def __init__(self, features: int, name: str):
        super().__init__(name)
        self.features = features

    def __call__(self, x, senders, receivers):
        shape = x.shape[-1], self.features
        w = hk.get_parameter("w", shape, init=hk.initializers.VarianceScaling())
        b = hk.get_parameter("b", shape[1:], init=jnp.zeros)
        return propagate(x @ w, senders, receivers) + b


def gcn(x, train, sizes):
    nodes, *edges = x
    _, hidden, classes = sizes["widths"]
    h = jax.nn.relu(GraphConv(hidden, name="conv_0")(nodes, *edges))
    return GraphConv(classes, name="conv_1")(h, *edges)


NETWORKS = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "gpt": gpt,
    "lstm": lstm,
    "gcn": gcn,
    "vit": vit,
}
