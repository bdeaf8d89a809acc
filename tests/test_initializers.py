"""Initializers: the values of jax.nn.initializers, dtypes, spread, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax as nn
from nnjax import initializers

KEY = jax.random.key(5)
NAMES = {
    "constant": (0.3,),
    "glorot_normal": (),
    "glorot_uniform": (),
    "he_normal": (),
    "he_uniform": (),
    "lecun_normal": (),
    "lecun_uniform": (),
    "normal": (0.02,),
    "orthogonal": (),
    "truncated_normal": (0.02,),
    "uniform": (0.05,),
}


def test_every_initializer_is_here():
    others = {
        "depth_scaled",
        "dirac",
        "draw",
        "fixup",
        "gain",
        "identity",
        "lsuv",
        "ones",
        "per_copy",
    }
    others |= {"delta_orthogonal", "reinitialize", "scaled", "siren", "sparse", "torch_default"}
    assert set(initializers.__all__) == {*NAMES, *others, "variance_scaling", "zeros"}


CONV = ("he_normal", "lecun_uniform", "orthogonal")  # one of each kind: JAX takes 2 s to compile


@pytest.mark.parametrize(
    "name, shape",
    [(name, shape) for name in NAMES for shape in [(1, 1), (9, 4)]]
    + [(name, (3, 2, 4, 6)) for name in CONV],
)
def test_values_are_those_of_jax(name, shape):
    got = getattr(initializers, name)(*NAMES[name])(KEY, shape)
    want = getattr(jax.nn.initializers, name)(*NAMES[name])(KEY, shape)
    assert got.dtype == want.dtype and got.shape == want.shape
    # the uniform ones scale before they shift, not after: an ulp at the limit, more near zero
    atol = 2e-7 * np.abs(want).max() if "uniform" in name else 0
    np.testing.assert_allclose(got, want, rtol=5e-7, atol=atol)  # some four roundings


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize("distribution", ["truncated_normal", "normal", "uniform"])
def test_variance_scaling_has_the_variance_it_names(mode, distribution):
    shape, fans = (3, 40, 100), {"fan_in": 120, "fan_out": 300, "fan_avg": 210}
    values = initializers.variance_scaling(2.0, mode, distribution)(KEY, shape)
    want = jax.nn.initializers.variance_scaling(2.0, mode, distribution)(KEY, shape)
    np.testing.assert_allclose(values, want, rtol=5e-7, atol=2e-7 * np.abs(want).max())
    # 12000 draws: their variance is off by sqrt(2 / 12000) = 1.3 %, their mean by a hundredth
    np.testing.assert_allclose(np.var(values), 2.0 / fans[mode], rtol=0.05)
    assert abs(np.mean(values)) < 0.04 * np.std(values)


@pytest.mark.parametrize("name", ["zeros", "ones"])
def test_zeros_and_ones(name):
    got = getattr(initializers, name)(KEY, (2, 3), jnp.bfloat16)
    assert got.dtype == jnp.bfloat16
    assert (np.asarray(got) == (name == "ones")).all()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"orthogonal"}))
def test_other_dtypes_are_the_float32_values_rounded(name):
    init = getattr(initializers, name)(*NAMES[name])
    half = init(KEY, (4, 6), jnp.bfloat16)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.asarray(half, np.float32), np.asarray(init(KEY, (4, 6))), rtol=2.0**-8
    )


@pytest.mark.parametrize("name", ["lecun_normal", "glorot_uniform"])
def test_jit_makes_the_same(name):
    init = getattr(initializers, name)()
    got = jax.jit(lambda key: init(key, (4, 6)))(KEY)
    np.testing.assert_allclose(got, init(KEY, (4, 6)), rtol=5e-7)


def test_draw_gives_each_entry_a_key_of_its_own():
    shapes = {"kernel": (4, 3), "bias": (3,)}
    got = initializers.draw(
        KEY, shapes, kernel=initializers.he_normal(), bias=initializers.normal()
    )
    assert {name: array.shape for name, array in got.items()} == shapes
    keys = [jax.random.fold_in(KEY, index) for index in range(2)]
    assert (got["kernel"] == initializers.he_normal()(keys[0], (4, 3))).all()
    assert (got["bias"] == initializers.normal()(keys[1], (3,))).all()


def test_messages():
    with pytest.raises(ValueError, match=r"got shape \(3,\), expected \[..., in, out\]"):
        initializers.lecun_normal()(KEY, (3,))
    with pytest.raises(ValueError, match="got mode 'fan', expected 'fan_in', 'fan_out' or 'fan_av"):
        initializers.variance_scaling(1.0, "fan", "normal")  # type: ignore
    with pytest.raises(ValueError, match="got distribution 'cauchy', expected 'truncated_normal'"):
        initializers.variance_scaling(1.0, "fan_in", "cauchy")  # type: ignore


def spread(values, deviation, limit=None):
    """Mean zero, this deviation, and the limit of a uniform distribution reached and kept."""
    values = np.asarray(values, np.float64)
    # n draws: the mean is off by deviation / sqrt(n), the deviation by a share of 1 / sqrt(2 n)
    assert abs(values.mean()) < 4 * deviation / values.size**0.5
    np.testing.assert_allclose(values.std(), deviation, rtol=4 / values.size**0.5)
    if limit is not None:
        assert 0.99 * limit < np.abs(values).max() <= limit


def test_torch_default():
    made = initializers.torch_default(3 * 3 * 64)
    kernel = nn.conv(64, 50, 3, **made).init(KEY)[0]
    limit = 576**-0.5
    spread(kernel["kernel"], limit / 3**0.5, limit)
    spread(made["bias_init"](KEY, (5000,)), limit / 3**0.5, limit)
    assert kernel["bias"].any()


def test_siren():
    spread(initializers.siren(first=True)(KEY, (200, 100)), 1 / 200 / 3**0.5, 1 / 200)
    limit = (6 / 200) ** 0.5 / 7.0
    spread(initializers.siren(7.0)(KEY, (200, 100)), limit / 3**0.5, limit)
    # what it is for: the sine's argument keeps deviation one, its value 1 / sqrt(2)
    layers = [nn.linear(200, 200, kernel_init=initializers.siren()) for _ in range(4)]
    x = jnp.sin(3 * jax.random.normal(KEY, (100, 200)))
    for i, layer in enumerate(layers):
        params, _ = layer.init(jax.random.key(i))
        x = nn.sine(layer(params, x))
    np.testing.assert_allclose(np.std(x), 0.5**0.5, rtol=0.15)


def test_depth_scaled_fixup_and_scaled():
    spread(initializers.depth_scaled(24)(KEY, (200, 100)), 0.02 / 24**0.5)
    spread(initializers.fixup(16)(KEY, (200, 100)), 16**-0.5 * (2 / 200) ** 0.5)
    spread(initializers.fixup(16, layers=3)(KEY, (200, 100)), 16**-0.25 * (2 / 200) ** 0.5)
    plain = initializers.glorot_normal()
    half = initializers.scaled(plain, 0.5)(KEY, (4, 3), jnp.bfloat16)
    np.testing.assert_array_equal(2 * half, plain(KEY, (4, 3), jnp.bfloat16))


def test_gain_is_what_keeps_the_deviation():
    x = np.random.default_rng(0).normal(size=1_000_000)
    for name, function in (("relu", nn.relu), ("leaky_relu", nn.leaky_relu)):
        kept = (
            initializers.gain(name) ** 2 * np.square(function(jnp.asarray(x, jnp.float32))).mean()
        )
        np.testing.assert_allclose(kept, 1, rtol=0.01)
    assert [initializers.gain(n) for n in ("linear", "tanh", "selu")] == [1, 5 / 3, 0.75]
    assert initializers.gain("leaky_relu", 1.0) == 1


def test_identity_and_dirac():
    np.testing.assert_array_equal(initializers.identity(2.0)(KEY, (2, 3)), 2 * np.eye(2, 3))
    x = jax.random.normal(KEY, (7, 8, 6))
    same = nn.conv(6, 6, 3, kernel_init=initializers.dirac())
    np.testing.assert_array_equal(same(same.init(KEY)[0], x), x)
    kernel = np.asarray(initializers.dirac(groups=2)(KEY, (3, 4, 6)))
    want = np.zeros((3, 4, 6))
    for group in (0, 3):
        for channel in range(3):
            want[1, channel, group + channel] = 1
    np.testing.assert_array_equal(kernel, want)


def test_sparse():
    kernel = np.asarray(initializers.sparse(0.25, stddev=2.0)(KEY, (50, 400)))
    assert ((kernel == 0).sum(0) == 13).all()  # 12.5, rounded up
    spread(kernel[kernel != 0], 2.0)
    assert len(set(map(tuple, (kernel == 0).T))) > 390  # each unit its own


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 3, 4, 6)])
def test_orthogonality(shape):
    delta = len(shape) == 4
    init = initializers.delta_orthogonal() if delta else initializers.orthogonal()
    kernel = np.asarray(init(KEY, shape))
    if delta:
        norms = np.square(kernel).sum((-1, -2))
        assert (norms > 0).sum() == 1 and norms[1, 1] > 0
        kernel = kernel[1, 1]
    short = kernel if kernel.shape[0] < kernel.shape[1] else kernel.T
    np.testing.assert_allclose(short @ short.T, np.eye(len(short)), atol=1e-5)


def test_per_copy_draws_each_copy_alone():
    init = initializers.per_copy(initializers.he_normal())
    stacked = init(KEY, (3, 40, 50))
    spread(stacked, (2 / 40) ** 0.5)
    assert not (stacked[0] == stacked[1]).any()


MODEL = nn.serial(nn.linear(4, 5), nn.relu, nn.linear(5, 3), head=nn.linear(3, 2))


def test_reinitialize_by_path():
    params, _ = MODEL.init(KEY)
    rules = {"head/kernel": initializers.zeros, "**/kernel": initializers.normal(3.0)}
    new = initializers.reinitialize(params, jax.random.key(1), rules)
    assert jax.tree.structure(new) == jax.tree.structure(params)
    assert not new["head"]["kernel"].any() and new["linear_0"]["bias"] is params["linear_0"]["bias"]
    kernels = np.concatenate([new[f"linear_{i}"]["kernel"].ravel() for i in (0, 1)])
    assert 2 < kernels.std() < 4 and len(np.unique(kernels)) == 35
    half = initializers.reinitialize(
        {"w": jnp.zeros(3, jnp.bfloat16)}, KEY, {"w": initializers.ones}
    )
    assert half["w"].dtype == jnp.bfloat16 and half["w"].all()
    with pytest.raises(
        ValueError, match="reinitialize: got 'tail', which match no array first, exp"
    ):
        initializers.reinitialize(params, KEY, {"tail": initializers.ones})
    with pytest.raises(ValueError, match="got 'head/bias', which match no array first"):
        rules = {"**": initializers.ones, "head/bias": initializers.ones}
        initializers.reinitialize(params, KEY, rules)


def test_lsuv_gives_each_layer_unit_variance():
    model = nn.serial(nn.linear(3, 6), nn.relu, nn.linear(6, 4))
    params, _ = model.init(KEY)
    x = 5 * jax.random.normal(KEY, (50, 3)) + 2
    new = initializers.lsuv(model, params, x)
    first = x @ new["linear_0"]["kernel"]
    np.testing.assert_allclose(np.std(first), 1, atol=2e-3)
    np.testing.assert_allclose(np.std(model(new, x)), 1, atol=2e-3)
    ratio = new["linear_1"]["kernel"] / params["linear_1"]["kernel"]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
    lone = nn.linear(3, 6)
    new = initializers.lsuv(lone, lone.init(KEY)[0], x)
    np.testing.assert_allclose(np.std(lone(new, x)), 1, atol=2e-3)


def test_lsuv_measures_a_shared_layer_once_and_refuses_a_scan():
    shared = nn.compose(lambda net, x: net.a(net.a(x)), a=nn.linear(3, 3))
    x = jax.random.normal(KEY, (50, 3))
    new = initializers.lsuv(shared, shared.init(KEY)[0], x)
    np.testing.assert_allclose(np.std(x @ new["a"]["kernel"]), 1, atol=2e-3)
    blocks = nn.repeat(nn.linear(3, 3), 2)
    with pytest.raises(ValueError, match="lsuv: got linear.*being traced. Call lsuv outside jit"):
        initializers.lsuv(blocks, blocks.init(KEY)[0], x)


def test_more_messages():
    with pytest.raises(ValueError, match="got nonlinearity 'swish', expected one of"):
        initializers.gain("swish")
    with pytest.raises(ValueError, match=r"got shape \(3, 2, 2\), expected \[in, out\]; dirac"):
        initializers.identity()(KEY, (3, 2, 2))
    with pytest.raises(
        ValueError, match=r"got shape \(3, 2\), expected \[\*kernel_size, in, out\]"
    ):
        initializers.dirac()(KEY, (3, 2))
    with pytest.raises(ValueError, match="got sparsity 2, expected a share"):
        initializers.sparse(2)
    with pytest.raises(ValueError, match=r"got shape \(3,\), expected \[in, out\]"):
        initializers.sparse(0.5)(KEY, (3,))
    with pytest.raises(ValueError, match="got layers=1, expected 2 or more"):
        initializers.fixup(4, layers=1)


@pytest.mark.parity
def test_bounds_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="needs `pip install torch==2.13.0`")
    torch.manual_seed(0)
    theirs = torch.nn.Linear(300, 200)
    limit = [p.detach().abs().max().item() for p in theirs.parameters()]
    made = nn.linear(300, 200, **initializers.torch_default(300)).init(KEY)[0]
    np.testing.assert_allclose(np.abs(made["kernel"]).max(), limit[0], rtol=1e-3)
    np.testing.assert_allclose(np.abs(made["bias"]).max(), limit[1], rtol=0.05)
    for name in ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        want = torch.nn.init.calculate_gain(name)
        np.testing.assert_allclose(initializers.gain(name), want, rtol=1e-12)
    for groups, shape in ((1, (5, 4, 3)), (2, (6, 2, 3, 3))):  # [out, in / groups, *kernel_size]
        want = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
        got = initializers.dirac(groups)(KEY, (*shape[2:], shape[1], shape[0]))
        np.testing.assert_array_equal(np.moveaxis(np.asarray(got), (-1, -2), (0, 1)), want)
    want = torch.nn.init.kaiming_uniform_(torch.empty(200, 300), nonlinearity="relu").abs().max()
    got = np.abs(initializers.variance_scaling(2.0, "fan_in", "uniform")(KEY, (300, 200))).max()
    np.testing.assert_allclose(got, float(want), rtol=1e-3)
