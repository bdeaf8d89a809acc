"""Training: the state, the step, the loop. Knows no model by name."""

from nnjax.train.diagnose import (
    NonFiniteLossError as NonFiniteLossError,
    first_nonfinite as first_nonfinite,
)
from nnjax.train.evaluate import make_evaluate as make_evaluate, make_predict as make_predict
from nnjax.train.loop import fit as fit
from nnjax.train.packing import packed as packed, packing as packing
from nnjax.train.state import TrainState as TrainState, init_state as init_state
from nnjax.train.step import accuracy as accuracy, make_step as make_step

__all__ = [
    "NonFiniteLossError",
    "TrainState",
    "accuracy",
    "first_nonfinite",
    "fit",
    "init_state",
    "make_evaluate",
    "make_predict",
    "make_step",
    "packed",
    "packing",
]
