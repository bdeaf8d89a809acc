"""torch.nn's recurrent family.

PyTorch adds two biases where we have one, a sum whose gradient is that of either. So the twin's
parameters are PyTorch's own, and joining them is a part of the layer that is differentiated.
"""

import jax
import jax.numpy as jnp

import nnjax as nn
from benchmarks.conformance.twin import REASONS, NotOurs, Twin, adapter

REASONS["RNNBase"] = "abstract: the common base of RNN, LSTM and GRU, with no forward of its own"
REASONS["RNNCellBase"] = "abstract: the common base of the three cells, with no forward of its own"


def twin(module, layer, join, **moves):
    """``layer`` with parameters ``join(PyTorch's)``."""

    def apply(params, state, *inputs, key=None, train=False, **named):
        return layer.apply(join(params), state, *inputs, key=key, train=train, **named)

    names = [name for name, _ in module.named_parameters()]
    theirs = nn.Layer(lambda key: ({}, {}), apply, layer.name, random=layer.random)
    return Twin(theirs, lambda get: {name: get(name) for name in names}, **moves)


def cell_params(p, suffix="", gru=False):
    """One direction of one layer, ours of PyTorch's."""
    ours = {
        "kernel": p[f"weight_ih{suffix}"].T,
        "recurrent": p[f"weight_hh{suffix}"].T,
    }
    if f"weight_hr{suffix}" in p:
        ours["projection"] = p[f"weight_hr{suffix}"].T
    if f"bias_ih{suffix}" in p:
        bias, other = p[f"bias_ih{suffix}"], p[f"bias_hh{suffix}"]
        if gru:  # the reset gate stands between the two biases of the candidate
            hidden = bias.size // 3
            ours["recurrent_bias"] = other[2 * hidden :]
            other = other.at[2 * hidden :].set(0)
        ours["bias"] = bias + other
    return ours


def activation(module):
    return {"tanh": jnp.tanh, "relu": jax.nn.relu}[module.nonlinearity]


@adapter("RNNCell")
def rnn_cell(m):
    layer = nn.elman_cell(m.input_size, m.hidden_size, activation=activation(m), bias=m.bias)
    return twin(m, layer, cell_params, leave=lambda outputs: outputs[1])


@adapter("GRUCell")
def gru_cell(m):
    layer = nn.gru_cell(m.input_size, m.hidden_size, bias=m.bias)
    return twin(m, layer, lambda p: cell_params(p, gru=True), leave=lambda outputs: outputs[1])


@adapter("LSTMCell")
def lstm_cell(m):
    layer = nn.lstm_cell(m.input_size, m.hidden_size, bias=m.bias)
    return twin(m, layer, cell_params, leave=lambda outputs: outputs[1])


@adapter("RNN", "LSTM", "GRU")
def sequence(m):
    kind = m.mode.split("_")[0].lower()
    if m.training and m.dropout:
        raise NotOurs("dropout in training draws other random numbers")
    options = {
        "rnn": lambda: {"activation": activation(m)},
        "lstm": lambda: {"projection": m.proj_size or None},
        "gru": dict,
    }[kind]()
    layers, both = m.num_layers, m.bidirectional
    rate = m.dropout if layers > 1 else 0.0
    options |= {"layers": layers, "bidirectional": both, "bias": m.bias, "dropout_rate": rate}
    layer = {"rnn": nn.rnn, "lstm": nn.lstm, "gru": nn.gru}[kind](
        m.input_size, m.hidden_size, **options
    )

    def nest(make):
        """``make(i)`` of the i-th cell in PyTorch's order, in our tree of layers and directions."""
        cells = [make(index) for index in range(layers * (2 if both else 1))]
        if both:
            cells = list(zip(cells[::2], cells[1::2], strict=True))
        return cells[0] if layers == 1 else tuple(cells)

    def join(p):
        suffix = lambda i: f"_l{i // 2}{'_reverse' * (i % 2)}" if both else f"_l{i}"
        tree = nest(lambda i: cell_params(p, suffix(i), kind == "gru"))
        direct = lambda part: (
            dict(zip(("forward", "backward"), part, strict=True)) if both else part
        )
        if layers == 1:
            return direct(tree)
        return {f"layer_{i}": direct(part) for i, part in enumerate(tree)}

    batch_first = lambda x: x if m.batch_first or x.ndim == 2 else x.swapaxes(0, 1)

    def enter(x, carry=None):
        if carry is None:
            return batch_first(x)
        at = lambda i: jax.tree.map(lambda part: part[i], carry)
        return (batch_first(x),), {"carry": nest(at)}

    def leave(outputs):
        y, carry = outputs
        width = 2 if kind == "lstm" else 1
        leaves = jax.tree.leaves(carry)
        parts = tuple(jnp.stack(leaves[i::width]) for i in range(width))
        return batch_first(y), parts if kind == "lstm" else parts[0]

    return twin(m, layer, join, enter=enter, leave=leave)
