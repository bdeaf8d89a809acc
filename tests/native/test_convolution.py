import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from nnjax.core.stacked import COSTLY
from nnjax.native import convolution as native
from nnjax.ops import convolution
from tests.numerics import close, numbers

pytestmark = pytest.mark.usefixtures("kernels")

WINDOWS = [
    (6, 3, {}),
    (33, 3, {"stride": 2, "dilation": 2}),
    (6, (3,), {"stride": 3, "dilation": 2, "padding": 4}),
    (49, (2, 5), {"stride": (1, 3), "padding": ((0, 3), (4, 1))}),
    (6, (1, 2), {"stride": (3, 2), "padding": "VALID"}),  # of the places between, no gradient
]
PAINTINGS = [
    (6, 3, {"stride": 2}),
    (33, (3, 2), {"stride": (2, 3), "dilation": (2, 1), "padding": 1}),
    (6, 2, {"stride": 3, "padding": "VALID", "output_padding": 1}),
    (6, (4,), {"padding": ((0, 2),)}),
]


@pytest.mark.parametrize("features, size, options", WINDOWS)
def test_it_is_the_same_convolution(features, size, options):
    are_the_same(nn.conv, features, size, options)


@pytest.mark.parametrize("features, size, options", PAINTINGS)
def test_it_is_the_same_transposed_convolution(features, size, options):
    are_the_same(nn.conv_transpose, features, size, options)


def are_the_same(make, features, size, options):
    """Values, both derivatives, forward mode, and the derivatives of derivatives."""
    layers = [make(4, features, size, implementation=way, **options) for way in ("native", "whole")]
    x = numbers(4, 11, 4) if size in ((3,), (4,)) else numbers(4, 7, 6, 4)
    at = layers[0].init(jax.random.key(0))[0], x
    sine = lambda layer: lambda p, x: jnp.sin(layer(p, x)).sum()
    slopes = lambda layer: jax.grad(sine(layer), (0, 1))
    curve = lambda layer: (
        lambda p, x: 1e-3 * sum(jnp.vdot(v, v) for v in jax.tree.leaves(slopes(layer)(p, x)))
    )
    for of in (
        lambda layer: layer(*at),
        lambda layer: slopes(layer)(*at),
        lambda layer: jax.jvp(layer, at, at),
        lambda layer: jax.jvp(slopes(layer), at, at),
        lambda layer: jax.grad(curve(layer), (0, 1))(*at),
        lambda layer: jax.vmap(layer, (0, None))(
            jax.tree.map(lambda a: jnp.stack([a, -a]), at[0]), x
        ),
    ):
        close(*map(of, layers), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3, 13, 31, 256])
@pytest.mark.parametrize("batch, width", [(1, 40), (3, 15), (20, 4), (33, 1)])
def test_all_tiles_fit_together(channels, batch, width):
    x, g = numbers(batch, 6, width, channels), numbers(batch, 6, width, 37)
    kernel = numbers(3, 5, channels, 37)
    options = dict(stride=(1, 1), dilation=(1, 1))
    by_c = lambda x, k: native.conv(x, k, pads=((1, 1), (2, 2)), **options)
    exact = lambda x, k: jax.lax.conv_general_dilated(
        x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    (y, pull), (y_exact, pull_exact) = jax.vjp(by_c, x, kernel), jax.vjp(exact, x, kernel)
    close(y, y_exact, rtol=1e-5, atol=1e-3)
    for ours, theirs in zip(pull(g), pull_exact(g), strict=True):
        close(ours, theirs, rtol=1e-5, atol=1e-3)


def test_a_large_mean_is_not_lost():
    """The kernel's derivative sums 50,000 products: in float32, but no long chain of them."""
    x, g = 100 + numbers(64, 28, 28, 3), 1 + numbers(64, 28, 28, 8)
    kernel = jnp.zeros((3, 3, 3, 8))
    by_c = lambda k: native.conv(x, k, stride=(1, 1), pads=((1, 1), (1, 1)), dilation=(1, 1))
    (ours,) = jax.vjp(by_c, kernel)[1](g)
    wide, padded = (
        np.asarray(g, np.float64),
        np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0))),
    )
    exact = [
        np.einsum("bhwi,bhwo->io", padded[:, i : i + 28, j : j + 28], wide)
        for i, j in itertools.product(range(3), repeat=2)
    ]
    close(ours.reshape(9, 3, 8), np.stack(exact), rtol=1e-5)


def test_narrow_floats_are_summed_in_float32():
    layer = nn.conv(40, 8, 5, implementation="native")
    x, dtype = 1 + numbers(2, 9, 9, 40), jnp.bfloat16
    params, _ = jax.tree.map(lambda a: a.astype(dtype), layer.init(jax.random.key(0)))
    y = layer(params, x.astype(dtype))
    exact = layer(jax.tree.map(jnp.float32, params), x.astype(dtype).astype(jnp.float32))
    assert y.dtype == dtype
    close(y.astype(jnp.float32), exact, rtol=2**-8)


def test_gradients_of_each_example():
    layers = [nn.conv(3, 5, 3, implementation=way) for way in ("native", "whole")]
    params, x = layers[0].init(jax.random.key(0))[0], numbers(4, 7, 6, 3)
    loss = lambda layer: lambda p, x: jnp.sin(layer(p, x)).sum()
    ours, theirs = (jax.vmap(jax.grad(loss(layer)), (None, 0))(params, x) for layer in layers)
    close(ours, theirs, rtol=1e-5, atol=1e-5)  # of sums of 42 entries
    towers = [jax.vmap(lambda p, f=layer: f(p, x)) for layer in layers]
    many = jax.vmap(layers[0].init)(jax.random.split(jax.random.key(1), 3))[0]
    close(towers[0](many), towers[1](many))


def test_no_images_at_all():
    layer = nn.conv(3, 5, 3, implementation="native")
    params, _ = layer.init(jax.random.key(0))
    x = jnp.zeros((0, 7, 6, 3))
    grads = jax.grad(lambda p, x: layer(p, x).sum(), (0, 1))(params, x)
    assert layer(params, x).shape == (0, 7, 6, 5) and grads[1].shape == x.shape
    assert not grads[0]["kernel"].any()


def test_what_is_costly_is_stored():
    assert native.NAME in COSTLY


def test_many_calls_at_once():
    """Calls that run side by side share the threads and wait for one another's."""
    layer = nn.conv(8, 8, 3, implementation="native")
    params, x = layer.init(jax.random.key(0))[0], numbers(4, 12, 12, 8)

    @jax.jit
    def both(x):
        branches = [layer(params, x + i) for i in range(16)]
        return sum(jnp.tanh(y).sum() for y in branches)

    expected = both(x)
    for _ in range(20):
        np.testing.assert_array_equal(both(x), expected)


def test_what_auto_takes(monkeypatch):
    monkeypatch.setattr(convolution, "one_cpu", lambda: True)

    def chosen(layer, shape, train=True):
        return nn.explain(layer, shape, train=train).split()[-1]

    for train in (True, False):
        assert chosen(nn.conv(3, 64, 3), (8, 32, 32, 3), train) == "native"
        assert chosen(nn.conv(3, 4, (3,)), (8, 32, 3), train) == "native"
        assert chosen(nn.conv_transpose(3, 4, 3), (8, 32, 32, 3), train) == "native"
        assert chosen(nn.conv(3, 64, 1), (8, 32, 32, 3), train) == "patches"
        assert chosen(nn.conv(3, 64, (3, 3, 3)), (8, 9, 9, 9, 3), train) != "native"
        assert chosen(nn.conv(4, 4, 3, groups=2), (8, 32, 32, 4), train) == "whole"
    mesh, spec = jax.make_mesh((1,), ("devices",)), jax.sharding.PartitionSpec()
    inside = jax.shard_map(nn.conv(3, 4, 3), mesh=mesh, in_specs=spec, out_specs=spec)
    params, _ = nn.conv(3, 4, 3).init(jax.random.key(0))
    assert "native_conv" not in str(jax.make_jaxpr(inside)(params, jnp.ones((2, 8, 8, 3))))


def test_what_it_does_not_take(monkeypatch):
    for make in (nn.conv, nn.conv_transpose):
        with pytest.raises(ValueError, match="got groups=2 with implementation='native'"):
            make(4, 4, 3, groups=2, implementation="native")
        with pytest.raises(ValueError, match="got 3 spatial axes with implementation='native'"):
            make(4, 4, (3, 3, 3), implementation="native")
        layer = make(3, 4, 3, implementation="native")
        with jax.enable_x64(True):
            params, _ = jax.tree.map(np.float64, layer.init(jax.random.key(0)))
            with pytest.raises(ValueError, match=r"got x of float64 with implementation='native'"):
                layer(params, np.ones((1, 5, 5, 3)))
        monkeypatch.setattr(native, "built", lambda: False)
        params, _ = layer.init(jax.random.key(0))
        with pytest.raises(ValueError, match=r"after a call of nnjax\.native\.build\(\)\. Call"):
            layer(params, jnp.ones((1, 5, 5, 3)))
        monkeypatch.undo()
