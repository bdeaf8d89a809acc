"""Cells along a sequence: scan_time, bidirectional, stacked, and rnn, lstm, gru made of them.

All of them, and the linear recurrences, are called alike: ``y, carry = layer(params, x)``, with the
keywords ``carry``, ``lengths`` or ``mask``, and ``reverse``.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.core import Layer, as_layer, check_choice, check_positive, check_shape, compose
from nnjax.core.errors import LayerTypeError, LayerValueError
from nnjax.initializers import Initializer, lecun_normal, orthogonal, zeros
from nnjax.layers.dropout import dropout
from nnjax.layers.recurrent import Gated, elman_cell, gru_cell, lstm_cell
from nnjax.layers.sequences import running
from nnjax.ops.lowering import backend, way
from nnjax.ops.random import fold_in
from nnjax.ops.recurrence import recur, select, varying

Implementation = Literal["auto", "inside", "outside"]


def scan_time(
    cell: Layer | Callable[..., Any], *, time_axis: int = -2, variational: bool = False
) -> Layer:
    """A cell along a sequence, as one ``jax.lax.scan``: ``y, carry = layer(params, x)``.

    A cell is any layer, or function, with ``y, carry = cell(params, x_t, carry)`` that makes its
    first carry where it is given None. Further inputs (a memory to attend to) go to every step.

    ``carry=`` continues from an earlier call; it starts at zero. With ``lengths``, or a boolean
    ``mask``, steps that take no part give zeros, leave the carry as it was, and let nothing of x
    through, be it NaN. ``reverse=True`` runs from the last step to the first.

    time_axis: which axis of x the steps are, counted from the end: -2 for [..., T, D], -4 for
        images [..., T, H, W, C], -1 for labels [..., T].
    variational: draw the cell's noise once for all steps, not anew at each.
    Params: the cell's.
    State:  the cell's, handed from step to step in training, padding included.
    Shapes: x [..., T, D] -> y [..., T, H], carry of parts [..., H]; lengths [...]; mask [..., T].
    Dtypes: the cell's; lengths any integer, mask boolean.
    Raises: ValueError, for an x without steps, lengths or a mask that do not fit it, or a carry
        that is not of the cell's kind; TypeError, if lengths are not integers or mask not boolean.
    Source: Gal and Ghahramani 2016, https://arxiv.org/abs/1512.05287, for variational noise.
    """
    if not isinstance(time_axis, int) or time_axis >= 0:
        raise LayerValueError(
            f"scan_time: got time_axis={time_axis!r}, expected -1 or less: it is counted from the "
            "end, as any number of batch axes may come before it."
        )
    cell = as_layer(cell)
    return _scan_time(f"scan_time of {cell.name}", cell, time_axis, variational).named("scan_time")


def bidirectional(
    forward: Layer,
    backward: Layer | None = None,
    *,
    merge: Callable[[jax.Array, jax.Array], jax.Array] = lambda a, b: jnp.concatenate([a, b], -1),
) -> Layer:
    """Two layers over one sequence, the second from its end: ``merge(forward(x), backward(x))``.

    Without ``backward`` it is a second layer like ``forward``, with parameters of its own. A padded
    sequence is read backward from its own last step.

    Shapes: x [..., T, D] -> y [..., T, 2H], (forward's carry, backward's carry).
    Raises: ValueError, for a carry that is no pair; what the layers raise.
    Source: Schuster and Paliwal 1997, https://doi.org/10.1109/78.650093.
    """

    def run(net, x, *, carry=None, lengths=None, mask=None, reverse=False):
        ahead, back = _split("bidirectional", carry, 2)
        options = _given(lengths=lengths, mask=mask)
        y, ahead = net.forward(x, **_given(carry=ahead, reverse=reverse), **options)
        z, back = net.backward(x, **_given(carry=back, reverse=not reverse), **options)
        return merge(y, z), (ahead, back)

    backward = forward if backward is None else backward
    return compose(run, "bidirectional", forward=forward, backward=backward)


def stacked(
    *layers: Layer, dropout_rate: float = 0.0, variational: bool = False, residual: bool = False
) -> Layer:
    """Recurrent layers one upon the other; ``y, carries = layer(params, x)``, a carry a layer.

    dropout_rate: in training, drop entries of what passes from one layer to the next.
    variational: with the same ones dropped at every step.
    residual: each layer but the first adds its input to its output.
    Shapes: x [..., T, D] -> y [..., T, H] of the last layer, and a tuple of the layers' carries.
    Raises: ValueError, for no layers, another number of carries than layers, or a residual layer
        that changes the shape; what the layers raise.
    Source: dropout as in Zaremba et al. 2014, https://arxiv.org/abs/1409.2329, and PyTorch;
        variational as in Gal and Ghahramani 2016, https://arxiv.org/abs/1512.05287; residual as in
        Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 3.1.
    """
    if not layers:
        raise LayerValueError("stacked: got no layers, expected at least one.")

    def forward(net, x, *, carry=None, lengths=None, mask=None, reverse=False):
        options = _given(lengths=lengths, mask=mask, reverse=reverse)
        carries = []
        for index, part in enumerate(_split("stacked", carry, len(layers))):
            if index and dropout_rate:
                x = x * net.drop(jnp.ones_like(x[..., :1, :])) if variational else net.drop(x)
            y, part = net[f"layer_{index}"](x, **_given(carry=part), **options)
            if index and residual:
                if y.shape != x.shape:
                    raise LayerValueError(
                        f"stacked: got layer_{index} mapping {x.shape} to {y.shape}, expected one "
                        "shape in and out, as it is residual."
                    )
                y = x + y
            x = y
            carries.append(part)
        return x, tuple(carries)

    children = {f"layer_{index}": layer for index, layer in enumerate(layers)}
    if dropout_rate:
        children["drop"] = dropout(dropout_rate)
    return compose(forward, "stacked", **children)


def rnn(
    in_features: int,
    hidden_features: int,
    *,
    layers: int = 1,
    bidirectional: bool = False,
    activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    bias: bool = True,
    dropout_rate: float = 0.0,
    recurrent_dropout_rate: float = 0.0,
    implementation: Implementation = "auto",
    kernel_init: Initializer = lecun_normal(),
    recurrent_init: Initializer = orthogonal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """``elman_cell`` along a sequence: ``y, h = layer(params, x)``.

    Calls, carries, both dropouts and ``implementation`` as in ``lstm``; the carry of a layer is h.

    Shapes: x [..., T, in] -> y [..., T, H], h [..., H]; 2H in y where bidirectional; lengths [...].
    Dtypes: as ``elman_cell``.
    Raises: as ``lstm``.
    Source: Elman 1990, https://doi.org/10.1207/s15516709cog1402_1.
    """
    inits: Any = {
        "kernel_init": kernel_init,
        "recurrent_init": recurrent_init,
        "bias_init": bias_init,
    }

    def cell(size):
        rate = recurrent_dropout_rate
        options = {"activation": activation, "bias": bias, "recurrent_dropout_rate": rate}
        return elman_cell(size, hidden_features, **options, **inits)

    sizes = in_features, hidden_features, hidden_features
    return _network("rnn", cell, sizes, layers, bidirectional, dropout_rate, implementation)


def lstm(
    in_features: int,
    hidden_features: int,
    *,
    layers: int = 1,
    bidirectional: bool = False,
    projection: int | None = None,
    peephole: bool = False,
    bias: bool = True,
    dropout_rate: float = 0.0,
    recurrent_dropout_rate: float = 0.0,
    implementation: Implementation = "auto",
    kernel_init: Initializer = lecun_normal(),
    recurrent_init: Initializer = orthogonal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """``lstm_cell`` along a sequence: ``y, (h, c) = layer(params, x)``.

    ``carry=(h, c)`` continues from an earlier call; it starts at zero. With ``lengths``, steps from
    an example's length on give zeros and leave its carry as it was; a ``mask`` [..., T] says which
    steps take part one by one. ``reverse=True`` runs from the end. Where bidirectional, the carry
    is a pair of those of ``forward`` and ``backward``; with several layers, a tuple of theirs.

    dropout_rate: of what passes between layers. recurrent_dropout_rate: of h where it meets
        recurrent, the same entries at every step of a sequence.
    implementation: multiply x by kernel "inside" the scan, step by step, or "outside", all steps at
        once, which takes the memory of T times 4H numbers more. "auto" is inside on a CPU (0.86 of
        the time for 256 features, 128 steps, batch 64, `python -m benchmarks.kernels`), outside
        elsewhere, which is not measured.
    Shapes: x [..., T, in] -> y [..., T, H], (h [..., H], c [..., H]); h and y have P features for
        a projection P, y twice as many where bidirectional; lengths [...].
    Dtypes: as ``lstm_cell``; lengths any integer, mask boolean.
    Params: the cell's; in ``forward`` and ``backward`` where bidirectional, and all that in
        ``layer_0``, ``layer_1``, ... where layers > 1.
    Raises: ValueError, for another number of features, a carry, lengths or mask that do not fit x,
        or a dropout_rate where there is but one layer; TypeError, if x is not floating or lengths
        not integers.
    Source: Hochreiter and Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; more under
        ``lstm_cell``, ``stacked``, ``bidirectional``.
    """
    inits: Any = {
        "kernel_init": kernel_init,
        "recurrent_init": recurrent_init,
        "bias_init": bias_init,
    }

    def cell(size):
        rate = recurrent_dropout_rate
        options = {"bias": bias, "peephole": peephole, "recurrent_dropout_rate": rate}
        return lstm_cell(size, hidden_features, projection=projection, **options, **inits)

    sizes = in_features, hidden_features, projection or hidden_features
    return _network("lstm", cell, sizes, layers, bidirectional, dropout_rate, implementation)


def gru(
    in_features: int,
    hidden_features: int,
    *,
    layers: int = 1,
    bidirectional: bool = False,
    reset_after: bool = True,
    bias: bool = True,
    dropout_rate: float = 0.0,
    recurrent_dropout_rate: float = 0.0,
    implementation: Implementation = "auto",
    kernel_init: Initializer = lecun_normal(),
    recurrent_init: Initializer = orthogonal(),
    bias_init: Initializer = zeros,
) -> Layer:
    """``gru_cell`` along a sequence: ``y, h = layer(params, x)``.

    Calls, carries, both dropouts and ``implementation`` as in ``lstm``; the carry of a layer is h.

    Shapes: x [..., T, in] -> y [..., T, H], h [..., H]; 2H in y where bidirectional; lengths [...].
    Dtypes: as ``gru_cell``.
    Raises: as ``lstm``.
    Source: Cho et al. 2014, https://arxiv.org/abs/1406.1078.
    """
    inits: Any = {
        "kernel_init": kernel_init,
        "recurrent_init": recurrent_init,
        "bias_init": bias_init,
    }

    def cell(size):
        rate = recurrent_dropout_rate
        options = {"reset_after": reset_after, "bias": bias, "recurrent_dropout_rate": rate}
        return gru_cell(size, hidden_features, **options, **inits)

    sizes = in_features, hidden_features, hidden_features
    return _network("gru", cell, sizes, layers, bidirectional, dropout_rate, implementation)


def _network(kind, cell, sizes, layers, both, dropout_rate, implementation) -> Layer:
    """Layers of ``cell(in_features)``, both ways or one, each above the outputs of the last."""
    in_features, hidden_features, out_features = sizes
    name = f"{kind}({in_features}, {hidden_features})"
    check_positive(name, in_features=in_features, hidden_features=hidden_features, layers=layers)
    check_choice(name, "implementation", implementation, get_args(Implementation))
    if dropout_rate and layers == 1:
        raise LayerValueError(
            f"{name}: got dropout_rate={dropout_rate} and layers=1, expected 0: it drops what "
            "passes between layers. Put nn.dropout before or after, or set recurrent_dropout_rate."
        )

    def one(size):
        layer = _scan_time(
            f"{kind}({size}, {hidden_features})", cell(size), -2, True, implementation
        )
        return bidirectional(layer) if both else layer

    later = out_features * (2 if both else 1)
    parts = [one(in_features if index == 0 else later) for index in range(layers)]
    network = parts[0] if layers == 1 else stacked(*parts, dropout_rate=dropout_rate)
    return network.named(name)


def _scan_time(
    name: str,
    cell: Layer,
    time_axis: int,
    variational: bool,
    implementation: Implementation = "inside",
) -> Layer:
    """A ``Gated`` cell that draws no noise of its own at each step runs by ``recur``."""

    def apply(
        params,
        state,
        x,
        *further,
        carry=None,
        lengths=None,
        mask=None,
        reverse=False,
        key=None,
        train=False,
    ):
        check_shape(name, "x", x, (..., *[None] * -time_axis), "Give it an axis of steps.")
        axis = jnp.ndim(x) + time_axis
        runs = running(name, x.shape[: axis + 1], lengths, mask)
        if runs is not None:
            zero = jnp.zeros((), x.dtype)
            x = select(runs, x, zero)  # or the gradient of a NaN in the padding would be one
            runs = jnp.moveaxis(runs, axis, 0)
        xs = jnp.moveaxis(x, axis, 0)

        noisy = cell.random and train

        def call(state, carry, t, x_t):
            noise = key if variational or key is None else fold_in(key, t)
            noise = noise if noisy else None
            return cell.apply(params, state, x_t, carry, *further, key=noise, train=train)

        def step(moving, now):
            old, states = moving
            t, x_t, runs_t = now
            (y, new), states = call(states if train else state, old, t, x_t)
            if runs_t is not None:
                keep = lambda new, old: select(runs_t, new, old)
                new = jax.tree.map(keep, new, old)
                y = jax.tree.map(lambda part: select(runs_t, part, 0), y)
            return (new, states if train else {}), y

        start = _start(name, lambda x_t: call(state, carry, 0, x_t)[0][1], xs, carry)
        start = varying(start, (x, params, state, further, runs))
        if isinstance(cell, Gated) and (variational or not noisy):
            outside = implementation == "outside" or implementation == "auto" and backend() != "cpu"
            keep = cell.kept(start, key) if noisy else None
            with way("projection", "outside" if outside else "inside"):
                inputs = *cell.weights(params), xs, start, runs, keep
                carry, y = recur(cell.step, outside, reverse, *inputs)
            new_state = state
        else:
            moving = (start, varying(state, (x, params, further)) if train else {})
            now = (jnp.arange(xs.shape[0]), xs, runs)
            (carry, new_state), y = jax.lax.scan(step, moving, now, reverse=reverse)
        y = jax.tree.map(lambda part: jnp.moveaxis(part, 0, axis), y)
        return (y, carry), new_state if train else state

    def rebuild(children):
        return _scan_time(name, children[""], time_axis, variational, implementation)

    return Layer(cell.init, apply, name, {"": cell}, rebuild, cell.random)


def _start(name: str, carry_after: Callable[[Any], Any], xs: jax.Array, carry: Any) -> Any:
    """The first carry: the given one, or zeros like the one after a step."""
    try:
        after = jax.eval_shape(carry_after, jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype))
    except (LayerValueError, LayerTypeError) as error:
        error.message = f"{name}: in a step of x, {error.message}"
        raise
    if carry is None:
        return jax.tree.map(lambda a: jax.device_put(np.zeros(a.shape, a.dtype)), after)
    spec = lambda tree: jax.tree.map(lambda a: f"{jnp.result_type(a)}{list(jnp.shape(a))}", tree)
    if spec(carry) != spec(after):
        raise LayerValueError(
            f"{name}: got carry {spec(carry)}, expected {spec(after)} as it is after a step. "
            "Pass what an earlier call returned, or cast it to the dtype of x and params."
        )
    return carry


def _split(name: str, carry: Any, n: int) -> tuple[Any, ...]:
    if carry is None:
        return (None,) * n
    if not isinstance(carry, tuple | list) or len(carry) != n:
        many = len(carry) if isinstance(carry, tuple | list) else "one"
        raise LayerValueError(
            f"{name}: got carry of {many} parts, expected {n}, one a layer. "
            "Pass it as an earlier call returned it."
        )
    return tuple(carry)


def _given(**options: Any) -> dict[str, Any]:
    """The options that were set, so that a layer need only know those that it is used with."""
    return {
        name: value for name, value in options.items() if value is not None and value is not False
    }
