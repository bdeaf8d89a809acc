"""Our weights in the layouts that several peers share, and their gradients back in ours."""

import numpy as np


def out_first(path, weight, sizes):
    """A kernel of ours as Equinox and PyTorch keep it: out features first, images C, H, W."""
    if path.endswith("embedding") or weight.ndim == 1:
        return weight
    if _reads_image(path, sizes):  # its rows are H, W, C here
        weight = weight.reshape(*flat_image(sizes), -1).transpose(2, 0, 1, 3)
        weight = weight.reshape(-1, weight.shape[-1])
    return weight.transpose(3, 2, 0, 1) if weight.ndim == 4 else weight.T


def out_last(path, grad, shape, sizes):
    """Undo ``out_first`` for the gradient of a weight that has ``shape`` here."""
    if path.endswith("embedding") or len(shape) == 1:
        return grad.reshape(shape)
    if _reads_image(path, sizes):
        height, width, channels = flat_image(sizes)
        grad = grad.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        return grad.reshape(len(grad), -1).T
    return grad.transpose(2, 3, 1, 0) if grad.ndim == 4 else grad.T


def flat_image(sizes) -> tuple[int, int, int]:
    """Height, width and channels of what the CNN's first linear layer reads."""
    shrunk = 2 ** len(sizes["features"])
    height, width, _ = sizes["image"]
    return height // shrunk, width // shrunk, sizes["features"][-1]


def _reads_image(path, sizes):
    return path == "linear_0/kernel" and "hidden" in sizes


def tokens(sizes) -> int:
    """Patches that an image of ViT's is cut into."""
    height, width, _ = sizes["image"]
    return (height // sizes["patch"]) * (width // sizes["patch"])


def bottlenecks(sizes) -> list[tuple[int, int, int]]:
    """Of ResNet-50's blocks: features of the input and of the 3x3 convolution, and its stride."""
    inside, found = sizes["features"][0], []
    for features, depth in zip(sizes["features"], sizes["depths"], strict=True):
        for i in range(depth):
            found.append((inside, features, 2 if i == 0 and found else 1))
            inside = 4 * features
    return found


def frequencies(dim: int) -> np.ndarray:
    """Of the sines and cosines that embed a time in dim features, as in DDPM: [dim / 2]."""
    return np.float32(1e4) ** -np.linspace(0, 1, dim // 2, dtype=np.float32)


def one_kernel(weights, place):
    """Our LSTM as Haiku and blox keep it: one kernel for input and state, at the path ``place``."""
    kernel = np.concatenate([weights["lstm/kernel"], weights["lstm/recurrent"]])
    bias = swap_gates(weights["lstm/bias"])
    return weights | {f"{place}/kernel": swap_gates(kernel), f"{place}/bias": bias}


def two_kernels(found, place):
    """Undo ``one_kernel``."""
    found = dict(found)
    kernel = swap_gates(found.pop(f"{place}/kernel"))
    found["lstm/kernel"], found["lstm/recurrent"] = np.split(kernel, 2)
    return found | {"lstm/bias": swap_gates(found.pop(f"{place}/bias"))}


def swap_gates(array):
    """From our order i, f, g, o to i, g, f, o, and back."""
    i, second, third, o = np.split(np.asarray(array), 4, -1)
    return np.concatenate([i, third, second, o], -1)
