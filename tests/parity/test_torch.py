"""Every layer and loss against PyTorch in float32: outputs, gradients of parameters and inputs.

PyTorch is no part of the default install, nor are these tests of the default run::

    pip install torch==2.13.0
    pytest -m parity

PyTorch's numbers become ours by one function a module, from its parameters to our tree. It only
moves axes, so it takes PyTorch's gradients to the tree of ours just as well.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from nnjax import losses

torch: Any = pytest.importorskip("torch", reason="needs `pip install torch==2.13.0`")

pytestmark = pytest.mark.parity


def value(parameter):
    return parameter.detach().numpy().copy()  # PyTorch updates in place


def gradient(parameter):
    return parameter.grad.numpy().copy()


def close(got, want, atol=1e-6):
    """To 1e-5 of the entry, or to atol of the largest entry of the array, if that is above one.

    An entry near zero is often a sum whose terms cancel: it is off by roundings (6e-8) of those
    terms, which are of the size of the other entries.
    """
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape and a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol * np.abs(b).max(initial=1))


def numbers(*shape, seed=0, mean=0.0):
    return np.random.default_rng(seed).normal(mean, 1, shape).astype(np.float32)


def randomize(module):
    """Parameters off zero and one, or one that goes unused would pass unseen."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return module


def no_params(of):
    return {}


def check(ours, theirs, *inputs, params=no_params, atol=1e-6):
    """``ours(params, *inputs)`` and ``theirs(*inputs)``: same outputs, same gradients.

    Outputs are trees of arrays; ``params(of)`` is our tree, of the ``of`` of PyTorch's parameters.
    """
    tensors = [torch.tensor(x, requires_grad=x.dtype == np.float32) for x in inputs]
    want = theirs(*tensors)
    cotangents = jax.tree.map(lambda z: numbers(*z.shape, seed=7), want)
    weigh = lambda z, cotangent: (z * torch.tensor(cotangent)).sum()
    total: Any = sum(jax.tree.leaves(jax.tree.map(weigh, want, cotangents)))
    total.backward()

    @jax.jit
    def run(params, inputs):
        floating = [x for x in inputs if x.dtype == jnp.float32]

        def f(params, floating):
            rest = iter(floating)
            return ours(params, *(next(rest) if x.dtype == jnp.float32 else x for x in inputs))

        y, pull = jax.vjp(f, params, floating)
        return y, *pull(cotangents)

    own = jax.tree.map(jnp.asarray, params(value))
    y, dparams, dinputs = run(own, [jnp.asarray(x) for x in inputs])
    close(y, jax.tree.map(value, want), atol)
    close(dparams, params(gradient), atol)
    close(dinputs, [gradient(t) for t in tensors if t.requires_grad], atol)


def channels_first(module, axes):
    """The module, on arrays whose channels come last."""
    there, back = (0, axes + 1, *range(1, axes + 1)), (0, *range(2, axes + 2), 1)
    return lambda x: module(x.permute(there)).permute(back)


def linear_params(module):
    def params(of):
        bias = {} if module.bias is None else {"bias": of(module.bias)}
        return {"kernel": of(module.weight).T, **bias}

    return params


def conv_params(module):
    def params(of):
        bias = {} if module.bias is None else {"bias": of(module.bias)}
        return {"kernel": np.moveaxis(of(module.weight), (0, 1), (-1, -2)), **bias}

    return params


def norm_params(module):
    return lambda of: {"scale": of(module.weight), "bias": of(module.bias)}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(4,), (5, 4), (2, 3, 4)])
def test_linear(shape, bias):
    theirs = randomize(torch.nn.Linear(4, 3, bias=bias))
    check(nn.linear(4, 3, bias=bias), theirs, numbers(*shape), params=linear_params(theirs))


@pytest.mark.parametrize("shape", [(), (5,), (3, 8)])
def test_embedding(shape):
    theirs = torch.nn.Embedding(7, 4)
    ids = np.random.default_rng(0).integers(0, 7, shape, np.int32)
    check(nn.embedding(7, 4), theirs, ids, params=lambda of: {"embedding": of(theirs.weight)})


ACTIVATIONS = {
    "relu": (jax.nn.relu, torch.nn.ReLU),
    "tanh": (jnp.tanh, torch.nn.Tanh),
    "gelu": (functools.partial(jax.nn.gelu, approximate=False), torch.nn.GELU),
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(4, 3), (4, 16, 3), (4, 16, 8, 3)])
def test_mlp(sizes, activation):
    ours, theirs = ACTIVATIONS[activation]
    layers = [randomize(torch.nn.Linear(*pair)) for pair in zip(sizes, sizes[1:], strict=False)]
    modules = [module for layer in layers for module in (layer, theirs())][:-1]
    check(
        nn.mlp(*sizes, activation=ours),
        torch.nn.Sequential(*modules),
        numbers(6, 4),
        params=lambda of: {f"linear_{i}": linear_params(m)(of) for i, m in enumerate(layers)},
    )


CONVOLUTIONS = [
    # (spatial shape, kernel_size, options that both sides understand)
    ((9,), (3,), {}),
    ((9,), (4,), {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}),
    ((5, 6), (3, 3), {}),
    ((5, 6), (3, 2), {"bias": False}),
    ((7, 8), (3, 3), {"stride": 2, "padding": 1}),
    ((7, 8), (2, 3), {"stride": (3, 1), "padding": (1, 2)}),
    ((9, 8), (3, 2), {"dilation": (2, 3), "padding": 2}),
    ((6, 5), (3, 3), {"groups": 4, "padding": 1}),
    ((6, 5), (5, 3), {"padding": "SAME"}),
    ((4, 5, 6), (3, 3, 3), {"padding": 1}),
    ((4, 5, 6), (1, 2, 3), {"stride": (1, 2, 2), "groups": 2}),
]


@pytest.mark.parametrize("size, kernel_size, options", CONVOLUTIONS)
def test_conv(size, kernel_size, options):
    axes = len(size)
    module = getattr(torch.nn, f"Conv{axes}d")
    padding = options.get("padding", 0)  # PyTorch's default
    theirs = {"padding": padding.lower() if isinstance(padding, str) else padding}
    theirs = randomize(module(4, 8, kernel_size, **{**options, **theirs}))
    check(
        nn.conv(4, 8, kernel_size, **{"padding": 0, **options}),
        channels_first(theirs, axes),
        numbers(2, *size, 4),
        params=conv_params(theirs),
    )


POOLS = [
    # (spatial shape, window, options that both sides understand)
    ((8,), (2,), {}),
    ((9,), (3,), {"stride": 2, "padding": 1}),
    ((6, 8), (2, 2), {}),
    ((7, 9), (2, 3), {}),
    ((7, 8), (3, 3), {"stride": 2, "padding": 1}),
    ((7, 8), (3, 2), {"stride": 1, "padding": (1, 0)}),
    ((7, 8), (2, 2), {"stride": 3}),
    ((4, 6, 5), (2, 2, 2), {}),
    ((4, 6, 5), (3, 2, 3), {"stride": 2, "padding": (1, 0, 1)}),
]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size, window, options", POOLS)
def test_max_pool(size, window, options, ties):
    theirs = getattr(torch.nn, f"MaxPool{len(size)}d")(window, **options)
    x = numbers(2, *size, 3, mean=-3.0)  # negative: padding with zeros would win
    x = np.round(x) if ties else x
    check(nn.max_pool(window, **options), channels_first(theirs, len(size)), x)


@pytest.mark.parametrize("size, window, options", POOLS)
def test_avg_pool(size, window, options):
    theirs = getattr(torch.nn, f"AvgPool{len(size)}d")(window, count_include_pad=False, **options)
    x = numbers(2, *size, 3, mean=2.0)
    check(nn.avg_pool(window, **options), channels_first(theirs, len(size)), x)


@pytest.mark.parametrize("size", [(7,), (5, 6), (3, 4, 5)])
def test_global_avg_pool(size):
    pool = channels_first(getattr(torch.nn, f"AdaptiveAvgPool{len(size)}d")(1), len(size))
    check(nn.global_avg_pool(len(size)), lambda x: pool(x).flatten(1), numbers(2, *size, 3))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_flatten(axes):
    check(nn.flatten(axes), torch.nn.Flatten(-axes), numbers(2, 3, 4, 5))


@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 3, 6)])
@pytest.mark.parametrize("mean, eps", [(0.0, 1e-5), (0.0, 1e-1), (10.0, 1e-5)])
def test_layer_norm(shape, mean, eps):
    theirs = randomize(torch.nn.LayerNorm(6, eps=eps))
    x = numbers(*shape, mean=mean)
    check(nn.layer_norm(6, eps=eps), theirs, x, params=norm_params(theirs))


@pytest.mark.parametrize("size", [(), (5,), (4, 3), (2, 3, 2)])
@pytest.mark.parametrize("eps, decay", [(1e-5, 0.9), (1e-2, 0.7)])
def test_batch_norm(size, eps, decay):
    axes = len(size)
    module = getattr(torch.nn, f"BatchNorm{max(axes, 1)}d")
    theirs = randomize(module(4, eps=eps, momentum=1 - decay))
    ours = nn.batch_norm(4, eps=eps, decay=decay)
    _, state = ours.init(jax.random.key(0))
    call = channels_first(theirs, axes) if size else theirs
    for step in range(3):
        x = numbers(8, *size, 4, seed=step, mean=step)
        theirs.zero_grad()
        train = functools.partial(ours, state=state, train=True)
        check(train, call, x, params=norm_params(theirs))
        _, state = ours.apply(norm_params(theirs)(value), state, jnp.asarray(x), train=True)
        close(state, {"mean": value(theirs.running_mean), "var": value(theirs.running_var)})
    theirs.eval().zero_grad()
    evaluate = functools.partial(ours, state=state)
    check(evaluate, call, numbers(3, *size, 4, seed=9), params=norm_params(theirs))


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_dropout_in_evaluation(rate):
    check(nn.dropout(rate), torch.nn.Dropout(rate).eval(), numbers(4, 5))


def attention_params(module):
    def part(of, index):
        size = slice(index * module.embed_dim, (index + 1) * module.embed_dim)
        bias = {} if module.in_proj_bias is None else {"bias": of(module.in_proj_bias)[size]}
        return {"kernel": of(module.in_proj_weight)[size].T, **bias}

    def params(of):
        parts = {name: part(of, index) for index, name in enumerate(("query", "key", "value"))}
        return {**parts, "out": linear_params(module.out_proj)(of)}

    return params


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("dim, heads, bias", [(8, 1, True), (8, 2, True), (12, 3, False)])
def test_attention(dim, heads, bias, cross, masked, causal):
    theirs = randomize(torch.nn.MultiheadAttention(dim, heads, bias=bias, batch_first=True))
    ours = nn.attention(dim, heads, bias=bias, causal=causal)
    queries, keys = 5, 6 if cross else 5
    # PyTorch marks what is hidden; the first key is seen, as its softmax over nothing is NaN
    hidden = np.arange(keys) >= np.array([[3], [keys], [1]])
    future = ~np.tri(queries, keys, dtype=bool)

    def call(x, context=None):
        context = x if context is None else context
        return theirs(
            x,
            context,
            context,
            key_padding_mask=torch.tensor(hidden) if masked else None,
            attn_mask=torch.tensor(future) if causal else None,
            need_weights=False,
        )[0]

    named = {"mask": jnp.asarray(~hidden[:, None, None, :])} if masked else {}
    inputs = [numbers(3, queries, dim)] + [numbers(3, keys, dim, seed=1)] * cross
    # the key's bias moves all scores of a query alike: its gradient is zero but for the roundings
    # of a sum over 15 queries and 6 keys
    params = attention_params(theirs)
    check(functools.partial(ours, **named), call, *inputs, params=params, atol=3e-6)


def lstm_params(module):
    def params(of):
        bias = of(module.bias_ih_l0)  # its gradient is that of either bias, and of their sum
        return {
            "kernel": of(module.weight_ih_l0).T,
            "recurrent": of(module.weight_hh_l0).T,
            "bias": bias + of(module.bias_hh_l0) if of is value else bias,
        }

    return params


@pytest.mark.parametrize("lengths", [None, [7, 1, 4, 6]])
@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("sizes", [(3, 5), (4, 1)])
def test_lstm(sizes, carried, lengths):
    theirs = randomize(torch.nn.LSTM(*sizes, batch_first=True))

    def call(x, *carry):
        carry = tuple(part[None] for part in carry) or None
        if lengths is None:
            y, carry = theirs(x, carry)
        else:
            packed = torch.nn.utils.rnn.pack_padded_sequence(
                x, lengths, batch_first=True, enforce_sorted=False
            )
            y, carry = theirs(packed, carry)
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
        return y, tuple(part[0] for part in carry)

    def ours(params, x, *carry):
        named: dict[str, Any] = {} if lengths is None else {"lengths": jnp.array(lengths)}
        return nn.lstm(*sizes)(params, x, carry=carry or None, **named)

    carry = [numbers(4, sizes[1], seed=1), numbers(4, sizes[1], seed=2)] * carried
    check(ours, call, numbers(4, 7, sizes[0]), *carry, params=lstm_params(theirs))


def test_a_small_convolutional_network():
    conv, norm = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4)
    head = torch.nn.Linear(3 * 4 * 4, 5)
    modules = [randomize(m) for m in (conv, norm)]
    body = torch.nn.Sequential(*modules, torch.nn.ReLU(), torch.nn.MaxPool2d(2))
    layers = nn.conv(3, 4, 3), nn.batch_norm(4), jax.nn.relu, nn.max_pool(2), nn.flatten()
    ours = nn.serial(*layers, nn.linear(3 * 4 * 4, 5))
    _, state = ours.init(jax.random.key(0))
    check(
        functools.partial(ours, state=state, train=True),
        lambda x: head(channels_first(body, 2)(x).flatten(1)),
        numbers(4, 6, 8, 3),
        params=lambda of: {
            "conv_0": conv_params(conv)(of),
            "batch_norm_0": norm_params(norm)(of),
            "linear_0": linear_params(head)(of),
        },
    )


def loss(function):
    """A loss as a layer without parameters."""
    return lambda params, *inputs: function(*inputs)


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5)])
@pytest.mark.parametrize("kind", ["integers", "probabilities"])
def test_softmax_cross_entropy(shape, kind, scale):
    rng = np.random.default_rng(0)
    labels = rng.dirichlet(np.ones(5), shape[:-1]).astype(np.float32)
    if kind == "integers":
        labels = rng.integers(0, 5, shape[:-1])
    module = torch.nn.CrossEntropyLoss(reduction="none")

    def theirs(logits, labels):  # PyTorch wants one batch axis
        flat = labels.reshape(-1) if kind == "integers" else labels.reshape(-1, 5)
        return module(logits.reshape(-1, 5), flat).reshape(shape[:-1])

    logits = np.float32(scale) * numbers(*shape)
    check(loss(losses.softmax_cross_entropy), theirs, logits, labels)


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("shape", [(), (5,), (4, 3)])
def test_sigmoid_binary_cross_entropy(shape, scale):
    labels = np.random.default_rng(0).random(shape, np.float32)
    labels = np.asarray(labels)
    logits = np.asarray(np.float32(scale) * numbers(*shape))
    theirs = torch.nn.BCEWithLogitsLoss(reduction="none")
    check(loss(losses.sigmoid_binary_cross_entropy), theirs, logits, labels)


@pytest.mark.parametrize("shape", [(), (5,), (4, 3)])
def test_squared_error(shape):
    theirs = torch.nn.MSELoss(reduction="none")
    inputs = [np.asarray(numbers(*shape, seed=seed)) for seed in (0, 1)]
    check(loss(losses.squared_error), theirs, *inputs)
