"""Where gradients stop, penalties of second order, noise levels, and energies by enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax import losses as L
from nnjax.losses.diffusion import Target
from tests.numerics import check_gradients, close, f64, numbers


def test_codes_and_encoder_are_moved_apart():
    gradients = lambda loss: jax.grad(lambda e, q: loss(e, q).sum(), (0, 1))
    e, q = numbers(5, 3), numbers(5, 3, seed=1)
    close(gradients(L.vq_codebook_loss)(e, q), (np.zeros((5, 3)), 2 * (f64(q) - f64(e))))
    close(gradients(L.vq_commitment_loss)(e, q), (2 * (f64(e) - f64(q)), np.zeros((5, 3))))


def test_gaussian_kl_is_zero_at_the_prior_and_exact_near_it():
    assert L.gaussian_kl(jnp.zeros(3), jnp.zeros(3)) == 0
    close(L.gaussian_kl(jnp.zeros(1), jnp.full(1, 1e-2)) * 1e5, 2.5083542, rtol=1e-4)


def test_sure_discriminators_do_not_overflow():
    far = jnp.asarray([-1e4, 1e4])
    close(L.gan_discriminator_loss(far, -far), np.array([2e4, 0.0]))
    close(L.gan_generator_loss(far), np.array([1e4, 0.0]))


def test_gradient_penalty_of_a_linear_critic():
    w = jnp.asarray([3.0, 4.0])
    penalty = lambda w, real, fake: L.gradient_penalty(
        lambda x: x @ w, real, fake, jax.random.key(0)
    )
    real, fake = numbers(5, 2), numbers(5, 2, seed=1)
    close(penalty(w, real, fake), np.full(5, 16.0))
    check_gradients(penalty, w, real, fake)
    value, gradient = jax.value_and_grad(lambda w: penalty(w, real, fake).sum())(jnp.zeros(2))
    assert value == 5 and np.isfinite(gradient).all()  # a flat critic
    with pytest.raises(ValueError, match=r"gradient_penalty: got critic\(x\) of shape \(5, 1\)"):
        L.gradient_penalty(lambda x: x[:, :1], real, fake, jax.random.key(0))


ALPHAS = np.linspace(0.1, 0.95, 5, dtype=np.float32)
SIGMAS = np.sqrt(1 - ALPHAS**2)


def test_all_targets_are_one_loss_under_snr_weights():
    """An estimate of the noise is an estimate of the other two."""
    clean, noise, guess = (numbers(5, 2, 3, seed=i) for i in range(3))
    x = L.noised(clean, noise, ALPHAS, SIGMAS)
    a, s = (jnp.asarray(v)[:, None, None] for v in (ALPHAS, SIGMAS))
    guesses: dict[Target, jax.Array] = {
        "noise": guess,
        "clean": (x - s * guess) / a,
        "velocity": a * guess - s * (x - s * guess) / a,
    }
    for target, prediction in guesses.items():
        loss = L.diffusion_loss(prediction, clean, noise, ALPHAS, SIGMAS, target=target)
        weights = L.snr_weights(ALPHAS, SIGMAS, target=target)
        want = ((f64(guess) - f64(noise)) ** 2).mean((1, 2))
        close(loss * weights, want, rtol=1e-4)


@pytest.mark.parametrize("target", ["noise", "clean", "velocity"])
def test_min_snr(target):
    snr = (f64(ALPHAS) / f64(SIGMAS)) ** 2
    unit = {"noise": snr, "clean": 1, "velocity": snr + 1}[target]
    got = L.snr_weights(ALPHAS, SIGMAS, target=target, gamma=5.0)
    close(got, np.minimum(snr, 5) / unit)
    ends = L.snr_weights(jnp.asarray([0.0, 1.0]), jnp.asarray([1.0, 0.0]), target=target, gamma=5.0)
    assert not np.isnan(ends).any()


def test_flow_matching_is_the_slope_of_its_path():
    clean, noise = numbers(4, 3), numbers(4, 3, seed=1)
    t = jnp.full(4, 0.3)
    path = lambda t: L.noised(clean, noise, t, 1 - t)
    _, slope = jax.jvp(path, (t,), (jnp.ones(4),))
    close(L.flow_matching_loss(slope, clean, noise), np.zeros(4))


def test_targets_and_levels_are_checked():
    x = numbers(4, 3)
    with pytest.raises(ValueError, match="diffusion_loss: got target='eps', expected \"noise\", "):
        L.diffusion_loss(x, x, x, jnp.ones(4), jnp.ones(4), target="eps")  # pyright: ignore
    with pytest.raises(ValueError, match=r"noised: got sigmas of shape \(1,\), expected \[4\]"):
        L.noised(x, x, jnp.ones(4), jnp.ones(1))


KERNEL, A, B = numbers(3, 2), numbers(3, seed=1), numbers(2, seed=2)


def joint_energies():
    """[V states, H states], by the energy's definition."""
    v, h = (np.array(list(itertools.product((0.0, 1.0), repeat=n))) for n in (3, 2))
    k, a, b = f64((KERNEL, A, B))
    return v, h, -(v @ a)[:, None] - (h @ b)[None] - v @ k @ h.T


def test_free_energy_sums_over_hidden_states():
    v, _, energy = joint_energies()
    close(L.rbm_free_energy(np.float32(v), KERNEL, A, B), -np.log(np.exp(-energy).sum(1)))


def test_gibbs_steps_leave_the_distribution_as_it_is():
    v, _, energy = joint_energies()
    p = np.exp(-energy).sum(1)
    p /= p.sum()
    start = np.float32(v[np.random.default_rng(0).choice(8, 40_000, p=p)])
    end = jax.jit(L.rbm_gibbs_step)(jax.random.key(0), start, KERNEL, A, B)
    states = np.asarray(end) @ [4, 2, 1]
    got = np.bincount(states.astype(int), minlength=8) / 40_000
    np.testing.assert_allclose(got, p, atol=0.01)  # some four standard errors
    assert (np.asarray(end) != start).any(-1).mean() > 0.5


def test_contrastive_divergence_learns_the_statistics_of_data_less_samples():
    data, samples = (np.array([row], np.float32) for row in ([1, 0, 1], [0, 1, 1]))
    loss = lambda a: L.contrastive_divergence(
        lambda v: L.rbm_free_energy(v, KERNEL, a, B), data, samples
    ).sum()
    close(jax.grad(loss)(A), f64(samples - data)[0])
    with pytest.raises(ValueError, match=r"got free_energy\(x\) of shape \(1, 3\), expected \[1\]"):
        L.contrastive_divergence(lambda v: v, data, samples)
