"""Cases: recurrent cells, and what runs them along a sequence."""

import jax.numpy as jnp

import nnjax as nn
from tests.catalogue.case import LENGTHS, SEQUENCE, Case, call, feature_mistakes, normal

X, H, C = normal(4), 0.5 * normal(3), 0.3 * normal(3)


def cell_case(layer: nn.Layer, name: str, carry) -> Case:
    wrong = jnp.ones((8, 2)) if not isinstance(carry, tuple) else carry[:1]
    mistakes = {
        **feature_mistakes(layer, name),
        "carry": (call(layer, X, wrong), rf"{name}: got carry of .*, expected"),
    }
    return Case(layer, (X, carry), mistakes)


def sequence_case(layer: nn.Layer, name: str, **named) -> Case:
    lengths = jnp.ones(3, int)
    mistakes = {
        **feature_mistakes(layer, rf".*{name}.*", rank=3),
        "lengths": (call(layer, *SEQUENCE, lengths=lengths), r"got lengths of .*, expected \[8\]"),
    }
    return Case(layer, SEQUENCE, mistakes, named={"lengths": LENGTHS, **named})


CASES: dict[str, Case] = {
    "elman_cell": cell_case(nn.elman_cell(4, 3), r"elman_cell\(4, 3\)", H),
    "gru_cell": cell_case(nn.gru_cell(4, 3), r"gru_cell\(4, 3\)", H),
    "lstm_cell": cell_case(
        nn.lstm_cell(4, 3, peephole=True, recurrent_dropout_rate=0.5),
        r"lstm_cell\(4, 3\)",
        (H, C),
    ),
    "minimal_gru_cell": cell_case(nn.minimal_gru_cell(4, 3), r"minimal_gru_cell\(4, 3\)", H),
    "conv_lstm_cell": Case(
        nn.conv_lstm_cell(2, 3, 3),
        (normal(3, 4, 2),),
        {
            "rank": (call(nn.conv_lstm_cell(2, 3, 3), jnp.ones(2)), r"got x of shape \(2,\), expe"),
            "carry": (
                call(nn.conv_lstm_cell(2, 3, 3), jnp.ones((3, 4, 2)), jnp.ones((3, 4, 3))),
                r"conv_lstm_cell\(2, 3, 3\): got carry of one parts, expected two",
            ),
        },
    ),
    "rnn": sequence_case(nn.rnn(4, 3), r"rnn.*\(4, 3\)"),
    "lstm": sequence_case(nn.lstm(4, 3), r"lstm.*\(4, 3\)"),
    "gru": sequence_case(nn.gru(4, 3, reset_after=False), r"gru.*\(4, 3\)"),
    "scan_time": sequence_case(
        nn.scan_time(
            nn.lstm_cell(4, 3, projection=2, recurrent_dropout_rate=0.3), variational=True
        ),
        "scan_time",
    ),
    "bidirectional": sequence_case(nn.bidirectional(nn.gru(4, 2)), "gru"),
    "stacked": sequence_case(
        nn.stacked(nn.rnn(4, 3), nn.gru(3, 3), dropout_rate=0.3, residual=True), "rnn"
    ),
}
