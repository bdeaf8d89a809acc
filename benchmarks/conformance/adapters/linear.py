"""torch.nn's linear family, tables, distances, and what only rearranges or contains."""

import functools
from typing import Any

import jax.numpy as jnp
import torch

import nnjax as nn
from benchmarks.conformance.torch_samples import samples
from benchmarks.conformance.twin import ADAPTERS, REASONS, NotOurs, Twin, adapter


def dense(get, prefix="", bias=True):
    """PyTorch keeps [out, in], we [in, out]."""
    tree = {"kernel": get(f"{prefix}weight").T}
    return tree | {"bias": get(f"{prefix}bias")} if bias else tree


@adapter("Linear", "NonDynamicallyQuantizableLinear")
def linear(m):
    bias = m.bias is not None
    layer = nn.linear(m.in_features, m.out_features, bias=bias)
    return Twin(layer, lambda get: dense(get, bias=bias))


@adapter("LazyLinear")  # the same once it has seen an input: here sizes are given
def lazy_linear(m):
    return linear(m)


@adapter("Bilinear")
def bilinear(m):
    bias = m.bias is not None
    layer = nn.bilinear(m.in1_features, m.in2_features, m.out_features, bias=bias)

    def params(get):
        tree = {"kernel": jnp.moveaxis(get("weight"), 0, -1)}
        return tree | {"bias": get("bias")} if bias else tree

    return Twin(layer, params)


def table(m):
    """Settings that both kinds of table share."""
    if m.max_norm is not None:
        raise NotOurs(
            "max_norm: PyTorch overwrites the rows that it looks up; ours shortens them on the way "
            "out, and the derivative includes it"
        )
    if m.scale_grad_by_freq:
        raise NotOurs("scale_grad_by_freq: the gradient is the derivative; optax rescales it")
    if m.sparse:
        raise NotOurs("sparse: gradients are arrays of the parameter's shape, as in all of JAX")
    return {"padding_id": m.padding_idx}


@adapter("Embedding")
def embedding(m):
    layer = nn.embedding(m.num_embeddings, m.embedding_dim, **table(m))
    return Twin(layer, lambda get: {"embedding": get("weight")})


@adapter("EmbeddingBag")
def embedding_bag(m):
    layer = nn.embedding_bag(m.num_embeddings, m.embedding_dim, reduce=m.mode, **table(m))

    def enter(ids, offsets=None, weights=None):
        if offsets is not None and m.include_last_offset:
            offsets = offsets[:-1]
        return (ids,), {"offsets": offsets, "weights": weights}

    return Twin(layer, lambda get: {"embedding": get("weight")}, enter=enter)


@adapter("Identity")
def identity(m):
    return Twin(nn.identity)


@adapter("Flatten")
def flatten(m):
    if m.end_dim != -1:
        raise NotOurs("end_dim: flatten joins the axes of an example; x.reshape joins any others")
    return Twin(lambda x: nn.flatten(x.ndim - m.start_dim)({}, x))


@adapter("Unflatten")
def unflatten(m):
    split = nn.unflatten(*m.unflattened_size)
    places = [m.dim + i for i in range(len(m.unflattened_size))]
    lasts = [i - len(places) for i in range(len(places))]
    return Twin(
        split,
        enter=lambda x: jnp.moveaxis(x, m.dim, -1),
        leave=lambda y: jnp.moveaxis(y, lasts, places if m.dim >= 0 else lasts),
    )


@adapter("Sequential")
def sequential(m):
    """Twins of its parts, which here all have one input and keep their axes."""
    parts = {f"part_{i}": ADAPTERS[type(part).__name__](part) for i, part in enumerate(m)}

    def params(get):
        trees = {n: t.params(lambda p, n=n: get(f"{n[5:]}.{p}")) for n, t in parts.items()}
        return {n: tree for n, tree in trees.items() if tree}

    return Twin(nn.serial(**{n: t.layer for n, t in parts.items()}), params)


@adapter("CosineSimilarity")
def cosine_similarity(m):
    return Twin(functools.partial(nn.cosine_similarity, axis=m.dim, eps=m.eps))


@adapter("PairwiseDistance")
def pairwise_distance(m):
    layer = functools.partial(nn.pairwise_distance, p=m.norm, eps=m.eps)
    return Twin(layer, leave=lambda y: y[..., None] if m.keepdim else y)


REASONS |= {
    "Module": "a layer is a pair of functions, nn.Layer; there is no class to inherit from",
    "Container": "deprecated in PyTorch; nn.compose(forward, **children) holds children",
    "ModuleList": "layers are values: a Python list of them, given to nn.serial or nn.compose",
    "ModuleDict": "layers are values: a Python dict of them, given to nn.compose by keyword",
    "ParameterList": "parameters are plain dicts, lists and tuples of arrays already",
    "ParameterDict": "parameters are plain dicts of arrays already",
    "DataParallel": "batches are split over devices by jax.jit and shardings, without a wrapper",
}


@samples("LazyLinear")
def _lazy_linear_samples():
    found = []
    for bias in (True, False):
        for batch in [(), (5,), (2, 3)]:
            m, x = torch.nn.LazyLinear(3, bias=bias), torch.randn(*batch, 4)
            m(x)
            found.append((m, (x,)))
    return found


@samples("EmbeddingBag")
def _embedding_bag_samples():
    fixed = torch.tensor([[0, 2, 2, 5], [2, 2, 2, 2], [1, 3, 4, 1]])
    pieces = torch.tensor([0, 5, 2, 2, 1, 4, 4]), torch.tensor([0, 3, 3, 5])
    calls: list[tuple[dict[str, Any], tuple]] = [
        (settings | {"padding_idx": padding}, call)
        for settings in ({"mode": "sum"}, {"mode": "mean"}, {"mode": "max"})
        for padding in (None, 2)
        for call in ((fixed,), pieces)
    ]
    ids, offsets = torch.tensor([0, 5, 2, 2, 1]), torch.tensor([0, 3, 3])
    weighted: dict[str, Any] = {"mode": "sum", "padding_idx": 2}
    calls += [
        ({"include_last_offset": True}, (ids, torch.tensor([0, 3, 5]))),
        (weighted, (ids, offsets, torch.randn(5))),
        (weighted, (ids[None], None, torch.randn(1, 5))),
        ({"max_norm": 1.0}, (ids[None],)),
        ({"scale_grad_by_freq": True}, (ids[None],)),
        ({"sparse": True, "mode": "sum"}, (ids[None],)),
    ]
    return [(torch.nn.EmbeddingBag(6, 3, **settings), call) for settings, call in calls]


@samples("Identity")
def _identity_samples():
    return [(torch.nn.Identity(54, unused=True), (torch.randn(2, 3, 4),))]


@samples("Flatten")
def _flatten_samples():
    x = torch.randn(2, 3, 4, 5)
    return [
        (torch.nn.Flatten(), (x,)),
        (torch.nn.Flatten(2), (x,)),
        (torch.nn.Flatten(0), (x,)),
        (torch.nn.Flatten(1, 2), (x,)),
    ]


@samples("Unflatten")
def _unflatten_samples():
    x = torch.randn(3, 24, 5)
    return [
        (torch.nn.Unflatten(1, (2, 3, 4)), (x,)),
        (torch.nn.Unflatten(1, (24,)), (x,)),
        (torch.nn.Unflatten(-1, (5, 1)), (x,)),
    ]


@samples("Sequential")
def _sequential_samples():
    parts = torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3, bias=False)
    x = torch.randn(2, 4)
    return [(torch.nn.Sequential(*parts), (x,)), (torch.nn.Sequential(), (x,))]


@samples("CosineSimilarity")
def _cosine_similarity_samples():
    x, y = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    zero = torch.cat([torch.zeros(1, 4, 5), x[1:]])
    return [
        (torch.nn.CosineSimilarity(), (x, y)),
        (torch.nn.CosineSimilarity(dim=-1, eps=1e-6), (x, y[:1])),
        (torch.nn.CosineSimilarity(dim=-1, eps=1e-2), (zero, y)),
    ]


@samples("PairwiseDistance")
def _pairwise_distance_samples():
    x, y = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    norms = [torch.nn.PairwiseDistance(p=p) for p in (1.0, 2.0, 3.0, 0.5, float("inf"))]
    return [(m, (x, y)) for m in norms] + [
        (torch.nn.PairwiseDistance(keepdim=True, eps=1e-3), (x, x[:1])),
        (torch.nn.PairwiseDistance(), (x[0, 0], y[0, 0])),
    ]
