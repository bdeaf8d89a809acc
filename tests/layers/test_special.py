"""Capsules, Hopfield layers, quantizers, splines, radial bases, couplings: float64 references."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BSpline
from scipy.special import logsumexp, softmax
from sklearn.metrics.pairwise import rbf_kernel

import nnjax as nn
from nnjax.ops.hopfield import energy, retrieve
from tests.numerics import bf16, check_gradients, close, f64, moved, numbers


def trees(layer):
    params, state = layer.init(jax.random.key(0))
    return moved(params), state


# Capsules


def np_squash(x):
    square = (x**2).sum(-1, keepdims=True)
    norm = np.sqrt(square)
    return square / (1 + square) * np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)


def np_capsule(params, x, iterations):
    """One example, x [I, d]: a loop over pairs of capsules."""
    kernel = params["kernel"]
    inputs, outputs = kernel.shape[:2]
    votes = np.zeros((*kernel.shape[:2], kernel.shape[-1]))
    for i in range(inputs):
        for j in range(outputs):
            votes[i, j] = x[i] @ kernel[i, j]
    b, v = np.zeros((inputs, outputs)), np.zeros(())
    for _ in range(iterations):
        c = softmax(b, axis=1)
        v = np_squash(np.stack([c[:, j] @ votes[:, j] for j in range(outputs)]))
        b = b + np.einsum("ijd,jd->ij", votes, v)
    return v


@pytest.mark.parametrize("iterations, scale", [(1, 1.0), (3, 1.0), (3, 30.0)])
def test_capsule(iterations, scale):
    layer = nn.capsule(5, 3, 2, 4, iterations=iterations)
    params, _ = trees(layer)
    x = numbers(2, 3, 5, 3, scale=scale)
    want = [np_capsule(f64(params), row, iterations) for row in f64(x).reshape(6, 5, 3)]
    y = jax.jit(layer)(params, x)
    close(y, np.reshape(want, (2, 3, 2, 4)), rtol=1e-4, atol=1e-5)  # agreements add up in softmax
    assert (jnp.linalg.norm(y, axis=-1) < 1).all()


def test_squash_at_zero_and_far_out():
    x = jnp.array([[0.0, 0.0], [3e-8, 0.0], [3.0, -4.0], [1e9, 1e9]])
    y, slopes = jax.jit(lambda x: (nn.squash(x), jax.jacobian(nn.squash)(x)))(x)
    close(y, np_squash(f64(x)))
    assert bool(jnp.isfinite(slopes).all()) and not slopes[0].any()


@pytest.mark.slow
def test_capsule_gradients():
    layer = nn.capsule(3, 2, 2, 2, iterations=2)
    check_gradients(lambda p, x: layer(p, x), trees(layer)[0], numbers(3, 2), order=1)


# Hopfield


def np_hopfield(p, x, stored, mask, heads, beta, updates):
    """One example, head by head."""
    q, k = x @ p["query"]["kernel"], stored @ p["key"]["kernel"]
    out = []
    for queries, keys in zip(np.split(q, heads, -1), np.split(k, heads, -1), strict=True):
        shares = np.zeros((len(x), len(stored)))
        for step in range(updates):
            shares = np.zeros((len(x), len(stored)))
            if mask.any():
                shares[:, mask] = softmax(beta * queries @ keys[mask].T, axis=-1)
            if step < updates - 1:
                queries = shares @ keys
        out.append(shares @ (keys @ p["value"]["kernel"]))
    return np.concatenate(out, -1) @ p["out"]["kernel"] + p["out"]["bias"]


@pytest.mark.parametrize("updates, beta", [(1, None), (3, 2.0)])
def test_hopfield(updates, beta):
    layer = nn.hopfield(4, 2, beta=beta, updates=updates)
    params, _ = trees(layer)
    x, stored = numbers(3, 5, 4), numbers(3, 6, 4, seed=1)
    mask = np.array([[1] * 6, [1, 0, 1, 1, 0, 0], [0] * 6], bool)  # the last has nothing stored
    y = jax.jit(layer)(params, x, stored, mask=jnp.asarray(mask))
    rows = zip(f64(x), f64(stored), mask, strict=True)
    want = [np_hopfield(f64(params), *row, 2, beta or 2**-0.5, updates) for row in rows]
    close(y, np.stack(want), atol=1e-5)
    own, all_rows = jax.jit(lambda p, x: (layer(p, x), layer(p, x, x)))(params, x)
    close(own, all_rows)


def test_association_finds_what_was_stored():
    stored = numbers(8, 64)
    noisy = stored + numbers(8, 64, seed=1, scale=0.5)
    found, before, after = jax.jit(
        lambda s, n: (
            retrieve(n, s, 4.0),
            energy(n, s, 0.1),
            [energy(retrieve(n, s, 0.1, updates=k), s, 0.1) for k in (1, 2, 5)],
        )
    )(stored, noisy)
    close(found, stored)
    last = before
    for now in after:  # an update never raises the energy
        assert (now <= last + 1e-4).all() and (now >= 0).all()
        last = now
    scores = 0.1 * f64(noisy) @ f64(stored).T
    want = -logsumexp(scores, axis=-1) / 0.1 + (f64(noisy) ** 2).sum(-1) / 2
    want = want + np.log(8) / 0.1 + (f64(stored) ** 2).sum(-1).max() / 2
    close(before, want, atol=1e-4)  # a difference of numbers near 50


@pytest.mark.slow
def test_hopfield_gradients():
    layer = nn.hopfield(4, 2, updates=2)
    check_gradients(lambda p, x: layer(p, x), trees(layer)[0], numbers(3, 4), order=1)


# Quantizers


def np_nearest(x, codes):
    return ((x[..., None, :] - codes) ** 2).sum(-1).argmin(-1)


@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_vector_quantizer(mean):
    layer = nn.vector_quantizer(16, 3, commitment=0.5)
    params, _ = layer.init(jax.random.key(0))
    params = {"embedding": params["embedding"] + mean}
    x = numbers(4, 25, 3, mean=mean)

    def objective(params, x):
        y, indices, loss = layer(params, x)
        return (jnp.sin(y) * weight).sum() + loss.mean(), (y, indices, loss)

    weight = numbers(4, 25, 3, seed=1)
    run = jax.jit(jax.value_and_grad(objective, (0, 1), has_aux=True))
    (_, (y, indices, loss)), (dparams, dx) = run(params, x)
    x64, codes = f64(x), f64(params["embedding"])
    best = np_nearest(x64, codes)
    assert indices.dtype == jnp.int32 and (indices == best).all()
    assert (y == params["embedding"][best]).all()  # to the last bit, far from the origin too
    gap = x64 - codes[best]
    close(loss, 1.5 * (gap**2).mean(-1), rtol=1e-5 if mean == 0 else 1e-2)
    # straight through: the gradient of y, and the pull of the commitment
    tolerance = {"rtol": 1e-4 if mean == 0 else 1e-2, "atol": 1e-5}
    close(dx, np.cos(codes[best]) * f64(weight) + 0.5 * 2 * gap / 3 / 100, **tolerance)
    pull = np.zeros_like(codes)
    np.add.at(pull, best, -2 * gap / 3 / 100)  # the loss alone moves the codebook
    close(dparams["embedding"], pull, **tolerance)


def test_ema_vector_quantizer():
    decay, eps = 0.8, 1e-2
    layer = nn.ema_vector_quantizer(5, 3, decay=decay, eps=eps)
    params, state = layer.init(jax.random.key(1))
    assert params == {}
    apply = jax.jit(lambda state, x: layer.apply({}, state, x, train=True))
    count, total = np.ones(5), f64(state["sum"])
    for step in range(3):
        x = numbers(2, 6, 3, seed=step)
        smooth = (count + eps) / (count.sum() + 5 * eps) * count.sum()
        codes = total / smooth[:, None]
        best = np_nearest(f64(x), codes)
        (y, indices, loss), state = apply(state, x)
        assert (indices == best).all()
        close(y, codes[best])
        close(loss, 0.25 * ((f64(x) - codes[best]) ** 2).mean(-1))
        for k in range(5):
            mine = f64(x)[best == k]
            count[k] = decay * count[k] + (1 - decay) * len(mine)
            total[k] = decay * total[k] + (1 - decay) * mine.sum(0)
        close(state, {"count": count, "sum": total})


def test_ema_over_copies_is_that_of_the_whole_batch():
    x = numbers(4, 5, 3)
    one = nn.ema_vector_quantizer(5, 3)
    many = nn.ema_vector_quantizer(5, 3, axis_name="copies")
    _, state = one.init(jax.random.key(1))
    step = lambda layer: lambda x: layer.apply({}, state, x, train=True)[1]
    whole, copies = jax.jit(lambda x: (step(one)(x), jax.vmap(step(many), axis_name="copies")(x)))(
        x
    )
    close(jax.tree.map(lambda a: a[2], copies), whole)


# Splines


@pytest.mark.parametrize("degree, intervals", [(1, 4), (3, 5), (2, 1)])
def test_kan(degree, intervals):
    low, high = -1.0, 2.0
    layer = nn.kan(3, 2, intervals=intervals, degree=degree, low=low, high=high)
    params, _ = trees(layer)
    x = jnp.concatenate([numbers(40, 3), jnp.array([[low, high, 0.5], [-1e3, 1e3, 1.999]])])
    p, x64 = f64(params), f64(x)
    width = (high - low) / intervals
    knots = low + width * np.arange(-degree, intervals + degree + 1)
    want = x64 / (1 + np.exp(-np.clip(x64, -700, 700))) @ p["kernel"]
    for k in range(intervals + degree):
        piece = BSpline.basis_element(knots[k : k + degree + 2], extrapolate=False)
        basis = np.nan_to_num(piece(np.where(x64 < knots[-1], x64, np.nan)))
        want += basis @ (p["scale"] * p["spline"][:, k])
    close(jax.jit(layer)(params, x), want, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_kan_gradients():
    layer = nn.kan(2, 2, degree=2)
    x = jnp.array([[0.13, -0.72], [0.95, -1.31]])
    check_gradients(lambda p, x: layer(p, x), trees(layer)[0], x, order=1)


# Radial bases


@pytest.mark.parametrize("mean", [0.0, 1e3])
def test_rbf(mean):
    layer = nn.rbf(4, 6, gamma=0.3)
    params, _ = layer.init(jax.random.key(0))
    close(jnp.exp(params["log_gamma"]), np.full(6, 0.3))
    params = {"center": params["center"] + mean, "log_gamma": moved(params)["log_gamma"]}
    x = numbers(5, 4, mean=mean)
    gammas, centers = np.exp(f64(params["log_gamma"])), f64(params["center"])
    want = [rbf_kernel(f64(x), c[None], g)[:, 0] for g, c in zip(gammas, centers, strict=True)]
    close(jax.jit(layer)(params, x), np.stack(want, -1), rtol=1e-5 if mean == 0 else 1e-3)


@pytest.mark.slow
def test_rbf_gradients():
    layer = nn.rbf(2, 3)
    check_gradients(lambda p, x: layer(p, x), trees(layer)[0], numbers(4, 2), order=1)


# Couplings


def np_net(x):
    """What ``stretch`` below computes."""
    return np.concatenate([np.sin(3 * x), np.cos(x)], -1)


stretch = lambda x: jnp.concatenate([jnp.sin(3 * x), jnp.cos(x)], -1)


@pytest.mark.parametrize("swap", [False, True])
def test_couplings(swap):
    x = numbers(3, 6, mean=2.0)
    a, b = np.split(f64(x), 2, -1)
    a, b = (b, a) if swap else (a, b)
    join = lambda a, b: np.concatenate([b, a] if swap else [a, b], -1)
    scale, shift = np.tanh(np.sin(3 * a)), np.cos(a)
    affine = nn.affine_coupling(6, stretch, swap=swap)
    additive = nn.additive_coupling(6, jnp.cos, swap=swap)
    got = jax.jit(lambda x: (affine({}, x), additive({}, x)))(x)
    want = (join(a, b * np.exp(scale) + shift), scale.sum(-1)), (join(a, b + shift), np.zeros(3))
    close(got, want)


def test_log_determinants_and_inverses():
    """An odd number of features, of which three or four stay; the Jacobian's own determinant."""
    flow = nn.flow(
        nn.affine_coupling(7, nn.mlp(3, 5, 8, activation=jnp.tanh)),
        nn.additive_coupling(7, nn.linear(4, 3), swap=True),
        nn.affine_coupling(7, nn.mlp(4, 5, 6, activation=jnp.tanh), swap=True),
    )
    params, _ = trees(flow)

    @jax.jit
    def run(params, x):
        y, log_det = flow(params, x)
        back, inverse_log_det = flow(params, y, inverse=True)
        jacobian = jax.vmap(jax.jacobian(lambda x: flow(params, x)[0]))(x)
        return log_det, back, inverse_log_det, jacobian

    x = numbers(4, 7)
    log_det, back, inverse_log_det, jacobian = run(params, x)
    close(log_det, np.linalg.slogdet(f64(jacobian))[1], rtol=1e-4, atol=1e-5)
    close(back, x, rtol=1e-4, atol=1e-5)
    close(inverse_log_det, -log_det, rtol=1e-4, atol=1e-5)


def test_additive_inverse_is_exact_where_sums_are():
    x = jnp.round(numbers(50, 5) * 256) / 256  # sums of such numbers are not rounded
    layer = nn.additive_coupling(5, lambda a: jnp.round(jnp.tile(a, 2)[..., :3] * 64) / 64)
    y, log_det = layer({}, x)
    back, _ = layer({}, y, inverse=True)
    assert (back == x).all() and (y != x).any() and not log_det.any()


@pytest.mark.slow
def test_coupling_gradients():
    layer = nn.affine_coupling(4, nn.linear(2, 4))
    check_gradients(lambda p, x: layer(p, x), trees(layer)[0], numbers(3, 4), order=1)


@pytest.mark.parametrize(
    "layer",
    [nn.kan(4, 3), nn.rbf(4, 3), nn.vector_quantizer(5, 4), nn.affine_coupling(4, stretch)],
    ids=lambda layer: layer.name,
)
def test_an_empty_batch(layer):
    params, state = layer.init(jax.random.key(0))
    specs = jax.eval_shape(lambda x: layer(params, x, state=state), jnp.ones((2, 4)))
    made = layer(params, jnp.ones((0, 4)), state=state)
    assert [a.shape for a in jax.tree.leaves(made)] == [
        (0, *a.shape[1:]) for a in jax.tree.leaves(specs)
    ]


def test_capsules_in_bfloat16_route_in_float32():
    x, params = bf16(numbers(3, 5, 4)), bf16(trees(nn.capsule(5, 4, 2, 3))[0])
    y = jax.jit(nn.capsule(5, 4, 2, 3))(params, x)
    want = np.stack([np_capsule(f64(params), row, 3) for row in f64(x)])
    assert y.dtype == jnp.bfloat16
    close(y, want, rtol=2.0**-5, atol=2.0**-6)  # votes are rounded, then agree a little less
