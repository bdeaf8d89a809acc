"""blox (jax-blox): modules that take and return one immutable ``Params``; optax.

Its users split Params into what is trained and what is not, and write a step around ``jax.grad``
that takes over the memory of the old ones, as its README does: the way ``donated``. It has no
attention layer, so there is no GPT here.
"""

import blox as bx
import jax
import jax.numpy as jnp

from benchmarks.suite.peers.layouts import one_kernel, two_kernels
from benchmarks.suite.side import jax_side

GATES = "lstm/gates"


def side(network, way, weights, batch, sizes, laps):
    graph = bx.Graph("root")
    rng = bx.Rng(graph.child("rng"))
    model = NETWORKS[network](graph.child("net"), rng, sizes)
    x = batch[0][:1]
    # init unrolls an LSTM: one step of it will do
    _, params = model(rng.seed(bx.Params(), seed=0), x[:, :1] if network == "lstm" else x, True)
    theirs = {our_path(path): path for path, param in params.items() if param.trainable}
    kept = one_kernel(weights, GATES) if network == "lstm" else weights
    for path, place in theirs.items():
        params[place] = params[place].replace(value=jnp.asarray(kept[path]))
    for path, param in list(params.items()):
        if path[-1] in ("running_mean", "running_var"):  # init counted a batch into them
            value = jnp.full_like(param.value, path[-1] == "running_var")
            params[path] = param.replace(value=value)
    trained, state = params.locked().split()

    def forward(params, state, x, train):
        logits, new = model(params.merge(state), x, train)
        return logits, new.split()[1]

    def by_path(grads):
        found = {path: grads[place].value for path, place in theirs.items()}
        return two_kernels(found, GATES) if network == "lstm" else found

    return jax_side(forward, trained, state, batch, by_path, laps)


def our_path(path: tuple[str, ...]) -> str:
    return "/".join(path[2:])


class Mlp(bx.Module):
    def __init__(self, graph, rng, sizes):
        super().__init__(graph)
        self.layers = [
            bx.Linear(graph.child(f"linear_{i}"), width, rng)
            for i, width in enumerate(sizes["widths"][1:])
        ]

    def __call__(self, params, x, is_training):
        for layer in self.layers[:-1]:
            x, params = layer(params, x)
            x = jax.nn.relu(x)
        return self.layers[-1](params, x)


def batch_norm(graph, name):
    return bx.BatchNorm(graph.child(name), momentum=0.9, epsilon=1e-5)


class Cnn(bx.Module):
    def __init__(self, graph, rng, sizes):
        super().__init__(graph)
        features, pads = sizes["features"], ((2, 2), (2, 2))
        self.convs = [
            bx.Conv(graph.child(f"conv_{i}"), (5, 5), width, rng, padding=pads)
            for i, width in enumerate(features)
        ]
        self.norms = [batch_norm(graph, f"norm_{i}") for i in range(len(features))]
        self.linear_0 = bx.Linear(graph.child("linear_0"), sizes["hidden"], rng)
        self.linear_1 = bx.Linear(graph.child("linear_1"), sizes["classes"], rng)

    def __call__(self, params, x, is_training):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x, params = conv(params, x)
            x, params = norm(params, x, is_training)
            x = bx.max_pool(jax.nn.relu(x), (2, 2))
        x, params = self.linear_0(params, x.reshape(len(x), -1))
        return self.linear_1(params, jax.nn.relu(x))


class ConvNorm(bx.Module):
    """A convolution and the batch norm that follows it, both named by the caller."""

    def __init__(self, graph, rng, features, kernel_size, conv, norm, stride=1):
        super().__init__(graph.child(f"{conv}_and_norm"))
        pads, window = ((kernel_size // 2,) * 2,) * 2, (kernel_size,) * 2
        place = graph.child(conv)
        self.conv = bx.Conv(place, window, features, rng, stride, pads, use_bias=False)
        self.norm = batch_norm(graph, norm)

    def __call__(self, params, x, is_training):
        x, params = self.conv(params, x)
        return self.norm(params, x, is_training)


class BasicBlock(bx.Module):
    def __init__(self, graph, rng, features, first):
        super().__init__(graph)
        stride = 2 if first else 1  # the first of a stage halves the image
        self.first = ConvNorm(graph, rng, features, 3, "conv_0", "norm_0", stride)
        self.second = ConvNorm(graph, rng, features, 3, "conv_1", "norm_1")
        self.shortcut = None
        if first:
            names = "shortcut", "shortcut_norm"
            self.shortcut = ConvNorm(graph, rng, features, 1, *names, stride)

    def __call__(self, params, x, is_training):
        h, params = self.first(params, x, is_training)
        h, params = self.second(params, jax.nn.relu(h), is_training)
        if self.shortcut is not None:
            x, params = self.shortcut(params, x, is_training)
        return jax.nn.relu(x + h), params


class ResNet(bx.Module):
    def __init__(self, graph, rng, sizes):
        super().__init__(graph)
        features = sizes["features"]
        self.stem = ConvNorm(graph, rng, features[0], 3, "stem", "stem_norm")
        self.blocks = [
            BasicBlock(graph.child(f"block_{i}"), rng, features[i // 2], i % 2 == 0 and i > 0)
            for i in range(2 * len(features))
        ]
        self.linear = bx.Linear(graph.child("linear"), sizes["classes"], rng)

    def __call__(self, params, x, is_training):
        x, params = self.stem(params, x, is_training)
        x = jax.nn.relu(x)
        for block in self.blocks:
            x, params = block(params, x, is_training)
        return self.linear(params, x.mean((1, 2)))


class Lstm(bx.Module):
    def __init__(self, graph, rng, sizes):
        super().__init__(graph)
        self.lstm = bx.LSTM(graph.child("lstm"), sizes["features"], rng)
        self.linear = bx.Linear(graph.child("linear"), sizes["classes"], rng)

    def __call__(self, params, x, is_training):
        (y, _), params = self.lstm.apply(params, x, is_training=is_training)
        return self.linear(params, y[:, -1])


NETWORKS = {"mlp": Mlp, "cnn": Cnn, "resnet": ResNet, "lstm": Lstm}
