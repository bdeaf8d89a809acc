"""PyTorch's side of random activations and losses."""

import functools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import assume

from tests.parity.test_torch import no_params
from tests.properties.family import Case

ACTIVATIONS: dict[str, Any] = {
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "geglu": lambda x, dim: (lambda a, b: a * F.gelu(b, approximate="tanh"))(*x.chunk(2, dim)),
    "reglu": lambda x, dim: (lambda a, b: a * F.relu(b))(*x.chunk(2, dim)),
    "swiglu": lambda x, dim: (lambda a, b: a * F.silu(b))(*x.chunk(2, dim)),
    "hard_sigmoid": F.hardsigmoid,
    "hard_silu": F.hardswish,
    "hard_tanh": F.hardtanh,
    "log_sigmoid": F.logsigmoid,
    "relu_squared": lambda x: F.relu(x) ** 2,
    "soft_sign": F.softsign,
}


def activation(case: Case):
    kind, axis = case.settings["kind"], case.settings.get("axis")
    assume(kind in ACTIVATIONS or hasattr(F, kind))
    function = ACTIVATIONS.get(kind) or getattr(F, kind)
    return (function if axis is None else lambda x: function(x, dim=axis)), no_params


def over_rows(function):
    """A loss of [rows, C] and [rows] or [rows, C], on any batch axes."""

    def call(x, y, **options):
        batch = x.shape[:-1]
        y = y.reshape(-1, *y.shape[len(batch) :])
        return function(x.reshape(-1, x.shape[-1]), y, reduction="none", **options).reshape(batch)

    return call


PARTNERS = {"info_nce", "clip_loss"}  # what a mask hides is no partner of others
CONSTANT = {"hinge_embedding_loss", "soft_margin_loss"}  # their targets have no gradient
LOSSES: dict[str, Any] = {
    "squared_error": lambda x, y: F.mse_loss(x, y, reduction="none"),
    "absolute_error": lambda x, y: F.l1_loss(x, y, reduction="none"),
    "huber_loss": lambda x, y: F.huber_loss(x, y, delta=0.7, reduction="none"),
    "smooth_l1_loss": lambda x, y: F.smooth_l1_loss(x, y, beta=0.7, reduction="none"),
    "softmax_cross_entropy": lambda x, y: over_rows(F.cross_entropy)(x, y, label_smoothing=0.1),
    "negative_log_likelihood": over_rows(F.nll_loss),
    "multi_margin_loss": lambda x, y: over_rows(F.multi_margin_loss)(x, y, margin=0.7),
    "sigmoid_binary_cross_entropy": lambda x, y: F.binary_cross_entropy_with_logits(
        x, y, reduction="none"
    ),
    "multilabel_soft_margin_loss": over_rows(F.multilabel_soft_margin_loss),
    "soft_margin_loss": lambda x, y: F.soft_margin_loss(x, y, reduction="none"),
    "hinge_embedding_loss": lambda x, y: F.hinge_embedding_loss(x, y, 0.7, reduction="none"),
    "poisson_nll": lambda x, y: F.poisson_nll_loss(x, y, reduction="none"),
    "kl_divergence": lambda x, y: F.kl_div(x, y, reduction="none").sum(-1),
    "kl_divergence_with_log_targets": lambda x, y: F.kl_div(
        x, y, reduction="none", log_target=True
    ).sum(-1),
}


def cosines(s: dict[str, Any], a, b):
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T / s["temperature"]


def own_among_all(logits):
    return F.cross_entropy(logits, torch.arange(len(logits)), reduction="none")


def ctc(s: dict[str, Any], x, labels, heard=None, said=None):
    frames, most = torch.tensor([x.shape[1]]), torch.tensor([labels.shape[1]])
    heard, said = (
        whole.expand(len(x)) if given is None else given
        for whole, given in ((frames, heard), (most, said))
    )
    x = F.log_softmax(x, -1).transpose(0, 1)
    return F.ctc_loss(x, labels, heard, said, blank=s["blank"], reduction="none")


WITH_SETTINGS: dict[str, Any] = {
    "ctc_loss": ctc,
    "triplet_margin_loss": lambda s, a, p, n: F.triplet_margin_loss(
        *(x.reshape(-1, x.shape[-1]) for x in (a, p, n)),
        margin=s["margin"],
        swap=s["swap"],
        reduction="none",
    ).reshape(a.shape[:-1]),
    "info_nce": lambda s, a, b: own_among_all(cosines(s, a, b)),
    "clip_loss": lambda s, a, b: (
        sum(own_among_all(logits) for logits in (cosines(s, a, b), cosines(s, b, a))) / 2
    ),
}


def loss(case: Case):
    """A value an example from PyTorch; weighed, hidden and reduced as our losses document."""
    s, kind, reduction = case.settings, case.settings["kind"], case.settings["reduction"]
    assume(kind in LOSSES or kind in WITH_SETTINGS)
    assume(kind not in PARTNERS or "mask" not in case.named)
    function = LOSSES.get(kind) or functools.partial(WITH_SETTINGS[kind], s)

    def call(x, *others):
        whole = lambda y: y.float() if kind in CONSTANT else y.long()
        values = function(x, *(y if y.is_floating_point() else whole(y) for y in others))
        counts = torch.tensor(case.named.get("weights", np.ones((), np.float32)))
        counts = counts.broadcast_to(values.shape)
        mask = torch.tensor(case.named.get("mask", np.ones((), bool)))
        counts = torch.where(mask, counts, 0.0)
        if reduction == "none":
            return counts * values
        total = (counts * values).sum()
        return (
            total if reduction == "sum" else total / torch.where(counts.sum() == 0, 1, counts.sum())
        )

    return call, no_params
