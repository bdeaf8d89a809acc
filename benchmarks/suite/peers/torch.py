"""PyTorch: modules, ``loss.backward()``, a fused Adam.

Two ways: ``eager``, and ``compile``, the same loop over ``torch.compile(model)``. Images come in
channels-last memory, as PyTorch's performance guide advises; the GPT has nanoGPT's fused linear
layer for query, key and value. PyTorch takes what GPU there is.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.suite.peers.layouts import bottlenecks, flat_image, out_first, out_last, tokens
from benchmarks.suite.peers.torch_unet import Unet
from benchmarks.suite.side import LEARNING_RATE, Side
from benchmarks.suite.workloads import loss as loss_of

LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
LSTM = {"kernel": "weight_ih_l0", "recurrent": "weight_hh_l0", "bias": "bias_ih_l0"}
HEADS = ("query", "key", "value")
LOSSES = {
    "cross_entropy": lambda y, labels: F.cross_entropy(y.flatten(0, -2), labels.flatten()),
    "squared_error": F.mse_loss,
}


def side(network, way, weights, batch, sizes, laps):
    torch.set_num_threads(os.cpu_count() or 1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model: Any = NETWORKS[network](sizes)
    load(model, weights, sizes)
    if network == "lstm":  # its second bias, which we do not have, stays zero
        model.lstm.bias_hh_l0.requires_grad_(False).zero_()
    model.to(device)
    if "image" in sizes:
        model.to(memory_format=torch.channels_last)
    inputs, labels = tensors(batch, device)
    # NHWC in memory as NCHW in shape is what PyTorch calls channels last
    alone = "image" in sizes and network != "unet"  # whose images come with times
    x: Any = inputs.permute(0, 3, 1, 2) if alone else inputs
    if not loss_of(network):
        return inference_side(model, way, x, device, laps)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    call = torch.compile(model) if way == "compile" else model
    laps.mark("init")

    def mode(train):
        if model.training != train:
            model.train(train)

    def backward():
        mode(True)
        optimizer.zero_grad(set_to_none=True)
        loss = LOSSES[loss_of(network)](call(x), labels)
        loss.backward()
        return loss

    def train():
        loss = backward()
        optimizer.step()
        return loss.detach()

    def infer():
        mode(False)
        with torch.no_grad():
            return call(x)

    def at_start(function):
        now = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(start)
        found = function()
        model.load_state_dict(now)
        return found

    def loss_and_gradients():
        loss = at_start(backward)
        if way == "compile":  # which the first call does, so the first step would not show it
            laps.mark("compile")
        return float(loss.detach()), gradients(model, weights, sizes)

    return Side(
        train=train,
        infer=infer,
        wait=lambda _: synchronize(device),
        outputs=lambda: at_start(infer).cpu().numpy(),
        loss_and_gradients=loss_and_gradients,
        parts=laps.parts,
    )


def inference_side(model, way, x, device, laps):
    """Nothing is trained.

    Raises: ValueError, for another way than eager.
    """
    if way != "eager":
        raise ValueError("decode: the loop over tokens is only written for eager PyTorch")
    infer = torch.inference_mode()(lambda: model(x))
    model.eval()
    laps.mark("init")
    return Side(
        infer=infer,
        wait=lambda _: synchronize(device),
        outputs=lambda: tuple(part.cpu().numpy() for part in infer()),
        parts=laps.parts,
    )


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def tensors(arrays, device) -> Any:
    """Of an array or a tuple of them; PyTorch counts in int64."""
    if isinstance(arrays, tuple):
        return tuple(tensors(array, device) for array in arrays)
    found = torch.as_tensor(arrays, device=device)
    return found if found.is_floating_point() else found.long()


def load(model, weights, sizes):
    found = dict(model.named_parameters())
    with torch.no_grad():
        for path, weight in weights.items():
            name, rows = place(path, len(weight.T))
            found[name][rows].copy_(torch.from_numpy(out_first(path, weight, sizes)))


def gradients(model, weights, sizes):
    found = {}
    theirs = dict(model.named_parameters())
    for path, weight in weights.items():
        name, rows = place(path, len(weight.T))
        grad = theirs[name].grad
        assert grad is not None
        found[path] = out_last(path, grad[rows].cpu().numpy(), weight.shape, sizes)
    return found


def place(path: str, features: int) -> tuple[str, slice]:
    """Of a parameter of ours: PyTorch's name, and which rows; query, key and value share one."""
    *parents, leaf = path.replace("/table/", "/").split("/")
    if parents[-1] in HEADS:
        first = HEADS.index(parents[-1]) * features
        return ".".join([*parents[:-1], "qkv", LEAVES[leaf]]), slice(first, first + features)
    names = LSTM if parents == ["lstm"] else LEAVES
    return ".".join([*parents, names[leaf]]), slice(None)


class Mlp(nn.Sequential):
    def __init__(self, widths, activation: Callable[[], nn.Module] = nn.ReLU):
        super().__init__()
        for i in range(len(widths) - 1):
            if i:
                self.add_module(f"activation_{i}", activation())
            self.add_module(f"linear_{i}", nn.Linear(*widths[i : i + 2]))


class Cnn(nn.Sequential):
    def __init__(self, sizes):
        super().__init__()
        height, width, channels = sizes["image"]
        for i, features in enumerate(sizes["features"]):
            self.add_module(f"conv_{i}", nn.Conv2d(channels, features, 5, padding=2))
            self.add_module(f"norm_{i}", nn.BatchNorm2d(features))
            self.add_module(f"relu_{i}", nn.ReLU())
            self.add_module(f"pool_{i}", nn.MaxPool2d(2))
            channels = features
        self.flatten = nn.Flatten()
        self.linear_0 = nn.Linear(int(np.prod(flat_image(sizes))), sizes["hidden"])
        self.relu = nn.ReLU()
        self.linear_1 = nn.Linear(sizes["hidden"], sizes["classes"])


def conv(inside, outside, kernel_size, stride=1):
    return nn.Conv2d(inside, outside, kernel_size, stride, kernel_size // 2, bias=False)


class Residual(nn.Module):
    """``relu(x + body(x))``; where the shapes differ, x goes through a 1x1 convolution."""

    def __init__(self, inside, outside, stride):
        super().__init__()
        self.changes = inside != outside
        if self.changes:
            self.shortcut = conv(inside, outside, 1, stride)
            self.shortcut_norm = nn.BatchNorm2d(outside)

    def body(self, x):
        raise NotImplementedError(type(self).__name__)

    def forward(self, x):
        h = self.body(x)
        if self.changes:
            x = self.shortcut_norm(self.shortcut(x))
        return F.relu(x + h)


class BasicBlock(Residual):
    def __init__(self, inside, outside, stride):
        super().__init__(inside, outside, stride)
        self.conv_0, self.norm_0 = conv(inside, outside, 3, stride), nn.BatchNorm2d(outside)
        self.conv_1, self.norm_1 = conv(outside, outside, 3), nn.BatchNorm2d(outside)

    def body(self, x):
        return self.norm_1(self.conv_1(F.relu(self.norm_0(self.conv_0(x)))))


class ResNet(nn.Sequential):
    def __init__(self, sizes):
        super().__init__()
        features = sizes["features"]
        self.stem = conv(sizes["image"][-1], features[0], 3)
        self.stem_norm = nn.BatchNorm2d(features[0])
        self.relu = nn.ReLU()
        for i in range(2 * len(features)):
            inside, outside = features[max(i - 1, 0) // 2], features[i // 2]
            stride = 2 if i % 2 == 0 and i > 0 else 1
            self.add_module(f"block_{i}", BasicBlock(inside, outside, stride))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(features[-1], sizes["classes"])


class Attention(nn.Module):
    def __init__(self, dim, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        batch, length, dim = x.shape
        parts = self.qkv(x).split(dim, 2)
        q, k, v = (y.view(batch, length, self.heads, -1).transpose(1, 2) for y in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).contiguous().view(batch, length, dim))


class Block(nn.Module):
    def __init__(self, dim, heads, causal=True):
        super().__init__()
        self.attn_norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, causal)
        self.mlp = Mlp((dim, 4 * dim, dim), lambda: nn.GELU(approximate="tanh"))

    def forward(self, x):
        x = x + self.attn(self.attn_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Gpt(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        dim = sizes["dim"]
        self.embed = nn.Embedding(sizes["vocabulary"], dim)
        self.positions = nn.Embedding(sizes["length"], dim)
        self.blocks = range(sizes["blocks"])
        for i in self.blocks:
            self.add_module(f"block_{i}", Block(dim, sizes["heads"]))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, sizes["vocabulary"])

    def forward(self, x):
        h = self.embed(x) + self.positions(torch.arange(x.shape[1], device=x.device))
        for i in self.blocks:
            h = self.get_submodule(f"block_{i}")(h)
        return self.head(self.norm(h))


class Lstm(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.lstm = nn.LSTM(sizes["features"], sizes["features"], batch_first=True)
        self.linear = nn.Linear(sizes["features"], sizes["classes"])

    def forward(self, x):
        return self.linear(self.lstm(x)[0][:, -1])


class Vit(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        dim, patch = sizes["dim"], sizes["patch"]
        self.patches = nn.Conv2d(sizes["image"][-1], dim, patch, patch)
        self.positions = nn.Embedding(tokens(sizes), dim)
        self.blocks = range(sizes["blocks"])
        for i in self.blocks:
            self.add_module(f"block_{i}", Block(dim, sizes["heads"], causal=False))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, sizes["classes"])

    def forward(self, x):
        h = self.patches(x).flatten(2).mT + self.positions.weight
        for i in self.blocks:
            h = self.get_submodule(f"block_{i}")(h)
        return self.head(self.norm(h).mean(1))


class Bottleneck(Residual):
    def __init__(self, inside, features, stride):
        outside = 4 * features
        super().__init__(inside, outside, stride)
        self.conv_0, self.norm_0 = conv(inside, features, 1), nn.BatchNorm2d(features)
        self.conv_1, self.norm_1 = conv(features, features, 3, stride), nn.BatchNorm2d(features)
        self.conv_2, self.norm_2 = conv(features, outside, 1), nn.BatchNorm2d(outside)

    def body(self, x):
        h = F.relu(self.norm_0(self.conv_0(x)))
        h = F.relu(self.norm_1(self.conv_1(h)))
        return self.norm_2(self.conv_2(h))


class ResNet50(nn.Sequential):
    def __init__(self, sizes):
        super().__init__()
        features = sizes["features"]
        self.stem = conv(sizes["image"][-1], features[0], 7, 2)
        self.stem_norm = nn.BatchNorm2d(features[0])
        self.relu = nn.ReLU()
        self.stem_pool = nn.MaxPool2d(3, 2, 1)
        for i, block in enumerate(bottlenecks(sizes)):
            self.add_module(f"block_{i}", Bottleneck(*block))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(4 * features[-1], sizes["classes"])


def convolve(linear, x, senders, receivers):
    """``D^(-1/2) (A + I) D^(-1/2) x W + b``: x [N, in] -> [N, out]."""
    x = F.linear(x, linear.weight)
    degree = x.new_ones(len(x)).index_add_(0, receivers, x.new_ones(len(receivers)))
    scale = degree.rsqrt()[:, None]
    x = scale * x
    return scale * x.index_add(0, receivers, x[senders]) + linear.bias


class Gcn(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        inside, hidden, classes = sizes["widths"]
        self.conv_0, self.conv_1 = nn.Linear(inside, hidden), nn.Linear(hidden, classes)

    def forward(self, x):
        nodes, *edges = x
        return convolve(self.conv_1, F.relu(convolve(self.conv_0, nodes, *edges)), *edges)


class Decoder(Gpt):
    """Writes on: a prompt [B, P] -> the logits of the last step [B, V] and the tokens [B, N]."""

    def __init__(self, sizes):
        super().__init__(sizes)
        self.length = sizes["length"]
        self.kept = sizes["heads"], self.length, sizes["dim"] // sizes["heads"]

    def forward(self, x):
        empty = lambda: self.embed.weight.new_empty(len(x), *self.kept)
        caches, tokens = [(empty(), empty()) for _ in self.blocks], []
        logits = self.read(x, caches, 0)
        for position in range(x.shape[1], self.length):
            tokens.append(logits.argmax(-1, keepdim=True))
            logits = self.read(tokens[-1], caches, position)
        return logits, torch.cat(tokens, 1)

    def read(self, ids, caches, start):
        """Ids [B, T] at the positions from start on; their keys and values go to the caches."""
        h = self.embed(ids) + self.positions.weight[start : start + ids.shape[1]]
        for i, cache in zip(self.blocks, caches, strict=True):
            block: Any = self.get_submodule(f"block_{i}")
            h = h + cached_attention(block.attn, block.attn_norm(h), cache, start)
            h = h + block.mlp(block.mlp_norm(h))
        return self.head(self.norm(h[:, -1]))


def cached_attention(attn, x, cache, start):
    """x [B, T, D], cache: keys and values [B, H, S, d], those of x to be written at start."""
    batch, steps, dim = x.shape
    keys, values = (kept[:, :, : start + steps] for kept in cache)
    parts = attn.qkv(x).split(dim, 2)
    q, k, v = (y.view(batch, steps, attn.heads, -1).transpose(1, 2) for y in parts)
    keys[:, :, start:], values[:, :, start:] = k, v
    y = F.scaled_dot_product_attention(q, keys, values, is_causal=start == 0)
    return attn.out(y.transpose(1, 2).reshape(batch, steps, dim))


NETWORKS = {
    "mlp": lambda sizes: Mlp(sizes["widths"]),
    "cnn": Cnn,
    "resnet": ResNet,
    "gpt": Gpt,
    "lstm": Lstm,
    "vit": Vit,
    "resnet50": ResNet50,
    "gcn": Gcn,
    "decode": Decoder,
    "unet": Unet,
}
