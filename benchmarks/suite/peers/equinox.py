"""Equinox: modules that are pytrees, written for one example and vmapped over the batch; optax.

Two ways. ``filter_jit`` is the loop of its examples: ``eqx.filter_jit``, ``filter_value_and_grad``
and ``eqx.apply_updates``. ``partition`` splits the arrays off once, so that a plain ``jax.jit`` can
take over their memory. Batch norm is in the mode "batch", which Equinox advises for new code.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.suite.peers.formulas import propagate
from benchmarks.suite.peers.layouts import flat_image, out_first, out_last, tokens
from benchmarks.suite.side import LEARNING_RATE, Side, jax_side

RENAMED = {"attn/out": "attn/output_proj", "positions/table": "positions"} | {
    f"attn/{name}": f"attn/{name}_proj" for name in ("query", "key", "value")
}
LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
LSTM = {"lstm/kernel": "lstm/weight_ih", "lstm/recurrent": "lstm/weight_hh"}


def side(network, way, weights, batch, sizes, laps):
    model, state = eqx.nn.make_with_state(NETWORKS[network])(sizes, jax.random.key(0))
    model = load(model, weights, sizes)
    x, labels = batch
    x = np.moveaxis(x, -1, 1) if "image" in sizes else x  # its images are [C, H, W]
    by_path = lambda grads: from_equinox(grads, weights, sizes)
    make = {"filter_jit": filter_jit_side, "partition": partition_side}[way]
    return make(model, state, (jax.tree.map(np.ascontiguousarray, x), labels), by_path, laps)


def forward(model, state, x):
    if isinstance(model, Gcn):  # one graph is all there is
        return model(x, state)
    batched = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
    return batched(x, state)


def loss_of(model, state, x, labels):
    logits, state = forward(model, state, x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), state


def filter_jit_side(model, state, batch, by_path, laps):
    x, labels = jax.device_put(batch)
    optimizer = optax.adam(LEARNING_RATE)
    opt_state = optimizer.init(eqx.filter(model, eqx.is_array))
    laps.mark("init")
    start, kept = (model, state), {"state": (model, state, opt_state)}

    @eqx.filter_jit
    def step(model, state, opt_state, x, labels):
        grad = eqx.filter_value_and_grad(loss_of, has_aux=True)
        (loss, state), grads = grad(model, state, x, labels)
        updates, opt_state = optimizer.update(grads, opt_state, model)
        return eqx.apply_updates(model, updates), state, opt_state, loss

    @eqx.filter_jit
    def infer(model, state, x):
        return forward(eqx.nn.inference_mode(model), state, x)[0]

    def train():
        model, state, opt_state, loss = step(*kept["state"], x, labels)
        kept["state"] = model, state, opt_state
        return loss

    def loss_and_gradients():
        grad = eqx.filter_jit(eqx.filter_value_and_grad(loss_of, has_aux=True))
        (loss, _), grads = grad(*start, x, labels)
        return float(loss), by_path(grads)

    return Side(
        train=train,
        infer=lambda: infer(*kept["state"][:2], x),
        wait=jax.block_until_ready,
        outputs=lambda: np.asarray(infer(*start, x)),
        loss_and_gradients=loss_and_gradients,
        parts=laps.parts,
    )


def partition_side(model, state, batch, by_path, laps):
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def apply(params, state, x, train):
        model = eqx.combine(params, static)
        return forward(model if train else eqx.nn.inference_mode(model), state, x)

    return jax_side(apply, params, state, batch, by_path, laps)


def by_name(tree):
    """Leaves by path, without the names of the dicts that hold them."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    names = (jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves)
    return dict(zip((n.replace("layers/", "") for n in names), (v for _, v in leaves), strict=True))


def their_path(path: str) -> str:
    if path in LSTM:
        return LSTM[path]
    for ours, theirs in RENAMED.items():
        path = path.replace(f"{ours}/", f"{theirs}/")
    parent, leaf = path.rsplit("/", 1)
    return f"{parent}/{LEAVES[leaf]}"


def load(model, weights, sizes):
    ours = {their_path(path): out_first(path, weight, sizes) for path, weight in weights.items()}
    params, static = eqx.partition(model, eqx.is_inexact_array)
    leaves = [jnp.asarray(ours[k]).reshape(v.shape) for k, v in by_name(params).items()]
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(params), leaves), static)


def from_equinox(grads, weights, sizes):
    theirs = by_name(grads)
    return {
        path: out_last(path, np.asarray(theirs[their_path(path)]), weight.shape, sizes)
        for path, weight in weights.items()
    }


class Mlp(eqx.Module):
    layers: dict[str, eqx.nn.Linear]

    def __init__(self, sizes, key):
        widths = sizes["widths"]
        keys = jax.random.split(key, len(widths) - 1)
        self.layers = {
            f"linear_{i}": eqx.nn.Linear(*widths[i : i + 2], key=k) for i, k in enumerate(keys)
        }

    def __call__(self, x, state):
        for i in range(len(self.layers) - 1):
            x = jax.nn.relu(self.layers[f"linear_{i}"](x))
        return self.layers[f"linear_{len(self.layers) - 1}"](x), state


def batch_norm(features):
    return eqx.nn.BatchNorm(features, axis_name="batch", momentum=0.9, mode="batch")


class Cnn(eqx.Module):
    layers: dict[str, Any]
    pool: eqx.nn.MaxPool2d
    number: int

    def __init__(self, sizes, key):
        *keys, key_0, key_1 = jax.random.split(key, len(sizes["features"]) + 2)
        channels, self.number, layers = sizes["image"][-1], len(keys), {}
        for i, (features, k) in enumerate(zip(sizes["features"], keys, strict=True)):
            layers[f"conv_{i}"] = eqx.nn.Conv2d(channels, features, 5, padding=2, key=k)
            layers[f"norm_{i}"] = batch_norm(features)
            channels = features
        rows = int(np.prod(flat_image(sizes)))
        layers["linear_0"] = eqx.nn.Linear(rows, sizes["hidden"], key=key_0)
        layers["linear_1"] = eqx.nn.Linear(sizes["hidden"], sizes["classes"], key=key_1)
        self.layers, self.pool = layers, eqx.nn.MaxPool2d(2, 2)

    def __call__(self, x, state):
        layers = self.layers
        for i in range(self.number):
            x, state = layers[f"norm_{i}"](layers[f"conv_{i}"](x), state)
            x = self.pool(jax.nn.relu(x))
        return layers["linear_1"](jax.nn.relu(layers["linear_0"](jnp.ravel(x)))), state


def conv(inside, outside, kernel_size, key, stride=1):
    pad = kernel_size // 2
    return eqx.nn.Conv2d(inside, outside, kernel_size, stride, pad, use_bias=False, key=key)


class BasicBlock(eqx.Module):
    conv_0: eqx.nn.Conv2d
    norm_0: eqx.nn.BatchNorm
    conv_1: eqx.nn.Conv2d
    norm_1: eqx.nn.BatchNorm
    shortcut: eqx.nn.Conv2d | None = None
    shortcut_norm: eqx.nn.BatchNorm | None = None

    def __init__(self, inside, outside, stride, key):
        keys = jax.random.split(key, 3)
        self.conv_0, self.norm_0 = conv(inside, outside, 3, keys[0], stride), batch_norm(outside)
        self.conv_1, self.norm_1 = conv(outside, outside, 3, keys[1]), batch_norm(outside)
        if inside != outside:
            self.shortcut = conv(inside, outside, 1, keys[2], stride)
            self.shortcut_norm = batch_norm(outside)

    def __call__(self, x, state):
        h, state = self.norm_0(self.conv_0(x), state)
        h, state = self.norm_1(self.conv_1(jax.nn.relu(h)), state)
        if self.shortcut is not None and self.shortcut_norm is not None:
            x, state = self.shortcut_norm(self.shortcut(x), state)
        return jax.nn.relu(x + h), state


class ResNet(eqx.Module):
    stem: eqx.nn.Conv2d
    stem_norm: eqx.nn.BatchNorm
    layers: dict[str, BasicBlock]
    linear: eqx.nn.Linear

    def __init__(self, sizes, key):
        features, layers = sizes["features"], {}
        first, last, *keys = jax.random.split(key, 2 + 2 * len(features))
        self.stem = conv(sizes["image"][-1], features[0], 3, first)
        self.stem_norm = batch_norm(features[0])
        for i, k in enumerate(keys):
            inside, outside = features[max(i - 1, 0) // 2], features[i // 2]
            stride = 2 if i % 2 == 0 and i > 0 else 1
            layers[f"block_{i}"] = BasicBlock(inside, outside, stride, k)
        self.layers = layers
        self.linear = eqx.nn.Linear(features[-1], sizes["classes"], key=last)

    def __call__(self, x, state):
        x, state = self.stem_norm(self.stem(x), state)
        x = jax.nn.relu(x)
        for i in range(len(self.layers)):
            x, state = self.layers[f"block_{i}"](x, state)
        return self.linear(x.mean((1, 2))), state


class Block(eqx.Module):
    attn_norm: eqx.nn.LayerNorm
    attn: eqx.nn.MultiheadAttention
    mlp_norm: eqx.nn.LayerNorm
    mlp: dict[str, eqx.nn.Linear]
    causal: bool

    def __init__(self, dim, heads, key, causal=True):
        self.causal = causal
        keys = jax.random.split(key, 3)
        self.attn_norm, self.mlp_norm = eqx.nn.LayerNorm(dim), eqx.nn.LayerNorm(dim)
        biases = {f"use_{name}_bias": True for name in ("query", "key", "value", "output")}
        self.attn = eqx.nn.MultiheadAttention(heads, dim, **biases, key=keys[0])
        self.mlp = {
            "linear_0": eqx.nn.Linear(dim, 4 * dim, key=keys[1]),
            "linear_1": eqx.nn.Linear(4 * dim, dim, key=keys[2]),
        }

    def __call__(self, x):  # [T, D]
        h = jax.vmap(self.attn_norm)(x)
        mask = jnp.tril(jnp.ones((len(x), len(x)), bool)) if self.causal else None
        x = x + self.attn(h, h, h, mask=mask)
        h = jax.nn.gelu(jax.vmap(self.mlp["linear_0"])(jax.vmap(self.mlp_norm)(x)))
        return x + jax.vmap(self.mlp["linear_1"])(h)


class Gpt(eqx.Module):
    embed: eqx.nn.Embedding
    positions: eqx.nn.Embedding
    layers: dict[str, Block]
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, sizes, key):
        dim, vocabulary = sizes["dim"], sizes["vocabulary"]
        embed, positions, head, *keys = jax.random.split(key, 3 + sizes["blocks"])
        self.embed = eqx.nn.Embedding(vocabulary, dim, key=embed)
        self.positions = eqx.nn.Embedding(sizes["length"], dim, key=positions)
        self.layers = {f"block_{i}": Block(dim, sizes["heads"], k) for i, k in enumerate(keys)}
        self.norm = eqx.nn.LayerNorm(dim)
        self.head = eqx.nn.Linear(dim, vocabulary, key=head)

    def __call__(self, x, state):  # [T]
        h = jax.vmap(self.embed)(x) + jax.vmap(self.positions)(jnp.arange(len(x)))
        for i in range(len(self.layers)):
            h = self.layers[f"block_{i}"](h)
        return jax.vmap(self.head)(jax.vmap(self.norm)(h)), state


class Lstm(eqx.Module):
    lstm: eqx.nn.LSTMCell
    linear: eqx.nn.Linear

    def __init__(self, sizes, key):
        key_0, key_1 = jax.random.split(key)
        features = sizes["features"]
        self.lstm = eqx.nn.LSTMCell(features, features, key=key_0)
        self.linear = eqx.nn.Linear(features, sizes["classes"], key=key_1)

    def __call__(self, x, state):  # [T, D]
        zeros = jnp.zeros(self.lstm.hidden_size)
        step = lambda carry, features: (self.lstm(features, carry), None)
        (h, _), _ = jax.lax.scan(step, (zeros, zeros), x)
        return self.linear(h), state


class Vit(eqx.Module):
    patches: eqx.nn.Conv2d
    positions: eqx.nn.Embedding
    layers: dict[str, Block]
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear

    def __init__(self, sizes, key):
        dim, heads, patch = sizes["dim"], sizes["heads"], sizes["patch"]
        patches, positions, head, *keys = jax.random.split(key, 3 + sizes["blocks"])
        self.patches = eqx.nn.Conv2d(sizes["image"][-1], dim, patch, patch, key=patches)
        self.positions = eqx.nn.Embedding(tokens(sizes), dim, key=positions)
        self.layers = {f"block_{i}": Block(dim, heads, k, False) for i, k in enumerate(keys)}
        self.norm = eqx.nn.LayerNorm(dim)
        self.head = eqx.nn.Linear(dim, sizes["classes"], key=head)

    def __call__(self, x, state):  # [C, H, W]
        h = self.patches(x)
        h = h.reshape(len(h), -1).T
        h = h + jax.vmap(self.positions)(jnp.arange(len(h)))
        for i in range(len(self.layers)):
            h = self.layers[f"block_{i}"](h)
        return self.head(jax.vmap(self.norm)(h).mean(0)), state


def convolve(linear: Any, x, edges):
    return propagate(x @ linear.weight.T, *edges) + linear.bias


class Gcn(eqx.Module):
    conv_0: eqx.nn.Linear
    conv_1: eqx.nn.Linear

    def __init__(self, sizes, key):
        inside, hidden, classes = sizes["widths"]
        key_0, key_1 = jax.random.split(key)
        self.conv_0 = eqx.nn.Linear(inside, hidden, key=key_0)
        self.conv_1 = eqx.nn.Linear(hidden, classes, key=key_1)

    def __call__(self, x, state):
        nodes, *edges = x
        return convolve(self.conv_1, jax.nn.relu(convolve(self.conv_0, nodes, edges)), edges), state


NETWORKS = {
    "mlp": Mlp,
    "cnn": Cnn,
    "resnet": ResNet,
    "gpt": Gpt,
    "lstm": Lstm,
    "gcn": Gcn,
    "vit": Vit,
}
