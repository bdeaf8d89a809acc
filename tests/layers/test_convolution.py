"""Convolutions: parity with float64 NumPy over 1 to 3 axes, every padding, gradients, bfloat16."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from nnjax.ops.lowering import compile_for
from tests.numerics import BFLOAT16, bf16, check_gradients, close, f64, moved, numbers


def np_pads(padding, size, reach, stride):
    """(before, after) of each axis, by trying amounts of padding until enough windows fit."""
    if padding == "VALID":
        return [(0, 0)] * len(size)
    if padding == "SAME":
        fits = lambda n, r, s, total: len(range(0, n + total - r + 1, s)) >= -(-n // s)
        totals = [
            next(t for t in itertools.count() if fits(n, r, s, t))
            for n, r, s in zip(size, reach, stride, strict=True)
        ]
        return [(t // 2, t - t // 2) for t in totals]
    if padding == "CAUSAL":
        return [(r - 1, 0) for r in reach]
    sides = [padding] * len(size) if isinstance(padding, int) else padding
    return [(p, p) if isinstance(p, int) else p for p in sides]


NP_MODES: dict[str, Any] = {"replicate": "edge", "circular": "wrap"}


def np_conv(params, x, stride, padding, dilation, groups, mode="constant"):
    """x [B, *spatial, in]: for each kernel position, a strided view of x times a matrix."""
    kernel = params["kernel"]
    size, (inside, out) = kernel.shape[:-2], kernel.shape[-2:]
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    pads = np_pads(padding, x.shape[1:-1], reach, stride)
    x = np.pad(x, [(0, 0), *pads, (0, 0)], NP_MODES.get(mode, mode))
    windows = zip(x.shape[1:-1], reach, stride, strict=True)
    y = np.zeros((len(x), *((n - r) // s + 1 for n, r, s in windows), out))
    for position in itertools.product(*map(range, size)):
        axes = zip(position, dilation, stride, y.shape[1:-1], strict=True)
        view = x[:, *(slice(p * d, p * d + (m - 1) * s + 1, s) for p, d, s, m in axes)]
        for g in range(groups):
            features = slice(g * inside, (g + 1) * inside)
            outputs = slice(g * out // groups, (g + 1) * out // groups)
            y[..., outputs] += view[..., features] @ kernel[position][:, outputs]
    return y + params.get("bias", 0.0)


CASES: dict[str, tuple[tuple[int, ...], Any, dict[str, Any]]] = {
    # name: (shape of x, kernel_size, options), with 4 features in and 6 out
    "3x3": ((5, 7), 3, {}),
    "1x1": ((4, 3), 1, {}),
    "even kernel": ((5, 6), (2, 4), {}),
    "no bias": ((5, 4), 3, {"bias": False}),
    "stride, odd size": ((7, 5), 3, {"stride": 2}),
    "stride over the kernel": ((8, 7), 2, {"stride": 3}),
    "valid": ((7, 6), (3, 2), {"stride": (2, 1), "padding": "VALID"}),
    "one padding": ((5, 5), 3, {"stride": 2, "padding": 2}),
    "padding by axis": ((5, 6), 3, {"padding": (0, 2)}),
    "padding by side": ((5, 6), 2, {"padding": ((0, 3), (2, 1)), "stride": 2}),
    "dilation": ((9, 8), 3, {"dilation": (2, 3)}),
    "dilation, stride": ((9, 10), (3, 2), {"dilation": 2, "stride": (3, 2)}),
    "groups": ((5, 4), 3, {"groups": 2}),
    "sequence": ((9,), (4,), {"stride": 2}),
    "sequence, dilation": ((9,), [3], {"dilation": 3, "padding": 1}),
    "sequence, causal": ((9,), (3,), {"dilation": 2, "padding": "CAUSAL"}),
    "causal, stride": ((6, 5), (3, 2), {"stride": 2, "padding": "CAUSAL"}),
    "reflect": ((5, 4), 3, {"padding_mode": "reflect"}),
    "reflect, as far as it goes": ((5, 3), 3, {"padding_mode": "reflect", "padding": (4, 2)}),
    "replicate, stride": ((4, 5), (2, 3), {"padding_mode": "replicate", "stride": 2, "padding": 3}),
    "circular, dilation": ((5, 6), 3, {"padding_mode": "circular", "dilation": 2}),
    "circular, causal": ((6,), (4,), {"padding_mode": "circular", "padding": "CAUSAL"}),
    "volume": ((3, 5, 4), (3, 2, 3), {"stride": (1, 2, 2)}),
    "volume, groups": ((3, 4, 3), (2, 2, 2), {"groups": 2, "padding": "VALID"}),
}


def reference(x, params, kernel_size, options):
    axes = 2 if isinstance(kernel_size, int) else len(kernel_size)
    every = lambda v: (v,) * axes if isinstance(v, int) else tuple(v)
    stride, dilation = every(options.get("stride", 1)), every(options.get("dilation", 1))
    padding, groups = options.get("padding", "SAME"), options.get("groups", 1)
    mode = options.get("padding_mode", "constant")
    return np_conv(params, x, stride, padding, dilation, groups, mode)


@pytest.mark.parametrize("case", CASES)
def test_parity(case):
    size, kernel_size, options = CASES[case]
    layer = nn.conv(4, 6, kernel_size, **options)
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(2, *size, 4)
    close(layer(params, x), reference(f64(x), f64(params), kernel_size, options))


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise(multiplier):
    layer = nn.depthwise_conv(4, 3, multiplier=multiplier)
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(2, 5, 4, 4)
    y = layer(params, x)
    assert params["kernel"].shape == (3, 3, 1, 4 * multiplier)
    for feature in range(4):  # each is a convolution of its own
        own = slice(feature * multiplier, (feature + 1) * multiplier)
        p = {"kernel": params["kernel"][..., own], "bias": params["bias"][own]}
        close(y[..., own], reference(f64(x)[..., [feature]], f64(p), 3, {}))


def test_separable_is_a_product_of_kernels():
    options: dict[str, Any] = {"stride": 2, "padding": "VALID", "dilation": 2}
    layer = nn.separable_conv(3, 5, (3, 2), multiplier=2, **options)
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(2, 7, 6, 3)
    depth, point = params["depthwise"]["kernel"], params["pointwise"]["kernel"][0, 0]
    joint = np.einsum("hwcm,cmo->hwco", f64(depth).reshape(3, 2, 3, 2), f64(point).reshape(3, 2, 5))
    want = reference(f64(x), {"kernel": joint}, (3, 2), options) + f64(params["pointwise"]["bias"])
    close(layer(params, x), want)
    assert jax.tree.map(jnp.shape, params) == {
        "depthwise": {"kernel": (3, 2, 1, 6)},
        "pointwise": {"kernel": (1, 1, 6, 5), "bias": (5,)},
    }
    assert nn.separable_conv(3, 5, (3,)).init(jax.random.key(0))[0]["pointwise"]["bias"].ndim == 1


def test_a_mask_takes_weights_out():
    mask = np.random.default_rng(0).random((3, 1, 4, 6)) > 0.5
    layer = nn.conv(4, 6, 3, mask=mask)
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(2, 5, 4, 4)
    masked = {"kernel": f64(params["kernel"]) * mask, "bias": f64(params["bias"])}
    close(layer(params, x), reference(f64(x), masked, 3, {}))


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize(
    "size, kernel_size, options",
    [
        ((4, 5), 3, {"colors": 3}),
        ((4, 5), (5, 3), {"colors": 1, "dilation": 2}),
        ((6,), (3,), {"colors": 3}),
    ],
    ids=["3x3", "dilated", "sequence"],
)
def test_a_masked_conv_sees_what_comes_before(size, kernel_size, options, centre):
    layer = nn.masked_conv(3, 6, kernel_size, centre=centre, **options)
    params = moved(layer.init(jax.random.key(0))[0])
    places, colors = int(np.prod(size)), options["colors"]
    jacobian = jax.jit(jax.jacobian(lambda x: layer(params, x)))(numbers(*size, 3))
    depends = np.asarray(jacobian).reshape(places, 6, places, 3) != 0
    order = lambda n: np.arange(places)[:, None] * colors + np.arange(n) * colors // n
    later, sooner = order(6)[:, :, None, None], order(3)[None, None]
    allowed = sooner <= later if centre else sooner < later
    assert not (depends & ~allowed).any()
    # the entry just before, at the place itself or to its left, is within every kernel's reach
    last = order(6)[-1, -1] - (0 if centre else 1)
    assert depends[-1, -1].reshape(-1)[order(3).reshape(-1) == last].all() or "dilation" in options


def np_conv_transpose(params, x, stride, before, size, dilation, groups):
    """x [B, *spatial, in]: every entry paints a kernel on a large canvas, of which size is kept."""
    kernel = params["kernel"]
    inside, out = kernel.shape[-2], kernel.shape[-1] // groups
    windows = zip(x.shape[1:-1], kernel.shape, stride, dilation, strict=False)
    full = [(n - 1) * s + (k - 1) * d + 1 for n, k, s, d in windows]
    canvas = np.zeros(
        (len(x), *(max(f, b + m) for f, b, m in zip(full, before, size, strict=True)), out * groups)
    )
    for place in np.ndindex(x.shape[1:-1]):
        for position in np.ndindex(kernel.shape[:-2]):
            at = tuple(
                i * s + k * d for i, s, k, d in zip(place, stride, position, dilation, strict=True)
            )
            for g in range(groups):
                entry = x[:, *place, g * inside : (g + 1) * inside]
                canvas[:, *at, g * out : (g + 1) * out] += (
                    entry @ kernel[position][:, g * out : (g + 1) * out]
                )
    kept = (slice(b, b + m) for b, m in zip(before, size, strict=True))
    return canvas[:, *kept] + params.get("bias", 0.0)


TRANSPOSED: dict[str, tuple[tuple[int, ...], Any, dict[str, Any], Any, Any]] = {
    # name: (shape of x, kernel_size, options, entries cut before, shape of y)
    "same": ((3, 4), 3, {}, (1, 1), (3, 4)),
    "same, stride": ((3, 4), (3, 4), {"stride": (2, 3)}, (0, 0), (6, 12)),
    "same, wide kernel": ((3, 2), (5, 4), {"stride": 2, "bias": False}, (1, 1), (6, 4)),
    "same, stride over the kernel": ((3, 2), 2, {"stride": 3}, (0, 0), (9, 6)),
    "valid": ((3, 4), (3, 2), {"stride": (2, 3), "padding": "VALID"}, (0, 0), (7, 12)),
    "valid, dilation": ((3, 2), 3, {"dilation": (2, 1), "padding": "VALID"}, (0, 0), (7, 4)),
    "padding": ((3, 4), 3, {"stride": 2, "padding": 1}, (1, 1), (5, 7)),
    "output padding": (
        (3, 4),
        3,
        {"stride": 2, "padding": (1, 0), "output_padding": (1, 0)},
        (1, 0),
        (6, 9),
    ),
    "padding beyond the kernel": ((6, 5), 2, {"padding": (2, 1)}, (2, 1), (3, 4)),
    "padding by side": ((3, 4), 3, {"padding": ((0, 2), (2, 1))}, (0, 2), (3, 3)),
    "groups": ((3, 2), 3, {"stride": 2, "groups": 2, "padding": 0}, (0, 0), (7, 5)),
    "sequence": (
        (4,),
        (4,),
        {"stride": 2, "padding": 1, "dilation": 2, "output_padding": 1},
        (1,),
        (12,),
    ),
    "volume": ((2, 3, 2), (2, 1, 3), {"stride": 2, "padding": 0}, (0, 0, 0), (4, 5, 5)),
}


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_parity(case):
    size, kernel_size, options, before, made = TRANSPOSED[case]
    layer = nn.conv_transpose(4, 6, kernel_size, **options)
    params, x = moved(layer.init(jax.random.key(0))[0]), numbers(2, *size, 4)
    every = lambda name: (v,) * len(size) if isinstance(v := options.get(name, 1), int) else v
    stride, dilation = every("stride"), every("dilation")
    want = np_conv_transpose(
        f64(params), f64(x), stride, before, made, dilation, options.get("groups", 1)
    )
    close(jax.jit(layer)(params, x), want)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("kernel_size, stride", [(3, 2), (5, 2), (2, 3), (4, 2)])
def test_transposed_shapes_are_jax_s(padding, kernel_size, stride):
    layer = nn.conv_transpose(2, 3, kernel_size, stride=stride, padding=padding, bias=False)
    params, x = moved(layer.init(jax.random.key(0))[0]), numbers(2, 4, 3, 2)

    @jax.jit
    def both(params, x):
        turned = jnp.flip(params["kernel"], (0, 1))
        return layer(params, x), jax.lax.conv_transpose(x, turned, (stride, stride), padding)

    ours, jaxs = both(params, x)
    close(ours, jaxs)


@pytest.mark.parametrize("padding", ["SAME", 1])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_is_the_transpose(padding, groups):
    options: dict[str, Any] = {"stride": 2, "padding": padding, "groups": groups, "bias": False}
    there = nn.conv(4, 6, (5, 4), **options)
    back = nn.conv_transpose(6, 4, (5, 4), **options, output_padding=(int(padding == 1), 0))
    kernel = moved(there.init(jax.random.key(0))[0])["kernel"]
    turned = kernel.reshape(5, 4, 4 // groups, groups, 6 // groups).transpose(0, 1, 4, 3, 2)
    x = numbers(1, 6, 8, 4)
    params = {"kernel": turned.reshape(5, 4, 6 // groups, 4)}

    @jax.jit
    def both(x):
        y, pull = jax.vjp(lambda x: there({"kernel": kernel}, x), x)
        return back(params, y), pull(y)[0]

    painted, transposed = both(x)
    close(painted, transposed, atol=1e-5)


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_transposed_any_number_of_batch_axes(batch):
    layer = nn.conv_transpose(2, 3, 3, stride=2)
    params, x = moved(layer.init(jax.random.key(0))[0]), numbers(*batch, 2, 3, 2)
    want = np_conv_transpose(
        f64(params), f64(x).reshape(-1, 2, 3, 2), (2, 2), (0, 0), (4, 6), (1, 1), 1
    )
    close(layer(params, x), want.reshape(*batch, 4, 6, 3))


def test_transposed_gradients():
    layer = nn.conv_transpose(2, 4, (3,), stride=2, groups=2, padding=1, output_padding=1)
    check_gradients(layer, moved(layer.init(jax.random.key(0))[0]), numbers(1, 3, 2))


@pytest.mark.parametrize("batch", [(), (0,), (2, 0), (2, 3)])
def test_any_number_of_batch_axes(batch):
    layer = nn.conv(2, 3, 3, stride=2)
    params = moved(layer.init(jax.random.key(0))[0])
    x = numbers(*batch, 5, 4, 2)
    y = reference(f64(x).reshape(-1, 5, 4, 2), f64(params), 3, {"stride": 2})
    close(layer(params, x), y.reshape(*batch, 3, 2, 3))


@pytest.mark.parametrize(
    "size, kernel_size, options",
    [
        ((4, 3), 2, {"stride": 2}),
        ((5,), (2,), {"groups": 2, "dilation": 2}),
        ((4,), (3,), {"padding_mode": "reflect"}),
    ],
    ids=["image", "sequence", "reflect"],
)
def test_gradients(size, kernel_size, options):
    layer = nn.conv(2, 2, kernel_size, **options)
    check_gradients(layer, moved(layer.init(jax.random.key(0))[0]), numbers(1, *size, 2))


def test_bfloat16_is_that_of_the_rounded_numbers():
    layer = nn.conv(16, 3, 3)
    params, x = bf16((moved(layer.init(jax.random.key(0))[0]), numbers(2, 4, 4, 16)))
    y = layer(params, x)
    assert y.dtype == jnp.bfloat16
    # 144 products add up; in float32, or the sum would be rounded as often
    close(y, reference(f64(x), f64(params), 3, {}), **BFLOAT16)


def test_the_bias_gradient_is_summed_in_float32():
    layer = nn.conv(1, 3, (1,))
    params, x = bf16((layer.init(jax.random.key(0))[0], numbers(2, 1000, 1)))
    weight = bf16(numbers(2, 1000, 3, mean=1.0))
    slope = jax.jit(jax.grad(lambda params: (layer(params, x) * weight).sum()))(params)["bias"]
    close(slope, f64(weight).sum((0, 1)), rtol=2.0**-8)


def test_starts_with_unit_gain_counted_over_the_receptive_field():
    params, _ = nn.conv(64, 32, 3, groups=2).init(jax.random.key(0))
    assert not params["bias"].any()
    np.testing.assert_allclose(np.std(params["kernel"]), (9 * 32) ** -0.5, rtol=0.03)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.conv(4, 6, 3, groups=3), "got groups=3, expected a divisor of both in_fea"),
        (lambda: nn.conv(4, 6, 3, stride=(1, 1, 1)), r"got stride=\(1, 1, 1\), expected 2 entries"),
        (lambda: nn.conv(4, 6, 0), "got kernel_size=0, expected at least 1"),
        (lambda: nn.conv(4, 6, (1,) * 4), r"kernel_size=\(1, 1, 1, 1\), expected one to three"),
        (lambda: nn.conv(4, 6, 3, dilation=1.5), "got dilation=1.5, expected an integer"),  # type: ignore
        (lambda: nn.conv(4, 6, 3, padding_mode="zeros"), "got padding_mode='zeros', expected one"),  # type: ignore
        (lambda: nn.conv(4, 6, 3, mask=np.ones((3, 3, 6, 4), bool)), "got mask of bool and shape"),
        (lambda: nn.conv(4, 6, 3, mask=np.ones(6)), "got mask of float64 .*, expected booleans"),
        (lambda: nn.masked_conv(4, 6, 2, centre=True), "got kernel_size=2, expected odd sizes"),
        (
            lambda: nn.masked_conv(4, 6, 3, centre=True, colors=4),
            "got colors=4, expected a divisor",
        ),
        (lambda: nn.conv_transpose(4, 6, 3, groups=4), "got groups=4, expected a divisor"),
        (lambda: nn.conv_transpose(4, 6, 3, output_padding=1), "output_padding=1, expected less"),
        (lambda: nn.conv_transpose(4, 6, 3, output_padding=-1), "got output_padding=-1, expected"),
        (lambda: nn.conv_transpose(4, 6, 3, padding="CAUSAL"), "got padding='CAUSAL', expected 'S"),
    ],
)
def test_messages(make, message):
    with pytest.raises((ValueError, TypeError), match=rf"conv.*\(4, 6, .*\): .*{message}"):
        make()


def test_padding_that_x_is_too_small_for_is_refused():
    layer = nn.conv(1, 1, 3, padding_mode="reflect", padding=2)
    with pytest.raises(ValueError, match=r"got x of spatial shape \(2, 5\), expected room for pad"):
        layer(layer.init(jax.random.key(0))[0], numbers(2, 5, 1))
    layer = nn.conv_transpose(1, 1, 3, padding=3)
    with pytest.raises(
        ValueError, match=r"got x of spatial shape \(4, 9\), expected more than pad"
    ):
        layer(layer.init(jax.random.key(0))[0], numbers(4, 9, 1))


def test_an_image_smaller_than_the_kernel_is_refused():
    layer = nn.conv(1, 1, 3, padding="VALID", dilation=2)
    message = r"got x of spatial shape \(4, 9\), expected room for a window of \(5, 5\)"
    with pytest.raises(ValueError, match=message):
        layer(layer.init(jax.random.key(0))[0], numbers(4, 9, 1))


def test_mixed_dtypes_are_refused():
    layer = nn.conv(1, 2, 3)
    params, _ = layer.init(jax.random.key(0))
    with pytest.raises(TypeError, match=r"got x of dtype bfloat16 and params of float32, expected"):
        layer(params, jnp.ones((4, 4, 1), jnp.bfloat16))


WAYS = [
    *(("halves", 6, 3, options) for options in ({}, {"stride": 2, "dilation": 2}, {"groups": 2})),
    *(("patches", 6, 3, options) for options in ({}, {"stride": 2, "dilation": 2})),
    ("patches", 6, 1, {"stride": (1, 2)}),
    ("patches", 6, 1, {"padding": 1}),
    ("patches", 6, (7, 3), {"stride": (7, 3), "padding": "VALID"}),
    ("patches", 6, (7, 2), {"stride": (7, 3), "padding": 0, "dilation": (1, 2)}),
    ("shifts", 4, (2, 3), {"groups": 4}),
    ("shifts", 4, (3, 2), {"groups": 4, "stride": 2, "dilation": 2}),
    ("shifts", 8, (2, 1), {"groups": 4, "padding": "VALID"}),
]


TRANSPOSED_WAYS = [
    *(("patches", 6, 3, {"stride": 2, **options}) for options in ({}, {"padding": "VALID"})),
    ("patches", 6, (3, 2), {"stride": (2, 3), "dilation": (2, 1), "padding": 1}),
    ("patches", 6, 3, {"stride": 3, "padding": 1, "output_padding": (2, 0)}),
    ("patches", 6, (2, 3), {"stride": (2, 3)}),  # side by side
]


@pytest.mark.parametrize("way, features, size, options", WAYS)
def test_every_way_is_the_same_convolution(way, features, size, options):
    are_the_same(nn.conv, way, features, size, options)


@pytest.mark.parametrize("way, features, size, options", TRANSPOSED_WAYS)
def test_every_way_is_the_same_transposed_convolution(way, features, size, options):
    are_the_same(nn.conv_transpose, way, features, size, options)


def are_the_same(make, way, features, size, options):
    x = numbers(4, 7, 6, 4)
    whole, other = (
        make(4, features, size, implementation=way, **options) for way in ("whole", way)
    )
    params, _ = whole.init(jax.random.key(0))
    run = lambda layer: jax.vjp(lambda p, x: layer(p, x), params, x)
    (y, pull), (y_other, pull_other) = run(whole), run(other)
    close(y_other, y)
    close(pull_other(y), pull(y))
    check_gradients(other, params, x, order=2)
    many = jax.tree.map(lambda a: jnp.stack([a, -2 * a]), params)
    close(jax.vmap(other, (0, None))(many, x), jax.vmap(whole, (0, None))(many, x))


def test_an_image_is_not_differentiated_for_nothing():
    layer, x = nn.conv(1, 8, 3, implementation="patches"), numbers(2, 8, 8, 1)
    params, _ = layer.init(jax.random.key(0))
    text = str(jax.make_jaxpr(jax.grad(lambda p: layer(p, x).sum()))(params))
    assert text.count("conv_general_dilated[") == 1 and "dot_general" in text


def test_shifts_sum_in_float32():
    layer = nn.conv(2, 2, 7, groups=2, implementation="shifts")
    x, dtype = 1 + numbers(2, 9, 9, 2), jnp.bfloat16
    params, _ = jax.tree.map(lambda a: a.astype(dtype), layer.init(jax.random.key(0)))
    y = layer(params, x.astype(dtype)).astype(jnp.float32)
    exact = layer(jax.tree.map(jnp.float32, params), x.astype(dtype).astype(jnp.float32))
    close(y, exact, rtol=2**-8)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"groups": 2, "implementation": "patches"}, "got groups=2 with implementation='patches'"),
        ({"groups": 2, "implementation": "shifts"}, "expected as many as in_features=4"),
    ],
)
def test_ways_that_do_not_fit_the_groups(options, message):
    with pytest.raises(ValueError, match=message):
        nn.conv(4, 4, 3, **options)
    if options["implementation"] == "patches":
        with pytest.raises(ValueError, match=message):
            nn.conv_transpose(4, 4, 3, **options)


def test_choices_on_a_cpu():
    def chosen(layer, shape, train=True):
        lines = nn.explain(layer, shape, train=train).splitlines()[2:]
        return [line.split()[-1] for line in lines]

    assert chosen(nn.conv(3, 64, 3), (8, 32, 32, 3)) == ["patches"]
    assert chosen(nn.conv(3, 64, 3), (8, 32, 32, 3), train=False) == ["whole"]
    assert chosen(nn.conv(256, 64, 1), (8, 32, 32, 256), train=False) == ["patches"]
    assert chosen(nn.conv(3, 64, 16, stride=16), (8, 32, 32, 3), train=False) == ["patches"]
    assert chosen(nn.conv(96, 96, 7, groups=96), (8, 32, 32, 96), train=False) == ["shifts"]
    assert chosen(nn.conv(96, 96, 9, groups=96), (8, 32, 32, 96)) == ["whole"]  # 81 slices
    assert chosen(nn.conv(4, 4, 3), (8, 8, 8, 4)) == ["whole"]  # too little work
    assert chosen(nn.conv_transpose(4, 4, 2, stride=2), (8, 8, 8, 4)) == ["patches"]
    assert chosen(nn.conv_transpose(4, 4, 3), (8, 8, 8, 4)) == ["whole"]
    with compile_for("gpu"):
        assert chosen(nn.conv(256, 64, 1), (8, 32, 32, 256)) == ["whole"]


def test_halves_of_an_odd_batch():
    layer = nn.conv(3, 4, 3, implementation="halves")
    params, _ = layer.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"conv\(3, 4, 3\): got a batch of 3 with implementation"):
        layer(params, jnp.ones((3, 6, 6, 3)))
    with pytest.raises(ValueError, match="got implementation='thirds', expected one of auto"):
        nn.conv(3, 4, 3, implementation="thirds")  # type: ignore
