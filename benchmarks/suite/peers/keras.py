"""Keras 3 on JAX: the functional API, ``compile``, ``train_on_batch`` and ``predict_on_batch``.

That is the documented loop over batches of one's own. Both calls take NumPy arrays, jit inside, and
wait for what they hand back, a loss that is a Python float and outputs that are NumPy's.
"""

from typing import Any

import jax
import keras
import numpy as np
from keras import layers, ops

from benchmarks.suite.peers.layouts import tokens
from benchmarks.suite.side import LEARNING_RATE, Side

RENAMED = {  # Keras's names of layers and leaves, and ours
    "attention_output": "out",
    "lstm/lstm_cell/recurrent_kernel": "lstm/recurrent",
    "lstm_cell/": "",
    "gamma": "scale",
    "beta": "bias",
    "embeddings": "embedding",
}


def side(network, way, weights, batch, sizes, laps):
    keras.utils.set_random_seed(0)
    model: Any = NETWORKS[network](sizes)
    for variable in model.trainable_variables:
        weight = weights[our_path(variable.path)]
        variable.assign(weight.reshape(variable.shape))  # heads have an axis of their own
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # optax's epsilon; Keras adds it before v's bias is corrected, so it weighs more in first steps
    model.compile(keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-8), loss)
    x, labels = batch
    trained = [np.asarray(variable) for variable in model.trainable_variables]
    others = [np.asarray(variable) for variable in model.non_trainable_variables]
    laps.mark("init")

    def objective(trained, others, x, labels):
        logits, _ = model.stateless_call(trained, others, x, training=True)
        return loss(labels, logits)

    def loss_and_gradients():
        value, grads = jax.jit(jax.value_and_grad(objective))(trained, others, x, labels)
        found = {}
        for variable, grad in zip(model.trainable_variables, grads, strict=True):
            path = our_path(variable.path)
            found[path] = np.asarray(grad).reshape(weights[path].shape)
        return float(value), found

    def outputs():
        return np.asarray(jax.jit(model.stateless_call)(trained, others, x)[0])

    return Side(
        train=lambda: model.train_on_batch(x, labels),
        infer=lambda: model.predict_on_batch(x),
        wait=lambda _: None,
        outputs=outputs,
        loss_and_gradients=loss_and_gradients,
        parts=laps.parts,
    )


def our_path(path: str) -> str:
    """A layer's name cannot have a slash: nnjax's paths have dots there."""
    path = path.replace(".", "/")
    for theirs, ours in RENAMED.items():
        path = path.replace(theirs, ours)
    return path


def mlp(sizes):
    _, *hidden, last = sizes["widths"]
    x = inputs = keras.Input(sizes["widths"][:1])
    for i, width in enumerate(hidden):
        x = layers.Dense(width, activation="relu", name=f"linear_{i}")(x)
    return keras.Model(inputs, layers.Dense(last, name=f"linear_{len(hidden)}")(x))


def batch_norm(name: str):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)


def cnn(sizes):
    x = inputs = keras.Input(sizes["image"])
    for i, features in enumerate(sizes["features"]):
        x = layers.Conv2D(features, 5, padding="same", name=f"conv_{i}")(x)
        x = layers.ReLU()(batch_norm(f"norm_{i}")(x))
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dense(sizes["hidden"], activation="relu", name="linear_0")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(sizes["classes"], name="linear_1")(x))


def conv(x, features: int, kernel_size: int, name: str, stride: int = 1):
    if stride > 1 and kernel_size > 1:  # "same" would pad the far edges only
        x = layers.ZeroPadding2D(kernel_size // 2)(x)
    padding = "same" if stride == 1 else "valid"
    return layers.Conv2D(features, kernel_size, stride, padding, use_bias=False, name=name)(x)


def basic_block(x, features: int, first: bool, name: str):
    stride = 2 if first else 1  # the first of a stage halves the image
    h = batch_norm(f"{name}.norm_0")(conv(x, features, 3, f"{name}.conv_0", stride))
    h = conv(layers.ReLU()(h), features, 3, f"{name}.conv_1")
    h = batch_norm(f"{name}.norm_1")(h)
    if first:
        x = conv(x, features, 1, f"{name}.shortcut", stride)
        x = batch_norm(f"{name}.shortcut_norm")(x)
    return layers.ReLU()(layers.Add()([x, h]))


def resnet(sizes):
    features = sizes["features"]
    inputs = keras.Input(sizes["image"])
    x = layers.ReLU()(batch_norm("stem_norm")(conv(inputs, features[0], 3, "stem")))
    for i in range(2 * len(features)):
        x = basic_block(x, features[i // 2], i % 2 == 0 and i > 0, f"block_{i}")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(sizes["classes"], name="linear")(x))


class Positions(layers.Layer):
    """Adds a learned table, as the layer of Keras's text generation example does."""

    def __init__(self, length: int, dim: int, name: str):
        super().__init__(name=name)
        self.table = layers.Embedding(length, dim, name="table")

    def call(self, x):
        return x + self.table(ops.arange(x.shape[1]))


def gelu(x):
    return keras.activations.gelu(x, approximate=True)


def block(x, dim: int, heads: int, name: str, causal: bool = True):
    h = layers.LayerNormalization(epsilon=1e-5, name=f"{name}.attn_norm")(x)
    attn = layers.MultiHeadAttention(heads, dim // heads, name=f"{name}.attn")
    x = layers.Add()([x, attn(h, h, use_causal_mask=causal)])
    h = layers.LayerNormalization(epsilon=1e-5, name=f"{name}.mlp_norm")(x)
    h = layers.Dense(4 * dim, activation=gelu, name=f"{name}.mlp.linear_0")(h)
    return layers.Add()([x, layers.Dense(dim, name=f"{name}.mlp.linear_1")(h)])


def gpt(sizes):
    dim, length = sizes["dim"], sizes["length"]
    inputs = keras.Input((length,), dtype="int32")
    x = layers.Embedding(sizes["vocabulary"], dim, name="embed")(inputs)
    x = Positions(length, dim, name="positions")(x)
    for i in range(sizes["blocks"]):
        x = block(x, dim, sizes["heads"], f"block_{i}")
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    return keras.Model(inputs, layers.Dense(sizes["vocabulary"], name="head")(x))


def lstm(sizes):
    inputs = keras.Input((sizes["length"], sizes["features"]))
    x = layers.LSTM(sizes["features"], name="lstm")(inputs)  # its last output
    return keras.Model(inputs, layers.Dense(sizes["classes"], name="linear")(x))


def vit(sizes):
    dim, patch = sizes["dim"], sizes["patch"]
    inputs = keras.Input(sizes["image"])
    x = layers.Conv2D(dim, patch, patch, name="patches")(inputs)
    x = layers.Reshape((tokens(sizes), dim))(x)
    x = Positions(tokens(sizes), dim, name="positions")(x)
    for i in range(sizes["blocks"]):
        x = block(x, dim, sizes["heads"], f"block_{i}", causal=False)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(sizes["classes"], name="head")(x))


NETWORKS = {"mlp": mlp, "cnn": cnn, "resnet": resnet, "gpt": gpt, "lstm": lstm}
NETWORKS |= {"vit": vit}
