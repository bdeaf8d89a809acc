"""Every public loss with arguments for five examples and its definition in float64 NumPy."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
import scipy.stats

from nnjax import losses as L

sp: Any = scipy.special  # its annotations promise tuples
rng = np.random.default_rng(0)
draw = lambda *shape: rng.normal(size=shape).astype(np.float32)

B, C, D = 5, 4, 3
ROWS, MORE, THIRD = draw(B, D), draw(B, D), draw(B, D)
LOGITS, TEACHER = draw(B, C), draw(B, C)
LABELS = np.array([3, 0, 2, 2, 1])
PAIRS = np.array([1, 0, 1, 0, 1])  # labels of which each has a partner, masked or not
PROBABILITIES = rng.dirichlet(np.ones(C), B).astype(np.float32)
SIGNS = np.sign(draw(B, D)).astype(np.float32)
POSITIVE, MORE_POSITIVE = np.exp(draw(B, D)), np.exp(draw(B, D))
IMAGE, IMAGE_LABELS = draw(B, 2, 3, C), rng.integers(0, C, (B, 2, 3))
BOXES, MORE_BOXES = (
    np.concatenate([corner := draw(B, 2), corner + np.exp(draw(B, 2))], -1) for _ in range(2)
)
KERNEL, BIAS = draw(D, C), draw(C)
CLASS_WEIGHTS = np.array([0.5, 1.0, 2.0, 3.0], np.float32)

log_softmax, softmax = (lambda z: sp.log_softmax(z, -1)), (lambda z: sp.softmax(z, -1))
relu = lambda x: np.maximum(0, x)
pick = lambda z, labels: np.take_along_axis(z, labels[..., None], -1)[..., 0]
hot = lambda labels, n=C: np.eye(n)[labels]
cross_entropy = lambda z, labels: -pick(log_softmax(z), labels)
binary = lambda z, y: y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z)
unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
cosine = lambda a, b: (unit(a) * unit(b)).sum(-1)
distances = lambda x: np.linalg.norm(x[:, None] - x[None], axis=-1)


def huber(e, delta):
    return np.where(abs(e) < delta, e**2 / 2, delta * (abs(e) - delta / 2))


def own_among_all(a, b, temperature=0.07):
    z = unit(a) @ unit(b).T / temperature
    return cross_entropy(z, np.arange(len(z)))


def supervised_contrastive(x, labels, temperature=0.1):
    s, loss = unit(x) @ unit(x).T / temperature, []
    for i in range(len(x)):
        others = [a for a in range(len(x)) if a != i]
        terms = [sp.logsumexp(s[i, others]) - s[i, p] for p in others if labels[p] == labels[i]]
        loss.append(np.mean(terms) if terms else 0.0)
    return np.array(loss)


def mined(choose):
    """The sum over an anchor's chosen triplets, by the definition's loops."""

    def reference(x, labels):
        d, out = distances(x), []
        for a in range(len(x)):
            positive = [i for i in range(len(x)) if labels[i] == labels[a] and i != a]
            negative = [i for i in range(len(x)) if labels[i] != labels[a]]
            terms = [relu(1 + d[a, p] - d[a, n]) for p, n in choose(d[a], positive, negative)]
            out.append(float(np.sum(terms)))
        return np.array(out)

    return reference


def semi_hard(d, positive, negative):
    for p in positive if negative else []:
        beyond = [n for n in negative if d[n] > d[p]]
        yield p, (min(beyond, key=d.__getitem__) if beyond else max(negative, key=d.__getitem__))


def hard(d, positive, negative):
    if positive and negative:
        yield max(positive, key=d.__getitem__), min(negative, key=d.__getitem__)


def tversky(a, b, smooth=1.0, power=1.0):
    def reference(z, labels):
        p, t = (x.reshape(len(x), -1, C) for x in (softmax(z), hot(labels)))
        tp, fp, fn = (p * t).sum(1), (p * (1 - t)).sum(1), ((1 - p) * t).sum(1)
        return ((1 - (tp + smooth) / (tp + a * fp + b * fn + smooth)) ** power).mean(-1)

    return reference


def generalized_dice(z, labels):
    p, t = (x.reshape(len(x), -1, C) for x in (softmax(z), hot(labels)))
    n = t.sum(1)
    w = np.divide(1, n**2, out=np.zeros_like(n), where=n > 0)
    return 1 - 2 * (w * (p * t).sum(1)).sum(-1) / (w * (p + t).sum(1)).sum(-1)


def np_lovasz(errors, t):
    """Sum of sorted errors, each times what its pixel adds to 1 - IoU as a set of mistakes."""
    total, before, wrong = 0.0, 0.0, np.zeros(t.shape, bool)
    for i in np.argsort(-errors, kind="stable"):
        wrong[i] = True
        predicted = np.where(wrong, 1 - t, t)
        union = np.maximum(predicted, t).sum()
        now = 1 - (predicted * t).sum() / union if union else 0.0
        total, before = total + errors[i] * (now - before), now
    return total


def lovasz_softmax(z, labels):
    p, t = (x.reshape(len(x), -1, C) for x in (softmax(z), hot(labels)))
    one = lambda p, t: [
        np_lovasz(abs(p[:, c] - t[:, c]), t[:, c]) for c in range(C) if t[:, c].any()
    ]
    return np.array([np.mean(one(*pair)) for pair in zip(p, t, strict=True)])


def lovasz_hinge(s, t):
    s, t = s.reshape(len(s), -1), t.reshape(len(t), -1)
    return np.array([np_lovasz(relu(1 - (2 * b - 1) * a), b) for a, b in zip(s, t, strict=True)])


def boxes(kind):
    def one(p, t):
        area = lambda b: relu(b[2] - b[0]) * relu(b[3] - b[1])
        shared = area([*np.maximum(p[:2], t[:2]), *np.minimum(p[2:], t[2:])])
        around = [*np.minimum(p[:2], t[:2]), *np.maximum(p[2:], t[2:])]
        union = area(p) + area(t) - shared
        loss = 1 - shared / union
        if kind == "giou":
            loss += (area(around) - union) / area(around)
        if kind in ("diou", "ciou"):
            centre = lambda b: (b[:2] + b[2:]) / 2
            diagonal = (around[2] - around[0]) ** 2 + (around[3] - around[1]) ** 2
            loss += ((centre(p) - centre(t)) ** 2).sum() / diagonal
        if kind == "ciou":
            angle = lambda b: np.arctan((b[2] - b[0]) / (b[3] - b[1]))
            v = 4 / np.pi**2 * (angle(p) - angle(t)) ** 2
            loss += v * v / (shared / -union + 1 + v)
        return loss

    return lambda p, t: np.array([one(a, b) for a, b in zip(p, t, strict=True)])


def sparsemax(z, labels):
    """By trying every support."""
    out = []
    for row, label in zip(z, labels, strict=True):
        s = np.sort(row)[::-1]
        k = max(k for k in range(1, len(s) + 1) if 1 + k * s[k - 1] > s[:k].sum())
        p = relu(row - (s[:k].sum() - 1) / k)
        out.append(p @ row - row[label] + (1 - p @ p) / 2)
    return np.array(out)


def np_ctc(z, labels):
    """Over all paths, one by one."""
    import itertools

    out = []
    for row, label in zip(z, labels, strict=True):
        p, total = softmax(row), 0.0
        for path in itertools.product(range(row.shape[1]), repeat=row.shape[0]):
            merged = [c for c, _ in itertools.groupby(path)]
            if [c for c in merged if c] == list(label):
                total += np.prod([p[t, c] for t, c in enumerate(path)])
        out.append(-np.log(total))
    return np.array(out)


def mixture(means, targets, log_scales, logits):
    density = scipy.stats.norm.logpdf(targets[:, None], means, np.exp(log_scales)).sum(-1)
    return -sp.logsumexp(log_softmax(logits) + density, -1)


def capsule(x, labels):
    t = hot(labels)
    return (t * relu(0.9 - x) ** 2 + 0.5 * (1 - t) * relu(x - 0.1) ** 2).sum(-1)


def arcface(cosines, labels):
    angles = np.arccos(cosines) + 0.5 * hot(labels)
    return cross_entropy(64 * np.cos(angles), labels)


def multi_margin(s, labels):
    gaps = relu(1 - pick(s, labels)[:, None] + s) ** 2
    return (gaps * (1 - hot(labels))).sum(-1) / C


def multilabel_margin(s, y):
    gaps = relu(1 - s[:, :, None] + s[:, None, :])
    return (gaps * y[:, :, None] * (1 - y[:, None, :])).sum((1, 2)) / C


def weighted_smoothed(z, labels):
    y = 0.9 * hot(labels) + 0.1 / C
    return -(CLASS_WEIGHTS * y * log_softmax(z)).sum(-1)


@dataclasses.dataclass(frozen=True)
class Case:
    loss: Callable[..., Any]
    args: tuple[np.ndarray, ...]
    reference: Callable[..., np.ndarray]
    counted: bool = False  # values do not count alike in the mean
    own_mask: bool = False  # the mask is of pixels or items
    checks_last: bool = True  # the last argument's shape is the first's, or follows from it


def given(loss, **options):
    return lambda *args, **form: loss(*args, **options, **form)


levels = np.linspace(0.2, 0.9, B, dtype=np.float32)
SIGMAS = np.sqrt(1 - levels**2)
up = lambda a: a[:, None]
critic = lambda x: jnp.sin(x).sum(-1) + jnp.square(x).sum(-1) / 4


def penalty(real, fake, *, key=jax.random.key(3)):
    row = [abs(ROWS - r).sum(-1).argmin() for r in real]  # the draw belongs to the position
    share = np.asarray(jax.random.uniform(key, (B, 1)), np.float64)[row]
    x = share * real + (1 - share) * fake
    return (np.linalg.norm(np.cos(x) + x / 2, axis=-1) - 1) ** 2


def free_energy(v):
    kernel, bias = KERNEL.astype(v.dtype), BIAS.astype(v.dtype)
    return -(v @ kernel[:, 0]) - jax.nn.softplus(v @ kernel + bias).sum(-1)


def np_free_energy(v):
    return -(v @ KERNEL[:, 0]) - np.logaddexp(0, v @ KERNEL + BIAS).sum(-1)


def linear_cross_entropy(x, labels, **form):
    return L.linear_softmax_cross_entropy(x, labels, KERNEL, BIAS, chunk_size=2, z_loss=0.1, **form)


def np_linear_cross_entropy(x, labels):
    z = x @ KERNEL.astype(np.float64) + BIAS
    return cross_entropy(z, labels) + 0.1 * sp.logsumexp(z, -1) ** 2


CASES: dict[str, Case] = {
    # regression
    "squared_error": Case(L.squared_error, (ROWS, MORE), lambda p, t: (p - t) ** 2),
    "absolute_error": Case(L.absolute_error, (ROWS, MORE), lambda p, t: abs(p - t)),
    "huber_loss": Case(
        given(L.huber_loss, delta=0.7), (ROWS, MORE), lambda p, t: huber(p - t, 0.7)
    ),
    "smooth_l1_loss": Case(
        given(L.smooth_l1_loss, beta=0.7), (ROWS, MORE), lambda p, t: huber(p - t, 0.7) / 0.7
    ),
    "log_cosh": Case(L.log_cosh, (ROWS, MORE), lambda p, t: np.log(np.cosh(p - t))),
    "absolute_percentage_error": Case(
        L.absolute_percentage_error, (ROWS, MORE), lambda p, t: abs((p - t) / t)
    ),
    "squared_log_error": Case(
        L.squared_log_error,
        (POSITIVE, MORE_POSITIVE),
        lambda p, t: np.log((1 + p) / (1 + t)) ** 2,
    ),
    "quantile_loss": Case(
        given(L.quantile_loss, quantile=0.9),
        (ROWS, MORE),
        lambda p, t: np.where(t > p, 0.9 * (t - p), 0.1 * (p - t)),
    ),
    "cosine_distance": Case(L.cosine_distance, (ROWS, MORE), lambda a, b: 1 - cosine(a, b)),
    # classification
    "softmax_cross_entropy": Case(L.softmax_cross_entropy, (LOGITS, LABELS), cross_entropy),
    "softmax_cross_entropy, probabilities": Case(
        L.softmax_cross_entropy,
        (LOGITS, PROBABILITIES),
        lambda z, y: -(y * log_softmax(z)).sum(-1),
    ),
    "softmax_cross_entropy, class weights, smoothed": Case(
        given(L.softmax_cross_entropy, class_weights=CLASS_WEIGHTS, label_smoothing=0.1),
        (LOGITS, LABELS),
        weighted_smoothed,
        counted=True,
    ),
    "negative_log_likelihood": Case(
        L.negative_log_likelihood, (LOGITS, LABELS), lambda z, y: -pick(z, y)
    ),
    "sigmoid_binary_cross_entropy": Case(
        L.sigmoid_binary_cross_entropy, (LOGITS, PROBABILITIES), binary
    ),
    "sigmoid_binary_cross_entropy, positive_weight": Case(
        given(L.sigmoid_binary_cross_entropy, positive_weight=CLASS_WEIGHTS),
        (LOGITS, PROBABILITIES),
        lambda z, y: binary(z, y) + (CLASS_WEIGHTS - 1) * y * np.logaddexp(0, -z),
    ),
    "sigmoid_focal_loss": Case(
        given(L.sigmoid_focal_loss, alpha=0.25),
        (LOGITS, PROBABILITIES),
        lambda z, y: binary(z, y) * (y + (1 - 2 * y) * sp.expit(z)) ** 2 * (0.75 - 0.5 * y),
    ),
    "softmax_focal_loss": Case(
        L.softmax_focal_loss,
        (LOGITS, LABELS),
        lambda z, y: cross_entropy(z, y) * (1 - pick(softmax(z), y)) ** 2,
    ),
    "poly_loss_cross_entropy": Case(
        L.poly_loss_cross_entropy,
        (LOGITS, LABELS),
        lambda z, y: cross_entropy(z, y) + 2 * (1 - pick(softmax(z), y)),
    ),
    "z_loss": Case(L.z_loss, (LOGITS,), lambda z: sp.logsumexp(z, -1) ** 2, checks_last=False),
    "sparsemax_loss": Case(L.sparsemax_loss, (LOGITS, LABELS), sparsemax),
    "ranking_softmax_loss": Case(
        L.ranking_softmax_loss,
        (LOGITS, PROBABILITIES),
        lambda z, y: -(y * log_softmax(z)).sum(-1),
        own_mask=True,
    ),
    # divergences
    "kl_divergence": Case(
        L.kl_divergence, (LOGITS, PROBABILITIES), lambda z, y: sp.rel_entr(y, np.exp(z)).sum(-1)
    ),
    "kl_divergence_with_log_targets": Case(
        L.kl_divergence_with_log_targets,
        (LOGITS, TEACHER),
        lambda z, y: sp.rel_entr(np.exp(y), np.exp(z)).sum(-1),
    ),
    "generalized_kl_divergence": Case(
        L.generalized_kl_divergence,
        (LOGITS, PROBABILITIES),
        lambda z, y: sp.kl_div(y, np.exp(z)).sum(-1),
    ),
    "distillation_loss": Case(
        L.distillation_loss,
        (LOGITS, TEACHER),
        lambda z, y: 4 * sp.rel_entr(softmax(y / 2), softmax(z / 2)).sum(-1),
    ),
    # likelihoods
    "poisson_nll": Case(
        given(L.poisson_nll, full=True),
        (LOGITS, rng.poisson(3, (B, C)).astype(np.float32)),
        lambda z, y: np.exp(z) - y * z + sp.gammaln(y + 1),
    ),
    "gaussian_nll": Case(
        given(L.gaussian_nll, full=True),
        (ROWS, MORE, POSITIVE),
        lambda m, t, v: -scipy.stats.norm.logpdf(t, m, np.sqrt(v)),
    ),
    "gaussian_mixture_nll": Case(
        L.gaussian_mixture_nll, (draw(B, C, D), ROWS, draw(B, C, D), LOGITS), mixture
    ),
    # margins
    "hinge_loss": Case(L.hinge_loss, (ROWS, SIGNS), lambda s, t: relu(1 - t * s)),
    "perceptron_loss": Case(L.perceptron_loss, (ROWS, SIGNS), lambda s, t: relu(-t * s)),
    "soft_margin_loss": Case(
        L.soft_margin_loss, (ROWS, SIGNS), lambda s, t: np.log1p(np.exp(-t * s))
    ),
    "margin_ranking_loss": Case(
        given(L.margin_ranking_loss, margin=0.5),
        (ROWS, MORE, SIGNS),
        lambda a, b, t: relu(0.5 - t * (a - b)),
    ),
    "hinge_embedding_loss": Case(
        L.hinge_embedding_loss,
        (POSITIVE, SIGNS),
        lambda d, t: np.where(t > 0, d, relu(1 - d)),
    ),
    "cosine_embedding_loss": Case(
        given(L.cosine_embedding_loss, margin=-0.5),
        (ROWS, MORE, SIGNS[:, 0]),
        lambda a, b, t: np.where(t > 0, 1 - cosine(a, b), relu(cosine(a, b) + 0.5)),
    ),
    "multiclass_hinge_loss": Case(
        L.multiclass_hinge_loss,
        (LOGITS, LABELS),
        lambda s, y: (s + 1 - hot(y)).max(-1) - pick(s, y),
    ),
    "multiclass_perceptron_loss": Case(
        L.multiclass_perceptron_loss, (LOGITS, LABELS), lambda s, y: s.max(-1) - pick(s, y)
    ),
    "multi_margin_loss": Case(given(L.multi_margin_loss, power=2), (LOGITS, LABELS), multi_margin),
    "multilabel_margin_loss": Case(
        L.multilabel_margin_loss,
        (LOGITS, (PROBABILITIES > 0.25).astype(np.int32)),
        multilabel_margin,
    ),
    "multilabel_soft_margin_loss": Case(
        given(L.multilabel_soft_margin_loss, class_weights=CLASS_WEIGHTS),
        (LOGITS, PROBABILITIES),
        lambda z, y: (CLASS_WEIGHTS * binary(z, y)).mean(-1),
    ),
    "capsule_margin_loss": Case(L.capsule_margin_loss, (sp.expit(LOGITS), LABELS), capsule),
    "arcface_loss": Case(L.arcface_loss, (np.tanh(LOGITS), LABELS), arcface),
    # embeddings
    "info_nce": Case(L.info_nce, (ROWS, MORE), own_among_all),
    "clip_loss": Case(
        L.clip_loss,
        (ROWS, MORE),
        lambda a, b: (own_among_all(a, b) + own_among_all(b, a)) / 2,
    ),
    "supervised_contrastive_loss": Case(
        L.supervised_contrastive_loss, (ROWS, PAIRS), supervised_contrastive, counted=True
    ),
    "contrastive_loss": Case(
        given(L.contrastive_loss, margin=2.5),
        (ROWS, MORE, PAIRS),
        lambda a, b, y: (
            np.where(y, ((a - b) ** 2).sum(-1), relu(2.5 - np.linalg.norm(a - b, axis=-1)) ** 2) / 2
        ),
    ),
    "triplet_margin_loss": Case(
        L.triplet_margin_loss,
        (ROWS, MORE, THIRD),
        lambda a, p, n: relu(
            np.linalg.norm(a - p + 1e-6, axis=-1) - np.linalg.norm(a - n + 1e-6, axis=-1) + 1
        ),
    ),
    "batch_hard_triplet_loss": Case(
        L.batch_hard_triplet_loss, (ROWS, PAIRS), mined(hard), counted=True
    ),
    "batch_all_triplet_loss": Case(
        L.batch_all_triplet_loss,
        (ROWS, PAIRS),
        mined(lambda d, positive, negative: [(p, n) for p in positive for n in negative]),
        counted=True,
    ),
    "semi_hard_triplet_loss": Case(
        L.semi_hard_triplet_loss, (ROWS, PAIRS), mined(semi_hard), counted=True
    ),
    # regions and boxes
    "dice_loss": Case(L.dice_loss, (IMAGE, IMAGE_LABELS), tversky(0.5, 0.5), own_mask=True),
    "tversky_loss": Case(
        given(L.tversky_loss, gamma=2.0),
        (IMAGE, IMAGE_LABELS),
        tversky(0.3, 0.7, power=2.0),
        own_mask=True,
    ),
    "generalized_dice_loss": Case(
        L.generalized_dice_loss, (IMAGE, IMAGE_LABELS), generalized_dice, own_mask=True
    ),
    "lovasz_softmax_loss": Case(
        L.lovasz_softmax_loss, (IMAGE, IMAGE_LABELS), lovasz_softmax, own_mask=True
    ),
    "lovasz_hinge_loss": Case(
        L.lovasz_hinge_loss, (IMAGE[..., 0], IMAGE_LABELS % 2), lovasz_hinge, own_mask=True
    ),
    **{
        f"{kind}_loss": Case(getattr(L, f"{kind}_loss"), (BOXES, MORE_BOXES), boxes(kind))
        for kind in ("iou", "giou", "diou", "ciou")
    },
    # sequences
    "ctc_loss": Case(
        L.ctc_loss, (draw(B, 4, 3), np.array([[1, 1], [2, 1]] * 2 + [[1, 2]])), np_ctc
    ),
    # generative
    "gaussian_kl": Case(
        L.gaussian_kl,
        (ROWS, MORE),
        lambda m, s: (m**2 + np.exp(s) - 1 - s).sum(-1) / 2,
    ),
    "bernoulli_reconstruction": Case(
        given(L.bernoulli_reconstruction, axes=3),
        (IMAGE, sp.expit(IMAGE[::-1])),
        lambda z, y: binary(z, y).sum((1, 2, 3)),
    ),
    "gaussian_reconstruction": Case(
        given(L.gaussian_reconstruction, scale=0.5),
        (ROWS, MORE),
        lambda m, t: -scipy.stats.norm.logpdf(t, m, 0.5).sum(-1),
    ),
    "vq_codebook_loss": Case(L.vq_codebook_loss, (ROWS, MORE), lambda e, q: ((e - q) ** 2).sum(-1)),
    "vq_commitment_loss": Case(
        L.vq_commitment_loss, (ROWS, MORE), lambda e, q: ((e - q) ** 2).sum(-1)
    ),
    "gan_discriminator_loss": Case(
        L.gan_discriminator_loss,
        (ROWS, MORE),
        lambda r, f: -np.log(sp.expit(r)) - np.log(1 - sp.expit(f)),
    ),
    "gan_generator_loss": Case(
        L.gan_generator_loss, (ROWS,), lambda f: -np.log(sp.expit(f)), checks_last=False
    ),
    "lsgan_discriminator_loss": Case(
        L.lsgan_discriminator_loss, (ROWS, MORE), lambda r, f: ((r - 1) ** 2 + f**2) / 2
    ),
    "lsgan_generator_loss": Case(
        L.lsgan_generator_loss, (ROWS,), lambda f: (f - 1) ** 2 / 2, checks_last=False
    ),
    "hinge_discriminator_loss": Case(
        L.hinge_discriminator_loss, (ROWS, MORE), lambda r, f: relu(1 - r) + relu(1 + f)
    ),
    "wasserstein_critic_loss": Case(L.wasserstein_critic_loss, (ROWS, MORE), lambda r, f: f - r),
    "wasserstein_generator_loss": Case(
        L.wasserstein_generator_loss, (ROWS,), lambda f: -f, checks_last=False
    ),
    "gradient_penalty": Case(
        lambda real, fake, **form: L.gradient_penalty(
            critic, real, fake, jax.random.key(3), **form
        ),
        (ROWS, MORE),
        penalty,
    ),
    "diffusion_loss": Case(
        given(L.diffusion_loss, target="velocity"),
        (ROWS, MORE, THIRD, levels, SIGMAS),
        lambda p, x, e, a, s: ((p - (up(a) * e - up(s) * x)) ** 2).mean(-1),
    ),
    "flow_matching_loss": Case(
        L.flow_matching_loss, (ROWS, MORE, THIRD), lambda p, x, e: ((p - x + e) ** 2).mean(-1)
    ),
    "contrastive_divergence": Case(
        lambda data, samples, **form: L.contrastive_divergence(free_energy, data, samples, **form),
        (ROWS, MORE),
        lambda v, s: np_free_energy(v) - np_free_energy(s),
    ),
    "linear_softmax_cross_entropy": Case(
        linear_cross_entropy, (ROWS, LABELS), np_linear_cross_entropy
    ),
}

# No losses: the parts that they are made with.
PARTS = {
    "diffusion_target",
    "euclidean_distance",
    "noised",
    "rbm_free_energy",
    "rbm_gibbs_step",
    "snr_weights",
}
# Arguments that no gradient flows to, by the loss's definition, and so not by differences.
STOPPED = {
    "distillation_loss": 1,
    "vq_codebook_loss": 0,
    "vq_commitment_loss": 1,
    "contrastive_divergence": 1,
    "ciou_loss": None,  # its factor a has none
}
