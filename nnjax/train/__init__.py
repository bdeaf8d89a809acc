"""Training: the state, the step, the loop. Knows no model by name."""

from nnjax.train.state import TrainState as TrainState, init_state as init_state
from nnjax.train.step import accuracy as accuracy, make_step as make_step
