"""Losses: pure functions of predictions and targets, one value an example."""

from nnjax.losses.classification import (
    sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy,
    softmax_cross_entropy as softmax_cross_entropy,
)
from nnjax.losses.regression import squared_error as squared_error

__all__ = ["sigmoid_binary_cross_entropy", "softmax_cross_entropy", "squared_error"]
