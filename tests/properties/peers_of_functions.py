"""PyTorch's side of random activations and losses."""

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


def loss(case: Case):
    """A value an example from PyTorch; weighed, hidden and reduced as our losses document."""
    kind, reduction = case.settings["kind"], case.settings["reduction"]
    assume(kind in LOSSES)

    def call(x, y):
        if not y.is_floating_point():
            y = y.float() if kind in CONSTANT else y.long()
        values = LOSSES[kind](x, y)
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
