"""Hand-written JAX: the network as one would first write it, with no library but optax.

It takes no trick that XLA does not find by itself: heads are split off one product for q, k and v,
variance is the mean of squared deviations, pooling is ``reduce_window``, the LSTM's input products
are taken out of the loop. What tricks are worth is what this file is here to tell.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.suite.peers.formulas import doubled, propagate, waves
from benchmarks.suite.peers.layouts import bottlenecks
from benchmarks.suite.side import jax_side
from benchmarks.suite.workloads import flatten, loss, nest


def side(network, way, weights, batch, sizes, laps):
    params = jax.device_put(nest(weights))
    state = {
        path: {"mean": jnp.zeros(p["scale"].shape), "var": jnp.ones(p["scale"].shape)}
        for path, p in _norms(params).items()
        if network in ("cnn", "resnet", "resnet50")
    }
    function = NETWORKS[network]
    forward = lambda params, state, x, train: function(params, state, x, train, sizes)
    return jax_side(forward, params, state, batch, flatten, laps, loss(network))


def _norms(tree, prefix=""):
    found = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= {prefix + name: value} if "scale" in value else {}
            found |= _norms(value, f"{prefix}{name}/")
    return found


def linear(p, x):
    return x @ p["kernel"] + p["bias"]


def conv(p, x, stride=1, pad=None):
    pads = [(n // 2 if pad is None else pad,) * 2 for n in p["kernel"].shape[:2]]
    y = lax.conv_general_dilated(
        x, p["kernel"], (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + p["bias"] if "bias" in p else y


def batch_norm(p, state, x, train):
    if train:
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        n = x.size / x.shape[-1]
        state = {
            "mean": 0.9 * state["mean"] + 0.1 * mean,
            "var": 0.9 * state["var"] + 0.1 * var * (n / (n - 1)),
        }
    else:
        mean, var = state["mean"], state["var"]
    return (x - mean) * lax.rsqrt(var + 1e-5) * p["scale"] + p["bias"], state


def max_pool(x, window=2, pad=0):
    pads = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    return lax.reduce_window(x, -np.inf, lax.max, (1, window, window, 1), (1, 2, 2, 1), pads)


def layer_norm(p, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * p["scale"] + p["bias"]


def mlp(params, state, x, train, sizes):
    *hidden, last = (params[f"linear_{i}"] for i in range(len(sizes["widths"]) - 1))
    for p in hidden:
        x = jax.nn.relu(linear(p, x))
    return linear(last, x), state


def cnn(params, state, x, train, sizes):
    new = {}
    for i in range(len(sizes["features"])):
        x = conv(params[f"conv_{i}"], x)
        x, new[f"norm_{i}"] = batch_norm(params[f"norm_{i}"], state[f"norm_{i}"], x, train)
        x = max_pool(jax.nn.relu(x))
    x = jax.nn.relu(linear(params["linear_0"], x.reshape(len(x), -1)))
    return linear(params["linear_1"], x), new


def norms(state, train):
    """``norm(path, p, x)``, and the dict in which it leaves the new statistics."""
    new = {}

    def norm(path, p, x):
        x, new[path] = batch_norm(p, state[path], x, train)
        return x

    return norm, new


def joined(norm, path, p, x, h, stride):
    """``relu(x + h)``; where the shapes differ, x goes through a 1x1 convolution."""
    if "shortcut" in p:
        x = norm(path + "shortcut_norm", p["shortcut_norm"], conv(p["shortcut"], x, stride))
    return jax.nn.relu(x + h)


def resnet(params, state, x, train, sizes):
    norm, new = norms(state, train)
    x = jax.nn.relu(norm("stem_norm", params["stem_norm"], conv(params["stem"], x)))
    for i in range(2 * len(sizes["features"])):
        p, path = params[f"block_{i}"], f"block_{i}/"
        stride = 2 if i % 2 == 0 and i > 0 else 1
        h = jax.nn.relu(norm(path + "norm_0", p["norm_0"], conv(p["conv_0"], x, stride)))
        h = norm(path + "norm_1", p["norm_1"], conv(p["conv_1"], h))
        x = joined(norm, path, p, x, h, stride)
    return linear(params["linear"], x.mean((1, 2))), new


def gpt(params, state, x, train, sizes):
    heads, length = sizes["heads"], sizes["length"]
    h = params["embed"]["embedding"][x] + params["positions"]["table"]["embedding"]
    for i in range(sizes["blocks"]):
        h = block(params[f"block_{i}"], h, heads, length, causal=True)
    return linear(params["head"], layer_norm(params["norm"], h)), state


def block(p, h, heads, length, causal):
    h = h + attention(p["attn"], layer_norm(p["attn_norm"], h), heads, length, causal)
    return h + feed_forward(p, h)


def feed_forward(p, h):
    hidden = jax.nn.gelu(linear(p["mlp"]["linear_0"], layer_norm(p["mlp_norm"], h)))
    return linear(p["mlp"]["linear_1"], hidden)


def attention(p, x, heads, length, causal):
    names = ("query", "key", "value")
    kernel = jnp.stack([p[name]["kernel"] for name in names], 1)  # [D, 3, D]
    bias = jnp.stack([p[name]["bias"] for name in names])
    qkv = jnp.einsum("btd,dce->btce", x, kernel) + bias
    q, k, v = jnp.moveaxis(qkv.reshape(*qkv.shape[:3], heads, -1), 2, 0)
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / np.sqrt(q.shape[-1]).astype(np.float32)
    if causal:
        scores = jnp.where(np.tril(np.ones((length, length), bool)), scores, -jnp.inf)
    y = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), v)
    return linear(p["out"], y.reshape(x.shape))


def lstm(params, state, x, train, sizes):
    p = params["lstm"]
    projected = jnp.moveaxis(x @ p["kernel"] + p["bias"], 1, 0)

    def step(carry, gates):
        h, c = carry
        i, f, g, o = jnp.split(gates + h @ p["recurrent"], 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), None

    zero = jnp.zeros((len(x), sizes["features"]))
    (h, _), _ = lax.scan(step, (zero, zero), projected)
    return linear(params["linear"], h), state


def vit(params, state, x, train, sizes):
    h = conv(params["patches"], x, sizes["patch"], pad=0)
    h = h.reshape(len(h), -1, sizes["dim"]) + params["positions"]["table"]["embedding"]
    for i in range(sizes["blocks"]):
        h = block(params[f"block_{i}"], h, sizes["heads"], h.shape[1], causal=False)
    return linear(params["head"], layer_norm(params["norm"], h).mean(1)), state


def resnet50(params, state, x, train, sizes):
    norm, new = norms(state, train)
    x = jax.nn.relu(norm("stem_norm", params["stem_norm"], conv(params["stem"], x, 2)))
    x = max_pool(x, 3, pad=1)
    for i, (_, _, stride) in enumerate(bottlenecks(sizes)):
        p, path = params[f"block_{i}"], f"block_{i}/"
        h = jax.nn.relu(norm(path + "norm_0", p["norm_0"], conv(p["conv_0"], x)))
        h = jax.nn.relu(norm(path + "norm_1", p["norm_1"], conv(p["conv_1"], h, stride)))
        h = norm(path + "norm_2", p["norm_2"], conv(p["conv_2"], h))
        x = joined(norm, path, p, x, h, stride)
    return linear(params["linear"], x.mean((1, 2))), new


def gcn(params, state, x, train, sizes):
    nodes, *edges = x
    convolve = lambda p, h: propagate(h @ p["kernel"], *edges) + p["bias"]
    return convolve(params["conv_1"], jax.nn.relu(convolve(params["conv_0"], nodes))), state


def decode(params, state, x, train, sizes):
    """A prompt x [B, P] -> the logits of the last step [B, V] and the tokens [B, N]."""
    length, heads, dim = sizes["length"], sizes["heads"], sizes["dim"]
    shape = len(x), heads, length, dim // heads
    empty = [(jnp.zeros(shape), jnp.zeros(shape)) for _ in range(sizes["blocks"])]

    def read(ids, caches, start):  # ids [B, T] at the positions from start on
        table = params["positions"]["table"]["embedding"]
        h = params["embed"]["embedding"][ids]
        h = h + lax.dynamic_slice_in_dim(table, start, ids.shape[1])
        new = []
        for i, cache in enumerate(caches):
            p = params[f"block_{i}"]
            y, cache = cached_attention(p["attn"], layer_norm(p["attn_norm"], h), cache, start)
            h = h + y
            h = h + feed_forward(p, h)
            new.append(cache)
        return linear(params["head"], layer_norm(params["norm"], h[:, -1])), new

    def step(carry, position):
        logits, caches = carry
        token = jnp.argmax(logits, -1)
        return read(token[:, None], caches, position), token

    carry = read(x, empty, 0)
    (logits, _), tokens = lax.scan(step, carry, jnp.arange(sizes["prompt"], length))
    return (logits, tokens.T), state


def cached_attention(p, x, cache, start):
    """x [B, T, D], cache: keys and values [B, H, S, d], those of x to be written at start."""
    batch, steps, dim = x.shape
    heads, length = cache[0].shape[1:3]
    q, k, v = (
        linear(p[name], x).reshape(batch, steps, heads, -1).swapaxes(1, 2)
        for name in ("query", "key", "value")
    )
    keys, values = (
        lax.dynamic_update_slice(old, new, (0, 0, start, 0))
        for old, new in zip(cache, (k, v), strict=True)
    )
    scores = jnp.einsum("bhtd,bhsd->bhts", q, keys) / np.sqrt(q.shape[-1]).astype(np.float32)
    seen = jnp.arange(length) <= start + jnp.arange(steps)[:, None]
    weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
    y = jnp.einsum("bhts,bhsd->bthd", weights, values)
    return linear(p["out"], y.reshape(batch, steps, dim)), (keys, values)


def unet(params, state, x, train, sizes):
    images, times = x
    groups, levels = sizes["groups"], range(len(sizes["features"]))
    t = linear(params["time"]["linear_0"], waves(times, sizes["features"][0]))
    t = jax.nn.silu(linear(params["time"]["linear_1"], jax.nn.silu(t)))

    h, skips = conv(params["stem"], images), []
    for i in levels:
        h = residual_block(params[f"down_{i}"], h, t, groups)
        skips.append(h)
        if i < levels[-1]:
            h = conv(params[f"shrink_{i}"], h, 2)
    h = residual_block(params["middle"], h, t, groups)
    for i in reversed(levels):
        h = residual_block(params[f"up_{i}"], jnp.concatenate([h, skips[i]], -1), t, groups)
        if i > 0:
            h = conv(params[f"grow_{i}"], doubled(h))
    return conv(params["head"], jax.nn.silu(group_norm(params["norm"], h, groups))), state


def residual_block(p, x, t, groups):
    h = conv(p["conv_0"], jax.nn.silu(group_norm(p["norm_0"], x, groups)))
    h = h + linear(p["time"], t)[:, None, None]
    h = conv(p["conv_1"], jax.nn.silu(group_norm(p["norm_1"], h, groups)))
    return h + (conv(p["shortcut"], x) if "shortcut" in p else x)


def group_norm(p, x, groups):
    h = x.reshape(*x.shape[:3], groups, -1)
    mean, var = h.mean((1, 2, 4), keepdims=True), h.var((1, 2, 4), keepdims=True)
    return ((h - mean) * lax.rsqrt(var + 1e-5)).reshape(x.shape) * p["scale"] + p["bias"]


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
