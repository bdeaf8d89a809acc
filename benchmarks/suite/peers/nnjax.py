"""nnjax, as its README says: a model, ``make_step``, ``jax.jit`` with donation.

The way ``devices`` splits the batch over virtual CPU devices, one a core: XLA:CPU runs most of its
convolutions, and products of many small matrices, on a single core each. ``packed`` carries the
train state as one vector a dtype, and ``loop`` takes 32 steps a call, as ``nn.train.fit`` does:
both for networks whose step is mostly handing over arrays. ``native`` has its convolutions in C++
and keeps its memory.
"""

import itertools
import os

import jax
import jax.numpy as jnp
import optax

import nnjax as nn
from benchmarks.suite.peers.formulas import waves
from benchmarks.suite.peers.layouts import bottlenecks, tokens
from benchmarks.suite.side import LEARNING_RATE, compiled_side, inference_side
from benchmarks.suite.workloads import flatten, loss, nest
from nnjax.train.loop import WINDOW

LOSSES = {
    "cross_entropy": nn.losses.softmax_cross_entropy,
    "squared_error": nn.losses.squared_error,
}


def prepare(way: str, backend: str) -> None:
    """What has to be before JAX starts its backend."""
    if way in ("devices", "native") and backend != "cpu":
        raise SystemExit(f"nnjax {way}: for a CPU, not a {backend}")
    if way == "devices":
        jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
    if way == "native":
        nn.native.build()
        nn.native.keep_memory()


def side(network, way, weights, batch, sizes, laps):
    if not loss(network):
        infer, init = inference(network, sizes)
        variables = nest(weights), init()[1]
        return inference_side(lambda p, s, x: infer((p, s), (x,)), variables, batch[0], laps)
    if way == "packed":
        return packed_side(network, weights, batch, sizes, laps)
    model, step, init = training(network, sizes)
    start = init()._replace(params=jax.device_put(nest(weights)))

    def objective(params, state, x, labels):
        outputs, state = model.apply(params, state, x, train=True)
        return LOSSES[loss(network)](outputs, labels).mean(), state

    def train(carried, x, labels):
        carried, values = step(carried, (x, labels))
        return carried, values["loss"]

    infer = lambda params, state, x: model.apply(params, state, x)[0]
    shared, steps = way == "devices", WINDOW if way == "loop" else 1
    return compiled_side(
        train, infer, objective, start, batch, flatten, laps, shared=shared, steps=steps
    )


def packed_side(network, weights, batch, sizes, laps):
    """What is carried are two parts: the vector of all floats, and those of the other dtypes."""
    model, step, init = training(network, sizes, optax.flatten(optax.adam(LEARNING_RATE)))
    start = init()._replace(params=jax.device_put(nest(weights)))
    pack, unpack = nn.train.packing(start)
    packed_step = nn.train.packed(step, start)
    apart = lambda vectors: (
        vectors["float32"],
        {k: v for k, v in vectors.items() if v.dtype != "float32"},
    )
    together = lambda floats, others: {"float32": floats, **others}

    def train(carried, x, labels):
        vectors, values = packed_step(together(*carried), (x, labels))
        return apart(vectors), values["loss"]

    def forward(floats, others, x, train=False):
        now = unpack(together(floats, others))
        return model.apply(now.params, now.state, x, train=train)

    def objective(floats, others, x, labels):
        outputs, _ = forward(floats, others, x, train=True)
        return LOSSES[loss(network)](outputs, labels).mean(), others

    infer = lambda floats, others, x: forward(floats, others, x)[0]
    carried = apart(pack(start))
    by_path = lambda grads: flatten(unpack(together(grads, carried[1])).params)
    return compiled_side(train, infer, objective, carried, batch, by_path, laps)


def training(network: str, sizes, optimizer=None, gather=lambda params: params):
    """The model, its train step, and what makes the step's first state.

    gather: of parameters that are split over devices, as the model takes them.
    """
    bare, optimizer = NETWORKS[network](sizes), optimizer or optax.adam(LEARNING_RATE)

    def apply(params, state, x, **named):
        return bare.apply(gather(params), state, x, **named)

    model = nn.Layer(bare.init, apply, bare.name, random=bare.random)
    init = lambda: nn.train.init_state(model, optimizer, jax.random.key(0))
    return model, nn.train.make_step(model, LOSSES[loss(network)], optimizer), init


def inference(network: str, sizes):
    """``infer((params, state), (x, ...))``, and what makes (params, state)."""
    model = NETWORKS[network](sizes)

    def infer(variables, batch):
        params, state = variables
        return model.apply(params, state, batch[0])[0]

    return infer, lambda: model.init(jax.random.key(0))


def shapes(network: str, sizes) -> dict[str, tuple[int, ...]]:
    """Of all parameters, by path."""
    params, _ = jax.eval_shape(NETWORKS[network](sizes).init, jax.random.key(0))
    return {path: leaf.shape for path, leaf in flatten(params).items()}


def mlp(sizes):
    return nn.mlp(*sizes["widths"])


def cnn(sizes):
    height, width, channels = sizes["image"]
    layers = {}
    for i, features in enumerate(sizes["features"]):
        layers |= {
            f"conv_{i}": nn.conv(channels, features, 5),
            f"norm_{i}": nn.batch_norm(features),
            f"relu_{i}": jax.nn.relu,
            f"pool_{i}": nn.max_pool(2),
        }
        channels, height, width = features, height // 2, width // 2
    return nn.serial(
        **layers,
        flatten=nn.flatten(),
        linear_0=nn.linear(height * width * channels, sizes["hidden"]),
        relu=jax.nn.relu,
        linear_1=nn.linear(sizes["hidden"], sizes["classes"]),
    )


def with_shortcut(body, inside, outside, stride, **layers):
    """``relu(x + body(net, x))``; where the shapes differ, x goes through a 1x1 convolution."""

    def forward(net, x):
        h = body(net, x)
        if inside != outside:
            x = net.shortcut_norm(net.shortcut(x))
        return jax.nn.relu(x + h)

    if inside != outside:
        layers["shortcut"] = nn.conv(inside, outside, 1, stride=stride, bias=False)
        layers["shortcut_norm"] = nn.batch_norm(outside)
    return nn.compose(forward, **layers)


def basic_block(inside, outside, stride):
    def body(net, x):
        h = jax.nn.relu(net.norm_0(net.conv_0(x)))
        return net.norm_1(net.conv_1(h))

    return with_shortcut(
        body,
        inside,
        outside,
        stride,
        conv_0=nn.conv(inside, outside, 3, stride=stride, padding=1, bias=False),
        norm_0=nn.batch_norm(outside),
        conv_1=nn.conv(outside, outside, 3, bias=False),
        norm_1=nn.batch_norm(outside),
    )


def resnet(sizes):
    features = sizes["features"]
    widths = [features[0], *(width for width in features for _ in range(2))]
    blocks = {
        f"block_{i}": basic_block(inside, outside, 2 if i % 2 == 0 and i > 0 else 1)
        for i, (inside, outside) in enumerate(itertools.pairwise(widths))
    }
    return nn.serial(
        stem=nn.conv(sizes["image"][-1], features[0], 3, bias=False),
        stem_norm=nn.batch_norm(features[0]),
        relu=jax.nn.relu,
        **blocks,
        pool=nn.global_avg_pool(),
        linear=nn.linear(features[-1], sizes["classes"]),
    )


def gpt(sizes):
    dim = sizes["dim"]
    block = nn.encoder_block(dim, sizes["heads"], causal=True)
    return nn.serial(
        embed=nn.embedding(sizes["vocabulary"], dim),
        positions=nn.learned_positions(sizes["length"], dim),
        **{f"block_{i}": block for i in range(sizes["blocks"])},
        norm=nn.layer_norm(dim),
        head=nn.linear(dim, sizes["vocabulary"]),
    )


def lstm(sizes):
    features = sizes["features"]

    def forward(net, x):
        y, _ = net.lstm(x)
        return net.linear(y[:, -1])

    return nn.compose(
        forward, lstm=nn.lstm(features, features), linear=nn.linear(features, sizes["classes"])
    )


def vit(sizes):
    dim, patch = sizes["dim"], sizes["patch"]
    block = nn.encoder_block(dim, sizes["heads"])
    return nn.serial(
        patches=nn.conv(sizes["image"][-1], dim, patch, stride=patch, padding="VALID"),
        tokens=lambda x: x.reshape(len(x), -1, dim),
        positions=nn.learned_positions(tokens(sizes), dim),
        **{f"block_{i}": block for i in range(sizes["blocks"])},
        norm=nn.layer_norm(dim),
        pool=lambda x: x.mean(1),
        head=nn.linear(dim, sizes["classes"]),
    )


def bottleneck(inside, features, stride):
    outside = 4 * features

    def body(net, x):
        h = jax.nn.relu(net.norm_0(net.conv_0(x)))
        h = jax.nn.relu(net.norm_1(net.conv_1(h)))
        return net.norm_2(net.conv_2(h))

    return with_shortcut(
        body,
        inside,
        outside,
        stride,
        conv_0=nn.conv(inside, features, 1, bias=False),
        norm_0=nn.batch_norm(features),
        conv_1=nn.conv(features, features, 3, stride=stride, padding=1, bias=False),
        norm_1=nn.batch_norm(features),
        conv_2=nn.conv(features, outside, 1, bias=False),
        norm_2=nn.batch_norm(outside),
    )


def resnet50(sizes):
    features = sizes["features"]
    return nn.serial(
        stem=nn.conv(sizes["image"][-1], features[0], 7, stride=2, padding=3, bias=False),
        stem_norm=nn.batch_norm(features[0]),
        relu=jax.nn.relu,
        stem_pool=nn.max_pool(3, stride=2, padding=1),
        **{f"block_{i}": bottleneck(*block) for i, block in enumerate(bottlenecks(sizes))},
        pool=nn.global_avg_pool(),
        linear=nn.linear(4 * features[-1], sizes["classes"]),
    )


def gcn(sizes):
    inside, hidden, outside = sizes["widths"]

    def forward(net, x):
        nodes, *edges = x
        return net.conv_1(jax.nn.relu(net.conv_0(nodes, *edges)), *edges)

    return nn.compose(forward, conv_0=nn.gcn(inside, hidden), conv_1=nn.gcn(hidden, outside))


def decode(sizes):
    """The gpt that writes on: a prompt -> the logits of the last step and the tokens [B, N]."""
    model = nn.cached(gpt(sizes), sizes["length"], batch=sizes["batch"])

    def apply(params, state, prompt, *, key=None, train=False):
        read = lambda cache, ids: model.apply(params, cache, ids, decode=True)

        def step(carry, _):
            logits, cache = carry
            token = logits[:, -1].argmax(-1)
            logits, cache = read(cache, token[:, None])
            return (logits, cache), token

        logits, cache = read(state, prompt)
        carry = logits[:, -1:], cache
        (logits, _), tokens = jax.lax.scan(step, carry, None, sizes["length"] - sizes["prompt"])
        return (logits[:, -1], tokens.T), state

    return nn.Layer(model.init, apply, "decode")


def unet(sizes):
    features, groups = sizes["features"], sizes["groups"]
    first, levels, hidden = features[0], range(len(features)), 4 * features[0]

    def forward(net, x):
        images, times = x
        t = jax.nn.silu(net.time(waves(times, first)))
        h, skips = net.stem(images), []
        for i in levels:
            h = net[f"down_{i}"](h, t)
            skips.append(h)
            if i < levels[-1]:
                h = net[f"shrink_{i}"](h)
        h = net.middle(h, t)
        for i in reversed(levels):
            h = net[f"up_{i}"](jnp.concatenate([h, skips[i]], -1), t)
            if i > 0:
                h = net[f"grow_{i}"](net.double(h))
        return net.head(jax.nn.silu(net.norm(h)))

    block = lambda inside, outside: residual_block(inside, outside, hidden, groups)
    children = {}
    for i, width in enumerate(features):
        before, after = features[max(i - 1, 0)], features[min(i + 1, levels[-1])]
        children |= {f"down_{i}": block(before, width), f"up_{i}": block(after + width, width)}
        if i < levels[-1]:
            children[f"shrink_{i}"] = nn.conv(width, width, 3, stride=2, padding=1)
        if i > 0:
            children[f"grow_{i}"] = nn.conv(width, width, 3)
    return nn.compose(
        forward,
        time=nn.mlp(first, hidden, hidden, activation=jax.nn.silu),
        stem=nn.conv(sizes["image"][-1], first, 3),
        middle=block(features[-1], features[-1]),
        double=nn.upsample(2),
        norm=nn.group_norm(first, groups),
        head=nn.conv(first, sizes["image"][-1], 3),
        **children,
    )


def residual_block(inside, outside, times, groups):
    def forward(net, x, t):
        h = net.conv_0(jax.nn.silu(net.norm_0(x)))
        h = h + net.time(t)[:, None, None]
        h = net.conv_1(jax.nn.silu(net.norm_1(h)))
        return h + (net.shortcut(x) if inside != outside else x)

    return nn.compose(
        forward,
        norm_0=nn.group_norm(inside, groups),
        conv_0=nn.conv(inside, outside, 3),
        time=nn.linear(times, outside),
        norm_1=nn.group_norm(outside, groups),
        conv_1=nn.conv(outside, outside, 3),
        **({"shortcut": nn.conv(inside, outside, 1)} if inside != outside else {}),
    )


NETWORKS = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "gpt": gpt,
    "lstm": lstm,
    "gcn": gcn,
    "decode": decode,
    "unet": unet,
    "vit": vit,
    "resnet50": resnet50,
}
