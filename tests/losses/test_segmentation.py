"""Overlap losses: pixel masks are crops, optax's dice, one logit; boxes that touch or vanish."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nnjax import losses as L
from tests.numerics import close, numbers

LABELS = np.random.default_rng(2).integers(0, 3, (2, 4, 5))
KINDS = ["dice", "tversky", "generalized_dice", "lovasz_softmax", "lovasz_hinge"]


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_pixels_are_cut_off(kind):
    loss = getattr(L, f"{kind}_loss")
    logits, labels = numbers(2, 4, 5, 3), LABELS
    if kind == "lovasz_hinge":
        logits, labels = logits[..., 0], labels % 2
    mask = np.zeros((2, 4, 5), bool)
    mask[:, :, 1:4] = True
    shown = mask.reshape(mask.shape + (1,) * (logits.ndim - 3))
    poisoned = jnp.where(shown, logits, jnp.nan), np.where(mask, labels, -1)

    @jax.jit
    def both(z):
        hidden = jax.value_and_grad(lambda z: loss(z, poisoned[1], mask=mask).sum())(z)
        return hidden, loss(logits[:, :, 1:4], labels[:, :, 1:4]).sum()

    (value, gradient), want = both(poisoned[0])
    close(value, np.asarray(want))
    assert np.isfinite(gradient).all() and not np.where(shown, 0, gradient).any()


def test_optax_agrees():
    logits, hot = numbers(2, 4, 5, 3), jax.nn.one_hot(LABELS, 3)
    close(jax.jit(L.dice_loss)(logits, LABELS), np.asarray(optax.losses.dice_loss(logits, hot)))
    one, yes = logits[..., :1], hot[..., :1]
    want = np.asarray(optax.losses.binary_dice_loss(one, yes))
    close(jax.jit(L.dice_loss)(one, yes), want)
    close(L.dice_loss(one, (LABELS == 0).astype(int)), want)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sure_and_right_network_has_no_loss(kind):
    labels = LABELS % 2 if kind == "lovasz_hinge" else LABELS
    hot = jax.nn.one_hot(labels, 2 if kind == "lovasz_hinge" else 3)
    logits = 1e4 * (hot[..., 1] - 0.5 if kind == "lovasz_hinge" else hot)
    close(getattr(L, f"{kind}_loss")(logits, labels), np.zeros(2))


@pytest.mark.parametrize("kind", KINDS[:4])
def test_a_label_outside_gives_nan_for_its_image_alone(kind):
    labels = LABELS.copy()
    labels[0, 0, 0] = 3
    got = np.asarray(getattr(L, f"{kind}_loss")(numbers(2, 4, 5, 3), labels))
    assert np.isnan(got).tolist() == [True, False]


@jax.jit
def all_four(p, t):
    kinds = (L.iou_loss, L.giou_loss, L.diou_loss, L.ciou_loss)
    return [jax.value_and_grad(loss)(p, t) for loss in kinds]


@pytest.mark.parametrize(
    "box, other, want",
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], (0, 0, 0, 0)),
        ([0, 0, 1, 1], [1, 1, 2, 2], (1, 1.5, 1.25, 1.25)),  # they touch in a corner
        ([0, 0, 4, 1], [0, 0, 1, 4], (1 - 1 / 7, 1 - 1 / 7 + 9 / 16, None, None)),
        ([1, 1, 1, 1], [1, 1, 1, 1], (1, 1, 1, 1)),  # two points
        ([3, 3, 1, 1], [0, 0, 2, 2], (1, None, None, None)),  # its corners are swapped
    ],
)
def test_boxes(box, other, want):
    p, t = jnp.asarray(box, jnp.float32), jnp.asarray(other, jnp.float32)
    for value, (got, gradient) in zip(want, all_four(p, t), strict=True):
        assert value is None or abs(got - value) < 1e-6
        assert np.isfinite(gradient).all()


def test_five_numbers_are_no_box():
    with pytest.raises(ValueError, match=r"giou_loss: got predictions of shape \(2, 5\), expected"):
        L.giou_loss(jnp.zeros((2, 5)), jnp.zeros((2, 5)))
