"""Flax NNX: modules that hold their parameters, optimizers that update them in place.

Two ways. ``jit`` is the loop of the NNX tutorials: ``nnx.jit`` over the model and an
``nnx.Optimizer``, both walked through at every call. ``split`` is the functional loop of its
performance guide: split once, merge inside of ``jax.jit``, which takes over the old state's memory.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.suite.peers.formulas import propagate
from benchmarks.suite.peers.layouts import tokens
from benchmarks.suite.side import LEARNING_RATE, Side, compiled_side
from benchmarks.suite.workloads import flatten, nest

RENAMED = {  # the one way, then the other
    "positions/table": "positions",
    "lstm/kernel": "lstm/cell/dense_i/kernel",
    "lstm/recurrent": "lstm/cell/dense_h/kernel",
    "lstm/bias": "lstm/cell/dense_h/bias",
}


def side(network, way, weights, batch, sizes, laps):
    model = NETWORKS[network](sizes, nnx.Rngs(0))
    params = nnx.state(model, nnx.Param)
    theirs = flatten(nnx.to_pure_dict(params))
    ours = {their_path(path): jnp.asarray(weight) for path, weight in weights.items()}
    nnx.replace_by_pure_dict(params, nest({k: ours[k].reshape(v.shape) for k, v in theirs.items()}))
    nnx.update(model, params)

    def by_path(grads):
        found = flatten(nnx.to_pure_dict(grads))
        return {k: found[their_path(k)].reshape(v.shape) for k, v in weights.items()}

    optimizer = nnx.Optimizer(model, optax.adam(LEARNING_RATE), wrt=nnx.Param)
    make = {"jit": jit_side, "split": split_side}[way]
    return make(model, optimizer, batch, by_path, laps)


def their_path(path: str) -> str:
    """Names are nnjax's, apart from a few; heads have an axis of their own."""
    for ours, theirs in RENAMED.items():
        path = path.replace(ours, theirs)
    return path


def loss_of(model, x, labels):
    return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()


def jit_side(model, optimizer, batch, by_path, laps):
    x, labels = jax.device_put(batch)

    @nnx.jit
    def step(model, optimizer, x, labels):
        loss, grads = nnx.value_and_grad(loss_of)(model, x, labels)
        optimizer.update(model, grads)
        return loss

    @nnx.jit
    def infer(model, x):
        return model(x)

    # views share the model's arrays: one to train, one to infer, as model.train() and .eval() do
    training: Any = nnx.view(model, use_running_average=False, raise_if_not_found=False)
    inference: Any = nnx.view(model, use_running_average=True, raise_if_not_found=False)
    start = nnx.clone(model)
    laps.mark("init")

    def loss_and_gradients():
        fresh = nnx.view(nnx.clone(start), use_running_average=False, raise_if_not_found=False)
        loss, grads = nnx.jit(nnx.value_and_grad(loss_of))(fresh, x, labels)
        return float(loss), {path: np.asarray(leaf) for path, leaf in by_path(grads).items()}

    def outputs():
        fresh = nnx.view(start, use_running_average=True, raise_if_not_found=False)
        return np.asarray(infer(fresh, x))

    return Side(
        train=lambda: step(training, optimizer, x, labels),
        infer=lambda: infer(inference, x),
        wait=jax.block_until_ready,
        outputs=outputs,
        loss_and_gradients=loss_and_gradients,
        parts=laps.parts,
    )


def split_side(model, optimizer, batch, by_path, laps):
    graph, params, state = nnx.split(model, nnx.Param, ...)
    optimizer_graph, opt_state = nnx.split(optimizer)

    def merge(params, state, train):
        # a copy, as a grad around this may not change the state of a trace outside of it
        model: Any = nnx.merge(graph, params, state, copy=True)
        model.train() if train else model.eval()
        return model

    def step(carried, x, labels):
        params, state, opt_state = carried
        model = merge(params, state, True)
        optimizer: Any = nnx.merge(optimizer_graph, opt_state)
        loss, grads = nnx.value_and_grad(loss_of)(model, x, labels)
        optimizer.update(model, grads)
        _, params, state = nnx.split(model, nnx.Param, ...)
        return (params, state, nnx.state(optimizer)), loss

    def objective(params, state, x, labels):
        model = merge(params, state, True)
        return loss_of(model, x, labels), nnx.split(model, nnx.Param, ...)[2]

    infer = lambda params, state, x: merge(params, state, False)(x)
    carried = params, state, opt_state
    return compiled_side(step, infer, objective, carried, batch, by_path, laps)


class Mlp(nnx.Module):
    def __init__(self, widths, rngs, activation=nnx.relu):
        self.number, self.activation = len(widths) - 1, activation
        for i in range(self.number):
            setattr(self, f"linear_{i}", nnx.Linear(*widths[i : i + 2], rngs=rngs))

    def __call__(self, x):
        for i in range(self.number - 1):
            x = self.activation(getattr(self, f"linear_{i}")(x))
        return getattr(self, f"linear_{self.number - 1}")(x)


def batch_norm(features, rngs):
    return nnx.BatchNorm(features, momentum=0.9, epsilon=1e-5, rngs=rngs)


class Cnn(nnx.Module):
    def __init__(self, sizes, rngs):
        height, width, channels = sizes["image"]
        self.number = len(sizes["features"])
        for i, features in enumerate(sizes["features"]):
            conv = nnx.Conv(channels, features, (5, 5), padding=2, rngs=rngs)
            setattr(self, f"conv_{i}", conv)
            setattr(self, f"norm_{i}", batch_norm(features, rngs))
            channels, height, width = features, height // 2, width // 2
        self.linear_0 = nnx.Linear(height * width * channels, sizes["hidden"], rngs=rngs)
        self.linear_1 = nnx.Linear(sizes["hidden"], sizes["classes"], rngs=rngs)

    def __call__(self, x):
        for i in range(self.number):
            x = getattr(self, f"norm_{i}")(getattr(self, f"conv_{i}")(x))
            x = nnx.max_pool(nnx.relu(x), (2, 2), strides=(2, 2))
        return self.linear_1(nnx.relu(self.linear_0(x.reshape(x.shape[0], -1))))


def conv(inside, outside, kernel_size, rngs, stride=1):
    window, pad = (kernel_size, kernel_size), kernel_size // 2
    return nnx.Conv(inside, outside, window, stride, padding=pad, use_bias=False, rngs=rngs)


class BasicBlock(nnx.Module):
    def __init__(self, inside, outside, stride, rngs):
        self.conv_0 = conv(inside, outside, 3, rngs, stride)
        self.norm_0 = batch_norm(outside, rngs)
        self.conv_1 = conv(outside, outside, 3, rngs)
        self.norm_1 = batch_norm(outside, rngs)
        self.changes = inside != outside
        if self.changes:
            self.shortcut = conv(inside, outside, 1, rngs, stride)
            self.shortcut_norm = batch_norm(outside, rngs)

    def __call__(self, x):
        h = nnx.relu(self.norm_0(self.conv_0(x)))
        h = self.norm_1(self.conv_1(h))
        if self.changes:
            x = self.shortcut_norm(self.shortcut(x))
        return nnx.relu(x + h)


class ResNet(nnx.Module):
    def __init__(self, sizes, rngs):
        features = sizes["features"]
        self.number = 2 * len(features)
        self.stem = conv(sizes["image"][-1], features[0], 3, rngs)
        self.stem_norm = batch_norm(features[0], rngs)
        for i in range(self.number):
            inside, outside = features[max(i - 1, 0) // 2], features[i // 2]
            stride = 2 if i % 2 == 0 and i > 0 else 1
            setattr(self, f"block_{i}", BasicBlock(inside, outside, stride, rngs))
        self.linear = nnx.Linear(features[-1], sizes["classes"], rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.stem_norm(self.stem(x)))
        for i in range(self.number):
            x = getattr(self, f"block_{i}")(x)
        return self.linear(x.mean((1, 2)))


class Block(nnx.Module):
    def __init__(self, dim, heads, rngs, causal=True):
        self.causal = causal
        self.attn_norm = nnx.LayerNorm(dim, epsilon=1e-5, rngs=rngs)
        self.attn = nnx.MultiHeadAttention(heads, dim, decode=False, rngs=rngs)
        self.mlp_norm = nnx.LayerNorm(dim, epsilon=1e-5, rngs=rngs)
        self.mlp = Mlp((dim, 4 * dim, dim), rngs, nnx.gelu)

    def __call__(self, x):
        x = x + self.attn(self.attn_norm(x), is_causal=self.causal)
        return x + self.mlp(self.mlp_norm(x))


class Gpt(nnx.Module):
    def __init__(self, sizes, rngs):
        dim, self.length, self.number = sizes["dim"], sizes["length"], sizes["blocks"]
        self.embed = nnx.Embed(sizes["vocabulary"], dim, rngs=rngs)
        self.positions = nnx.Embed(self.length, dim, rngs=rngs)
        for i in range(self.number):
            setattr(self, f"block_{i}", Block(dim, sizes["heads"], rngs))
        self.norm = nnx.LayerNorm(dim, epsilon=1e-5, rngs=rngs)
        self.head = nnx.Linear(dim, sizes["vocabulary"], rngs=rngs)

    def __call__(self, x):
        h = self.embed(x) + self.positions(jnp.arange(self.length))
        for i in range(self.number):
            h = getattr(self, f"block_{i}")(h)
        return self.head(self.norm(h))


class Lstm(nnx.Module):
    def __init__(self, sizes, rngs):
        features = sizes["features"]
        cell = nnx.OptimizedLSTMCell(features, features, rngs=rngs)
        self.lstm = nnx.RNN(cell, rngs=rngs)
        self.linear = nnx.Linear(features, sizes["classes"], rngs=rngs)

    def __call__(self, x):
        y: Any = self.lstm(x)
        return self.linear(y[:, -1])


class Vit(nnx.Module):
    def __init__(self, sizes, rngs):
        dim, self.length, self.number = sizes["dim"], tokens(sizes), sizes["blocks"]
        window = (sizes["patch"], sizes["patch"])
        channels = sizes["image"][-1]
        self.patches = nnx.Conv(channels, dim, window, window, padding="VALID", rngs=rngs)
        self.positions = nnx.Embed(self.length, dim, rngs=rngs)
        for i in range(self.number):
            setattr(self, f"block_{i}", Block(dim, sizes["heads"], rngs, causal=False))
        self.norm = nnx.LayerNorm(dim, epsilon=1e-5, rngs=rngs)
        self.head = nnx.Linear(dim, sizes["classes"], rngs=rngs)

    def __call__(self, x):
        h = self.patches(x)
        h = h.reshape(h.shape[0], self.length, -1) + self.positions(jnp.arange(self.length))
        for i in range(self.number):
            h = getattr(self, f"block_{i}")(h)
        return self.head(self.norm(h).mean(1))


def convolve(linear: Any, x, edges):
    return propagate(x @ linear.kernel[...], *edges) + linear.bias[...]


class Gcn(nnx.Module):
    def __init__(self, sizes, rngs):
        inside, hidden, classes = sizes["widths"]
        self.conv_0 = nnx.Linear(inside, hidden, rngs=rngs)
        self.conv_1 = nnx.Linear(hidden, classes, rngs=rngs)

    def __call__(self, x):
        nodes, *edges = x
        return convolve(self.conv_1, nnx.relu(convolve(self.conv_0, nodes, edges)), edges)


NETWORKS = {
    "mlp": lambda sizes, rngs: Mlp(sizes["widths"], rngs),
    "cnn": Cnn,
    "resnet": ResNet,
    "gpt": Gpt,
    "lstm": Lstm,
    "vit": Vit,
    "gcn": Gcn,
}
