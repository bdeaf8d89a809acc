"""Message passing with edge features and with several aggregators: mpnn and pna."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from nnjax.core import Layer, check_choice, check_entries, check_positive, compose
from nnjax.core.errors import LayerValueError
from nnjax.initializers import draw, glorot_uniform, zeros
from nnjax.layers.graph_inputs import check_edges, check_graph
from nnjax.layers.linear import linear, mlp
from nnjax.ops.segment import AGGREGATES

SCALERS = ("identity", "amplification", "attenuation")


def mpnn(
    dim: int, edge_features: int, *, hidden: Sequence[int] = (128,), aggregate: str = "sum"
) -> Layer:
    """One round of message passing along edges with features, by an edge network and a GRU::

        m_i = sum of matrix(e_ij) x_j over edges j to i
        r, z = sigmoid(m_i @ kernel + x_i @ recurrent + bias)
        y_i = z x_i + (1 - z) tanh(m_i @ kernel + (r x_i) @ recurrent + bias)

    ``matrix`` is an MLP that makes a D x D matrix of each edge's features. Called again on y, the
    layer makes another round with the same weights. ``message_passing`` takes messages and updates
    of your own.

    Shapes: nodes [..., N, D], senders and receivers [..., E], edges [..., E, F] -> y [..., N, D].
    Params: matrix, an mlp(edge_features, *hidden, D * D); update with kernel and recurrent [D, 3 D]
        and bias [3 D], in the order r, z, candidate.
    Raises: ValueError, for an unknown aggregate, or shapes that do not fit; TypeError, as in gcn.
    Source: Gilmer et al. 2017, https://arxiv.org/abs/1704.01212, section 5, "edge network"; GRU of
        Cho et al. 2014, https://arxiv.org/abs/1406.1078, section 2.3.
    """
    name = f"mpnn({dim}, {edge_features})"
    check_positive(name, dim=dim, edge_features=edge_features)
    check_choice(name, "aggregate", aggregate, AGGREGATES)

    def forward(net, nodes, senders, receivers, *, edges, node_mask=None, edge_mask=None):
        masks, shape = (node_mask, edge_mask), (edge_features,)
        g = check_graph(name, nodes, senders, receivers, *masks, dim, edges, shape)
        matrix = net.matrix(g.edges).reshape(*g.senders.shape, dim, dim)
        messages = jnp.einsum("...ij,...j->...i", matrix, g.at_senders(g.nodes))
        return g.only_real(net.update(g.nodes, g.aggregate(aggregate, messages)))

    matrix = mlp(edge_features, *hidden, dim * dim)
    return compose(forward, name, matrix=matrix, update=_gru(dim))


def pna(
    in_features: int,
    out_features: int,
    *,
    mean_log_degree: float,
    edge_features: int = 0,
    aggregators: Sequence[str] = ("mean", "max", "min", "std"),
    scalers: Sequence[str] = SCALERS,
) -> Layer:
    """Principal neighbourhood aggregation: every aggregator times every scaler::

        m_ij = message([x_i, x_j, e_ij]) for each edge j to i
        y_i = update([x_i, s(d_i) a(m_ij over j) for each scaler s and aggregator a])

    With d_i the edges that arrive at i and delta = mean_log_degree, the scalers are identity (1),
    amplification (log(d_i + 1) / delta) and attenuation (delta / log(d_i + 1)).

    Shapes: nodes [..., N, in], senders and receivers [..., E] -> y [..., N, out]; edges [..., E, F]
        if edge_features = F.
    Units:  mean_log_degree is the mean of log(d + 1) over the nodes of the training set.
    Params: message, a linear(2 in + F, in); update, a linear(in + scalers * aggregators * in, out).
    Raises: ValueError, for a mean_log_degree that is not positive, unknown or no aggregators or
        scalers, or shapes that do not fit; TypeError, as in gcn.
    Source: Corso et al. 2020, https://arxiv.org/abs/2004.05718, equations 5 to 8, with one tower
        and a standard deviation in two passes.
    """
    name = f"pna({in_features}, {out_features})"
    check_positive(name, in_features=in_features, out_features=out_features)
    if edge_features != 0:
        check_positive(name, edge_features=edge_features)
    for argument, words, known in (
        ("aggregators", aggregators, tuple(AGGREGATES)),
        ("scalers", scalers, SCALERS),
    ):
        if not words:
            raise LayerValueError(f"{name}: got no {argument}, expected some of {known}.")
        for word in words:
            check_choice(name, argument, word, known)
    if not mean_log_degree > 0:
        raise LayerValueError(
            f"{name}: got mean_log_degree={mean_log_degree}, expected a positive number. It is "
            "the mean of log(degree + 1) over the training nodes."
        )

    def forward(net, nodes, senders, receivers, *, edges=None, node_mask=None, edge_mask=None):
        check_edges(name, edges, edge_features)
        masks, shape = (node_mask, edge_mask), (edge_features,)
        g = check_graph(name, nodes, senders, receivers, *masks, in_features, edges, shape)
        ends = [g.at_receivers(g.nodes), g.at_senders(g.nodes)]
        messages = net.message(jnp.concatenate(ends if g.edges is None else [*ends, g.edges], -1))
        gathered = jnp.concatenate([g.aggregate(kind, messages) for kind in aggregators], -1)
        log_degree = jnp.log1p(jnp.maximum(g.degrees(), 1).astype(jnp.float32))[..., None]
        scales = {
            "identity": jnp.ones_like(log_degree),
            "amplification": log_degree / mean_log_degree,
            "attenuation": mean_log_degree / log_degree,
        }  # without an edge all that they scale is zero, so that degree 0 may count as 1
        scaled = [gathered * scales[word].astype(gathered.dtype) for word in scalers]
        return g.only_real(net.update(jnp.concatenate([g.nodes, *scaled], -1)))

    width = in_features * (1 + len(aggregators) * len(scalers))
    return compose(
        forward,
        name,
        message=linear(2 * in_features + edge_features, in_features),
        update=linear(width, out_features),
    )


def _gru(dim: int) -> Layer:
    """``update(x, m)``: nodes x move towards what their messages m propose, gate by gate."""
    name = f"gru({dim})"
    shapes = {"kernel": (dim, 3 * dim), "recurrent": (dim, 3 * dim), "bias": (3 * dim,)}
    glorot = glorot_uniform()

    def init(key):
        return draw(key, shapes, kernel=glorot, recurrent=glorot, bias=zeros), {}

    def apply(params, state, x, m, *, key=None, train=False):
        kernel, recurrent, bias = check_entries(name, "params", params, **shapes)
        r, z, proposal = jnp.split(m @ kernel + bias, 3, axis=-1)
        at_r, at_z, at_proposal = jnp.split(recurrent, 3, axis=-1)
        r, z = jax.nn.sigmoid(r + x @ at_r), jax.nn.sigmoid(z + x @ at_z)
        return z * x + (1 - z) * jnp.tanh(proposal + (r * x) @ at_proposal), state

    return Layer(init, apply, name)
