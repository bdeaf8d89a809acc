"""linear_softmax_cross_entropy: the plain loss in values and all derivatives, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax.losses import linear_softmax_cross_entropy, softmax_cross_entropy
from tests.numerics import bf16, close, f64, numbers

C = np.linspace(0.5, 2, 11, dtype=np.float32)
X, KERNEL, BIAS = numbers(2, 7, 5, scale=3.0), numbers(5, 11), numbers(11, seed=1)
LABELS = np.random.default_rng(0).integers(0, 11, (2, 7))
SOFT = np.random.default_rng(0).dirichlet(np.ones(11), (2, 7)).astype(np.float32)
MASK = np.random.default_rng(1).random((2, 7)) > 0.3


def plain(x, labels, kernel, bias, *, z_loss=0.0, **options):
    logits = jnp.matmul(x, kernel) + bias
    extra = {k: v for k, v in options.items() if k in ("mask", "reduction")}
    mean = softmax_cross_entropy(logits, labels, **options)
    squares = jnp.where(extra["mask"], jax.nn.logsumexp(logits, -1) ** 2, 0).sum()
    counts = C[LABELS][MASK].sum() if "class_weights" in options else MASK.sum()
    return mean + z_loss * squares / float(counts)


OPTIONS = {
    "integers": (LABELS, {}),
    "class weights, smoothing, z": (
        LABELS,
        {"class_weights": C, "label_smoothing": 0.1, "z_loss": 0.01},
    ),
    "probabilities": (SOFT, {"z_loss": 0.01}),
}


@pytest.mark.parametrize(
    "case, chunk_size",
    [*((case, 4) for case in OPTIONS), ("integers", 1), ("integers", 14), ("integers", None)],
)
def test_all_derivatives_are_the_plain_ones(case, chunk_size):
    labels, options = OPTIONS[case]
    options = {**options, "mask": MASK, "reduction": "mean"}
    step = numbers(2, 7, 5, seed=3), numbers(5, 11, seed=4), numbers(11, seed=5)

    def derivatives(loss):
        f = lambda x, kernel, bias: loss(x, labels, kernel, bias, **options)
        grad = jax.value_and_grad(f, (0, 1, 2))
        return jax.jvp(grad, (X, KERNEL, BIAS), step)  # value, gradient, and forward over reverse

    chunked = lambda *args, **o: linear_softmax_cross_entropy(*args, chunk_size=chunk_size, **o)
    want = jax.jit(lambda: derivatives(plain))()
    close(jax.jit(lambda: derivatives(chunked))(), f64(want), rtol=2e-5, atol=2e-6)


def test_reverse_over_reverse():
    f = lambda k: linear_softmax_cross_entropy(X, LABELS, k, BIAS, chunk_size=4).sum()
    g = lambda k: plain(X, LABELS, k, BIAS, mask=np.ones((2, 7), bool), reduction="sum")
    twice = lambda f: jax.grad(lambda k: jnp.square(jax.grad(f)(k)).sum())
    close(jax.jit(twice(f))(KERNEL), f64(jax.jit(twice(g))(KERNEL)), rtol=1e-4)


def test_what_is_hidden_reaches_no_gradient():
    x = jnp.where(MASK[..., None], X, jnp.nan)
    labels = np.where(MASK, LABELS, -100)
    f = lambda x, k, b: linear_softmax_cross_entropy(
        x, labels, k, b, chunk_size=4, mask=MASK, reduction="mean"
    )
    gradients = jax.jit(jax.grad(f, (0, 1, 2)))(x, KERNEL, BIAS)
    assert all(np.isfinite(g).all() for g in gradients)
    assert not gradients[0][~MASK].any()


def test_bfloat16_factors_are_summed_in_float32():
    """In bfloat16, adding 1 to 256 changes nothing: 1,024 chunks would add up to a quarter."""
    x, kernel = jnp.ones((1024, 1), jnp.bfloat16), jnp.zeros((1, 2), jnp.bfloat16)
    f = lambda k: linear_softmax_cross_entropy(x, np.zeros(1024, int), k, chunk_size=1).sum()
    value, gradient = jax.jit(jax.value_and_grad(f))(kernel)
    assert value.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    close(gradient, np.array([[-512.0, 512.0]]))
    got = linear_softmax_cross_entropy(bf16(X), LABELS, bf16(KERNEL))
    want = softmax_cross_entropy(jnp.asarray(f64(bf16(X)) @ f64(bf16(KERNEL)), jnp.float32), LABELS)
    close(got, f64(want), rtol=1e-4, atol=1e-5)


def temporaries(loss, tokens, dim, classes):
    spec = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    labels = jax.ShapeDtypeStruct((tokens,), jnp.int32)
    step = jax.jit(jax.value_and_grad(loss, (0, 2)))
    compiled = step.lower(spec(tokens, dim), labels, spec(dim, classes)).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def chunked_mean(x, labels, kernel):
    return linear_softmax_cross_entropy(x, labels, kernel, reduction="mean")


def plain_mean(x, labels, kernel):
    return softmax_cross_entropy(x @ kernel, labels, reduction="mean")


def test_temporaries_are_far_below_the_logits():
    tokens, dim, classes = 2048, 16, 4096
    logits = 4 * tokens * classes
    assert temporaries(plain_mean, tokens, dim, classes) >= logits
    assert temporaries(chunked_mean, tokens, dim, classes) < logits / 4


@pytest.mark.slow
def test_temporaries_at_the_vocabulary_of_gpt_2():
    tokens, dim, classes = 4096, 768, 50_257
    logits = 4 * tokens * classes
    ours = temporaries(chunked_mean, tokens, dim, classes)
    assert temporaries(plain_mean, tokens, dim, classes) >= logits
    assert ours < logits / 2 and ours < 4 * 4 * dim * classes  # a few kernels' worth
    print(f"{ours / 2**20:.0f} MiB of temporaries; the logits alone take {logits / 2**20:.0f}")


def test_errors_come_before_the_chunks():
    with pytest.raises(ValueError, match=r"got kernel of shape \(4, 11\), expected \[5, \*\]"):
        linear_softmax_cross_entropy(X, LABELS, KERNEL[:4])
    with pytest.raises(ValueError, match=r"got labels of shape \(7,\), expected \[2, 7\]"):
        linear_softmax_cross_entropy(X, LABELS[0], KERNEL)
    with pytest.raises(ValueError, match=r"got bias of shape \(1,\), expected \[11\]"):
        linear_softmax_cross_entropy(X, LABELS, KERNEL, BIAS[:1])
    with pytest.raises(ValueError, match="got chunk_size=0, expected at least 1"):
        linear_softmax_cross_entropy(X, LABELS, KERNEL, chunk_size=0)
