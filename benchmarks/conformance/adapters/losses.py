"""torch.nn's losses: ours are functions, and reductions that differ are made from their values."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import torch
from torch.testing._internal.common_modules import module_db

import nnjax as nn
from benchmarks.conformance.adapters.linear import dense
from benchmarks.conformance.torch_samples import samples
from benchmarks.conformance.twin import NotOurs, Twin, adapter, last

L = nn.losses


def array(tensor):
    return None if tensor is None else jnp.asarray(tensor.detach().float().numpy())


def fold(values, reduction):
    """PyTorch's reduction where it divides by the number of values, whatever their weights."""
    return {"none": lambda: values, "mean": values.mean, "sum": values.sum}[reduction]()


def is_float(a):
    return jnp.issubdtype(a.dtype, jnp.floating)


@adapter("L1Loss")
def l1(m):
    return Twin(lambda x, y: L.absolute_error(x, y, reduction=m.reduction))


@adapter("MSELoss")
def mse(m):
    return Twin(lambda x, y: L.squared_error(x, y, reduction=m.reduction))


@adapter("SmoothL1Loss")
def smooth_l1(m):
    return Twin(lambda x, y: L.smooth_l1_loss(x, y, beta=m.beta, reduction=m.reduction))


@adapter("HuberLoss")
def huber(m):
    return Twin(lambda x, y: L.huber_loss(x, y, delta=m.delta, reduction=m.reduction))


@adapter("PoissonNLLLoss")
def poisson(m):
    if m.full:
        raise NotOurs("full=True adds Stirling's approximation of log(targets!); ours is exact")
    log = (lambda x: x) if m.log_input else lambda x: jnp.log(x + m.eps)
    return Twin(lambda x, y: L.poisson_nll(log(x), y, reduction=m.reduction))


@adapter("GaussianNLLLoss")
def gaussian(m):
    def loss(x, y, v):
        v = jnp.broadcast_to(v, x.shape)
        return L.gaussian_nll(x, y, v, eps=m.eps, full=m.full, reduction=m.reduction)

    return Twin(loss)


@adapter("KLDivLoss")
def kl(m):
    divergence = L.kl_divergence_with_log_targets if m.log_target else L.kl_divergence

    def loss(x, y):  # PyTorch's values are the sum's terms: classes of one entry each
        terms = divergence(x[..., None], y[..., None])
        if m.reduction == "batchmean":
            return terms.sum() / (terms.shape[0] if terms.shape else 1)
        return fold(terms, m.reduction)

    return Twin(loss)


@adapter("BCELoss")
def bce(m):
    """Probabilities are the sigmoid of their logits."""
    w = array(m.weight)

    def loss(p, y):
        logits = jax.scipy.special.logit(p.astype(jnp.float32))
        weights = None if w is None else jnp.broadcast_to(w, p.shape)
        return fold(L.sigmoid_binary_cross_entropy(logits, y, weights=weights), m.reduction)

    return Twin(loss)


@adapter("BCEWithLogitsLoss")
def bce_with_logits(m):
    w, positive = array(m.weight), array(m.pos_weight)

    def loss(x, y):
        weights = None if w is None else jnp.broadcast_to(w, x.shape)
        values = L.sigmoid_binary_cross_entropy(x, y, weights=weights, positive_weight=positive)
        return fold(values, m.reduction)

    return Twin(loss)


@adapter("NLLLoss", "NLLLoss2d")
def nll(m):
    def loss(log_p, y):
        options = {"mask": y != m.ignore_index, "class_weights": array(m.weight)}
        return L.negative_log_likelihood(last(log_p), y, reduction=m.reduction, **options)

    return Twin(loss)


def cross_entropy(loss, y, m):
    """``loss(labels, **options)`` reduced as PyTorch does."""
    options = {"class_weights": array(m.weight), "label_smoothing": m.label_smoothing}
    if is_float(y):  # class probabilities: PyTorch's mean leaves the class weights out
        return fold(loss(y, **options), m.reduction)
    shown = y != (-100 if m.ignore_index is None else m.ignore_index)
    value = loss(y, mask=shown, reduction=m.reduction, **options)
    if m.reduction == "mean":  # of nothing: PyTorch's is NaN, ours 0
        value = value * jnp.where(shown.any(), 1, jnp.nan).astype(value.dtype)
    return value


@adapter("CrossEntropyLoss")
def softmax_cross_entropy(m):
    def loss(x, y):
        channels_last = last if x.ndim > 1 else lambda a: a
        y = channels_last(y) if is_float(y) else y
        call = lambda labels, **k: L.softmax_cross_entropy(channels_last(x), labels, **k)
        return cross_entropy(call, y, m)

    return Twin(loss)


@adapter("LinearCrossEntropyLoss")
def linear_cross_entropy(m):
    classes, outs = m.num_classes, m.out_features
    bias = m.linear.bias is not None

    def apply(params, state, x, y, *, key=None, train=False):
        if not outs:
            whole = lambda labels, **k: L.linear_softmax_cross_entropy(
                x, labels, params["kernel"], params.get("bias"), chunk_size=3, **k
            )
            return cross_entropy(whole, y, m), state
        # a loss each of the places out_features: kernel [D, C, places], labels [N, places]
        flat = lambda a, axis: a.reshape(*a.shape[:axis], -1)
        kernel = params["kernel"].reshape(x.shape[-1], classes, -1)
        b = params["bias"].reshape(classes, -1) if bias else jnp.zeros((classes, kernel.shape[-1]))
        y = flat(y, 2) if is_float(y) else flat(y, 1)
        values = lambda labels, **k: jax.vmap(
            lambda labels, kernel, b: L.linear_softmax_cross_entropy(x, labels, kernel, b, **k),
            in_axes=(-1, -1, -1),
            out_axes=-1,
        )(labels, kernel, b.astype(kernel.dtype))

        def call(labels, mask=None, reduction="none", **k):
            if reduction == "none":
                loss = values(labels, **k)
                loss = loss if mask is None else jnp.where(mask, loss, 0)
                return loss.reshape(x.shape[0], *outs)
            if mask is None:
                return fold(values(labels, **k), reduction)
            loss = jnp.where(mask, values(jnp.where(mask, labels, 0), **k), 0)
            w = k["class_weights"]
            w = mask if w is None else jnp.where(mask, w[jnp.where(mask, labels, 0)], 0)
            return loss.sum() / (w.sum() if reduction == "mean" else 1)

        return cross_entropy(call, y, m), state

    def params(get):
        tree = {"kernel": get("linear.weight").T}
        return tree | {"bias": get("linear.bias")} if bias else tree

    return Twin(nn.Layer(lambda key: ({}, {}), apply, "linear_softmax_cross_entropy"), params)


@adapter("MarginRankingLoss")
def margin_ranking(m):
    return Twin(
        lambda a, b, y: L.margin_ranking_loss(a, b, y, margin=m.margin, reduction=m.reduction)
    )


@adapter("HingeEmbeddingLoss")
def hinge_embedding(m):
    return Twin(lambda x, y: L.hinge_embedding_loss(x, y, margin=m.margin, reduction=m.reduction))


@adapter("CosineEmbeddingLoss")
def cosine_embedding(m):
    return Twin(
        lambda a, b, y: L.cosine_embedding_loss(a, b, y, margin=m.margin, reduction=m.reduction)
    )


@adapter("SoftMarginLoss")
def soft_margin(m):
    return Twin(lambda x, y: L.soft_margin_loss(x, y, reduction=m.reduction))


@adapter("MultiMarginLoss")
def multi_margin(m):
    w = array(m.weight)

    def loss(x, y):
        options = {"margin": m.margin, "power": m.p}
        values = L.multi_margin_loss(x, y, weights=None if w is None else w[y], **options)
        return fold(values, m.reduction)

    return Twin(loss, bfloat16=False)


@adapter("MultiLabelMarginLoss")
def multilabel_margin(m):
    def loss(x, y):  # PyTorch lists the classes, up to a -1; ours counts them
        listed = jnp.cumprod((y >= 0).astype(x.dtype), -1)[..., None]
        labels = (jax.nn.one_hot(y, x.shape[-1], dtype=x.dtype) * listed).sum(-2)
        return L.multilabel_margin_loss(x, labels, reduction=m.reduction)

    return Twin(loss, bfloat16=False)


@adapter("MultiLabelSoftMarginLoss")
def multilabel_soft_margin(m):
    options = {"class_weights": array(m.weight), "reduction": m.reduction}
    return Twin(lambda x, y: L.multilabel_soft_margin_loss(x, y, **options))


@adapter("TripletMarginLoss")
def triplet_margin(m):
    def distance(a, b):
        if m.p == 2:
            return L.euclidean_distance(a, b, eps=m.eps)
        return (jnp.abs(a - b + m.eps) ** m.p).sum(-1) ** (1 / m.p)

    options = {"margin": m.margin, "swap": m.swap, "reduction": m.reduction}
    loss = lambda a, p, n: L.triplet_margin_loss(a, p, n, distance=distance, **options)
    return Twin(loss, bfloat16=False)  # PyTorch's distances, in eight bits, change who is nearer


def manhattan(a, b):
    return abs(a - b).sum(-1)


@adapter("TripletMarginWithDistanceLoss")
def triplet_margin_with_distance(m):
    ours = manhattan if m.distance_function is manhattan else L.euclidean_distance
    options = {"margin": m.margin, "swap": m.swap, "reduction": m.reduction}
    loss = lambda a, p, n: L.triplet_margin_loss(a, p, n, distance=ours, **options)
    return Twin(loss, bfloat16=False)  # as above


@adapter("CTCLoss")
def ctc(m):
    def loss(log_p, y, frames, lengths):
        frames, lengths = (jnp.asarray(n, int) for n in (frames, lengths))
        logits = jnp.moveaxis(log_p, 0, 1)
        if y.ndim == 1:  # all labels in one row: cut it, the longest first cut deciding the size
            starts = jnp.cumsum(lengths) - lengths
            places = starts[:, None] + jnp.arange(y.shape[0])
            y = y[jnp.minimum(places, y.shape[0] - 1)]
        values = L.ctc_loss(logits, y, frames, lengths, blank=m.blank)
        if m.zero_infinity:
            values = jnp.where(jnp.isinf(values), 0, values)
        if m.reduction == "mean":
            return (values / jnp.maximum(lengths, 1).astype(values.dtype)).mean()
        return fold(values, m.reduction)

    return Twin(loss, bfloat16=False)  # PyTorch has no bfloat16 CTC


@adapter("AdaptiveLogSoftmaxWithLoss")
def adaptive(m):
    layer = nn.adaptive_log_softmax(
        m.in_features, m.n_classes, m.cutoffs[:-1], div_value=m.div_value, bias=m.head_bias
    )

    def apply(params, state, x, y, *, key=None, train=False):
        loss = L.negative_log_likelihood(layer(params, x), y)
        return (-loss, loss.mean()), state

    def params(get):
        tree = {"head": dense(get, "head.", m.head_bias)}
        for i in range(m.n_clusters):
            down, up = (dense(get, f"tail.{i}.{j}.", False) for j in (0, 1))
            tree[f"tail_{i}"] = {"down": down, "up": up}
        return tree

    return Twin(nn.Layer(layer.init, apply, "adaptive_log_softmax"), params)


@samples("AdaptiveLogSoftmaxWithLoss")
def adaptives():
    torch.manual_seed(1)
    made, x, y = torch.nn.AdaptiveLogSoftmaxWithLoss, torch.randn(7, 8), torch.arange(7) * 3
    return [
        (made(8, 20, [5, 12], div_value=2.0), (x, y)),
        (made(8, 20, [5, 12, 16], div_value=2.0, head_bias=True), (x, y)),
        (made(8, 20, [10]), (x[0], y[3])),
    ]


@samples("NLLLoss2d")
def nll_2d():
    torch.manual_seed(1)
    log_p = torch.randn(2, 4, 5, 5).log_softmax(1)
    y = torch.randint(0, 4, (2, 5, 5))
    options = [{}, {"reduction": "sum"}, {"ignore_index": 2}, {"weight": torch.rand(4)}]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated there in favour of NLLLoss
        return [(torch.nn.NLLLoss2d(**o), (log_p, y)) for o in options]


@samples("TripletMarginLoss")
def triplets():
    torch.manual_seed(1)
    rows = tuple(torch.randn(3, 6, 5))
    one = tuple(torch.randn(3, 5))
    grid = itertools.product(("mean", "sum", "none"), (False, True), (2.0, 1.0, 3.0), (0.5, 1.0))
    return [
        (torch.nn.TripletMarginLoss(margin, p, swap=swap, reduction=reduction), args)
        for reduction, swap, p, margin in grid
        for args in (rows, one)
    ]


@samples("TripletMarginWithDistanceLoss")
def triplets_with_distance():
    torch.manual_seed(1)
    rows = tuple(torch.randn(3, 6, 5))
    grid = itertools.product((None, manhattan), ("mean", "sum", "none"), (False, True), (0.5, 2.0))
    made = torch.nn.TripletMarginWithDistanceLoss
    return [
        (made(distance_function=d, margin=margin, swap=swap, reduction=reduction), rows)
        for d, reduction, swap, margin in grid
    ]


@samples("SoftMarginLoss")
def soft_margins():
    """PyTorch's own, with whole numbers as targets: it has no gradient for floating ones."""
    torch.manual_seed(1)
    x, y = 9 * torch.randn(5, 5), torch.randint(0, 2, (5, 5)) * 2 - 1
    return [(torch.nn.SoftMarginLoss(reduction=r), (x, y)) for r in ("mean", "sum", "none")]


@samples("LinearCrossEntropyLoss")
def linear_cross_entropies():
    """Every seventeenth of PyTorch's own 857: they differ mostly in how PyTorch cuts chunks."""
    (info,) = [m for m in module_db if m.name == "nn.LinearCrossEntropyLoss"]
    settings = {"device": "cpu", "dtype": torch.float32, "requires_grad": False, "training": True}
    chosen = info.module_inputs_func(info, **settings)[::17]
    made = [(s.constructor_input, s.forward_input) for s in chosen]
    return [(info.module_cls(*c.args, **c.kwargs), f.args) for c, f in made]


@samples("CTCLoss")
def sequences():
    """Short ones. PyTorch's own have losses of 200 nats, at which float32 holds neither library.

    There its float32 gradients are 5e-5 of the largest from its own float64 ones, ours 3e-5.
    """
    torch.manual_seed(1)
    made, log_p = torch.nn.CTCLoss, torch.randn(12, 3, 6).log_softmax(2)
    y = torch.randint(1, 6, (3, 4))
    frames, lengths = (12, 10, 8), (4, 3, 2)
    tensors = torch.tensor(frames), torch.tensor(lengths)
    rows, one_row = (log_p, y, frames, lengths), (log_p, y.flatten()[:9], *tensors)
    short = torch.ones_like(y), torch.tensor((12, 6, 3)), torch.tensor((4, 4, 2))  # 1 1 1 1 in 6
    return [
        *((made(reduction=r), args) for r in ("mean", "sum", "none") for args in (rows, one_row)),
        (made(blank=5), (log_p, y - 1, *tensors)),
        (made(reduction="none", zero_infinity=True), (log_p, *short)),
    ]
