"""Flax Linen: compact modules, ``model.apply``, optax.

Its users write a step over params, batch statistics and the optimizer's state, and jit it; the only
way here is ``donated``, that step with its old state's memory taken over.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from benchmarks.suite.peers.formulas import doubled, propagate, waves
from benchmarks.suite.peers.layouts import bottlenecks
from benchmarks.suite.side import jax_side
from benchmarks.suite.workloads import flatten, loss, nest

GATES = "ifgo"  # a kernel each for input and for state, which the optimized cell concatenates


def side(network, way, weights, batch, sizes, laps):
    model = NETWORKS[network](sizes)
    example = jax.tree.map(lambda a: jnp.asarray(a[:1]), batch[0])
    variables: Any = model.init(jax.random.key(0), example, train=False)
    params = jax.device_put(to_linen(weights, flatten(variables["params"])))

    def forward(params, state, x, train):
        variables = {"params": params, "batch_stats": state}
        if not train:
            return model.apply(variables, x, train=False), state
        logits, new = model.apply(variables, x, train=True, mutable=["batch_stats"])
        return logits, new.get("batch_stats", {})

    state = variables.get("batch_stats", {})
    by_path = lambda tree: from_linen(tree, weights)
    return jax_side(forward, params, state, batch, by_path, laps, loss(network))


def to_linen(weights, theirs):
    """Names are nnjax's; heads have an axis of their own, and each gate its own kernels."""
    found = {}
    for path, weight in weights.items():
        if path.startswith("lstm/"):
            for gate, part in zip(GATES, np.split(weight, 4, -1), strict=True):
                found[cell_path(path, gate)] = part
        else:
            path = path.replace("positions/table", "positions")
            found[path] = weight.reshape(theirs[path].shape)
    return nest(found)


def from_linen(tree, weights):
    theirs, found = flatten(tree), {}
    for path, weight in weights.items():
        if path.startswith("lstm/"):
            parts = [theirs[cell_path(path, gate)] for gate in GATES]
            found[path] = jnp.concatenate(parts, -1)
        else:
            found[path] = theirs[path.replace("positions/table", "positions")].reshape(weight.shape)
    return found


def cell_path(path: str, gate: str) -> str:
    ends = {"kernel": f"i{gate}/kernel", "recurrent": f"h{gate}/kernel", "bias": f"h{gate}/bias"}
    return f"cell/{ends[path.removeprefix('lstm/')]}"


class Mlp(nn.Module):
    widths: Sequence[int]  # without the input's
    activation: Callable[[Any], Any] = nn.relu

    @nn.compact
    def __call__(self, x, train):
        *hidden, last = self.widths
        for i, width in enumerate(hidden):
            x = self.activation(nn.Dense(width, name=f"linear_{i}")(x))
        return nn.Dense(last, name=f"linear_{len(hidden)}")(x)


def batch_norm(train: bool, name: str):
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5, name=name)


class Cnn(nn.Module):
    features: Sequence[int]
    hidden: int
    classes: int

    @nn.compact
    def __call__(self, x, train):
        for i, features in enumerate(self.features):
            x = nn.Conv(features, (5, 5), padding=2, name=f"conv_{i}")(x)
            x = nn.relu(batch_norm(train, f"norm_{i}")(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = x.reshape((x.shape[0], -1))
        x = nn.relu(nn.Dense(self.hidden, name="linear_0")(x))
        return nn.Dense(self.classes, name="linear_1")(x)


def conv(features: int, kernel_size: int, name: str, stride: int = 1):
    window, pad = (kernel_size, kernel_size), kernel_size // 2
    return nn.Conv(features, window, stride, padding=pad, use_bias=False, name=name)


class BasicBlock(nn.Module):
    features: int
    first: bool  # of a stage but the first: halves the image

    @nn.compact
    def __call__(self, x, train):
        stride = 2 if self.first else 1
        h = nn.relu(batch_norm(train, "norm_0")(conv(self.features, 3, "conv_0", stride)(x)))
        h = batch_norm(train, "norm_1")(conv(self.features, 3, "conv_1")(h))
        if self.first:
            x = conv(self.features, 1, "shortcut", stride)(x)
            x = batch_norm(train, "shortcut_norm")(x)
        return nn.relu(x + h)


class ResNet(nn.Module):
    features: Sequence[int]
    classes: int

    @nn.compact
    def __call__(self, x, train):
        x = conv(self.features[0], 3, "stem")(x)
        x = nn.relu(batch_norm(train, "stem_norm")(x))
        for i in range(2 * len(self.features)):
            first = i % 2 == 0 and i > 0
            x = BasicBlock(self.features[i // 2], first, name=f"block_{i}")(x, train)
        return nn.Dense(self.classes, name="linear")(x.mean((1, 2)))


class Block(nn.Module):
    dim: int
    heads: int
    causal: bool = True

    @nn.compact
    def __call__(self, x, train):
        h = nn.LayerNorm(epsilon=1e-5, name="attn_norm")(x)
        mask = nn.make_causal_mask(x[..., 0]) if self.causal else None
        x = x + nn.MultiHeadDotProductAttention(self.heads, name="attn")(h, mask=mask)
        h = nn.LayerNorm(epsilon=1e-5, name="mlp_norm")(x)
        return x + Mlp((4 * self.dim, self.dim), nn.gelu, name="mlp")(h, train)


class Gpt(nn.Module):
    vocabulary: int
    blocks: int
    dim: int
    heads: int
    length: int

    @nn.compact
    def __call__(self, x, train):
        h = nn.Embed(self.vocabulary, self.dim, name="embed")(x)
        h = h + nn.Embed(self.length, self.dim, name="positions")(jnp.arange(self.length))
        for i in range(self.blocks):
            h = Block(self.dim, self.heads, name=f"block_{i}")(h, train)
        h = nn.LayerNorm(epsilon=1e-5, name="norm")(h)
        return nn.Dense(self.vocabulary, name="head")(h)


class Lstm(nn.Module):
    features: int
    classes: int

    @nn.compact
    def __call__(self, x, train):
        cell = nn.OptimizedLSTMCell(self.features, name="cell")
        y: Any = nn.RNN(cell, name="lstm")(x)
        return nn.Dense(self.classes, name="linear")(y[:, -1])


class Vit(nn.Module):
    patch: int
    blocks: int
    dim: int
    heads: int
    classes: int

    @nn.compact
    def __call__(self, x, train):
        window = (self.patch, self.patch)
        h = nn.Conv(self.dim, window, window, padding="VALID", name="patches")(x)
        h = h.reshape((h.shape[0], -1, self.dim))
        h = h + nn.Embed(h.shape[1], self.dim, name="positions")(jnp.arange(h.shape[1]))
        for i in range(self.blocks):
            h = Block(self.dim, self.heads, causal=False, name=f"block_{i}")(h, train)
        h = nn.LayerNorm(epsilon=1e-5, name="norm")(h)
        return nn.Dense(self.classes, name="head")(h.mean(1))


class Bottleneck(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x, train):
        outside = 4 * self.features
        h = nn.relu(batch_norm(train, "norm_0")(conv(self.features, 1, "conv_0")(x)))
        h = conv(self.features, 3, "conv_1", self.stride)(h)
        h = nn.relu(batch_norm(train, "norm_1")(h))
        h = batch_norm(train, "norm_2")(conv(outside, 1, "conv_2")(h))
        if x.shape[-1] != outside:
            x = conv(outside, 1, "shortcut", self.stride)(x)
            x = batch_norm(train, "shortcut_norm")(x)
        return nn.relu(x + h)


class ResNet50(nn.Module):
    sizes: Any

    @nn.compact
    def __call__(self, x, train):
        x = conv(self.sizes["features"][0], 7, "stem", 2)(x)
        x = nn.relu(batch_norm(train, "stem_norm")(x))
        pads: Any = ((1, 1), (1, 1))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=pads)
        for i, (_, features, stride) in enumerate(bottlenecks(self.sizes)):
            x = Bottleneck(features, stride, name=f"block_{i}")(x, train)
        return nn.Dense(self.sizes["classes"], name="linear")(x.mean((1, 2)))


class GraphConv(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x, senders, receivers):
        shape = x.shape[-1], self.features
        kernel: Any = self.param("kernel", nn.initializers.glorot_uniform(), shape)
        bias: Any = self.param("bias", nn.initializers.zeros, shape[1:])
        return propagate(x @ kernel, senders, receivers) + bias


class Gcn(nn.Module):
    hidden: int
    classes: int

    @nn.compact
    def __call__(self, x, train):
        nodes, *edges = x
        h = nn.relu(GraphConv(self.hidden, name="conv_0")(nodes, *edges))
        return GraphConv(self.classes, name="conv_1")(h, *edges)


def group_norm(groups: int, name: str):
    return nn.GroupNorm(groups, epsilon=1e-5, name=name)


class ResidualBlock(nn.Module):
    features: int
    groups: int

    @nn.compact
    def __call__(self, x, t):
        h = nn.silu(group_norm(self.groups, "norm_0")(x))
        h = nn.Conv(self.features, (3, 3), name="conv_0")(h)
        h = h + nn.Dense(self.features, name="time")(t)[:, None, None]
        h = nn.silu(group_norm(self.groups, "norm_1")(h))
        h = nn.Conv(self.features, (3, 3), name="conv_1")(h)
        if x.shape[-1] != self.features:
            x = nn.Conv(self.features, (1, 1), name="shortcut")(x)
        return x + h


class Unet(nn.Module):
    features: Sequence[int]
    groups: int

    @nn.compact
    def __call__(self, x, train):
        images, times = x
        first, levels = self.features[0], range(len(self.features))
        hidden = 4 * first
        t = nn.silu(Mlp((hidden, hidden), nn.silu, name="time")(waves(times, first), train))
        h, skips = nn.Conv(first, (3, 3), name="stem")(images), []
        for i, width in enumerate(self.features):
            h = ResidualBlock(width, self.groups, name=f"down_{i}")(h, t)
            skips.append(h)
            if i < levels[-1]:
                h = nn.Conv(width, (3, 3), 2, padding=1, name=f"shrink_{i}")(h)
        h = ResidualBlock(self.features[-1], self.groups, name="middle")(h, t)
        for i in reversed(levels):
            width, h = self.features[i], jnp.concatenate([h, skips[i]], -1)
            h = ResidualBlock(width, self.groups, name=f"up_{i}")(h, t)
            if i > 0:
                h = nn.Conv(width, (3, 3), name=f"grow_{i}")(doubled(h))
        h = nn.silu(group_norm(self.groups, "norm")(h))
        return nn.Conv(images.shape[-1], (3, 3), name="head")(h)


NETWORKS = {
    "mlp": lambda sizes: Mlp(sizes["widths"][1:]),
    "cnn": lambda sizes: Cnn(sizes["features"], sizes["hidden"], sizes["classes"]),
    "resnet": lambda sizes: ResNet(sizes["features"], sizes["classes"]),
    "gpt": lambda sizes: Gpt(**{k: v for k, v in sizes.items() if k != "batch"}),
    "lstm": lambda sizes: Lstm(sizes["features"], sizes["classes"]),
    "vit": lambda sizes: Vit(**{k: v for k, v in sizes.items() if k not in ("image", "batch")}),
    "resnet50": ResNet50,
    "gcn": lambda sizes: Gcn(*sizes["widths"][1:]),
    "unet": lambda sizes: Unet(sizes["features"], sizes["groups"]),
}
