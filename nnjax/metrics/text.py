"""Text: BLEU, ROUGE, and error rates of words and characters.

Predictions and references are lists of strings. Their counts are NumPy arrays, so the states add
and stream like the others', on the host.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import jax
import numpy as np

from nnjax.core import check_positive
from nnjax.core.errors import LayerTypeError, LayerValueError
from nnjax.metrics.metric import Metric


def bleu(order: int = 4) -> Metric:
    """``brevity * exp(mean_n log precision_n)`` of n-grams up to ``order``, over the whole corpus.

    A prediction has one reference or a list of them; words are split at blanks: tokenise first
    (sacrebleu's ``13a``, for example) for figures to compare with papers. In [0, 1]; zero as soon
    as an order has no match.

    Source: Papineni et al. 2002, https://doi.org/10.3115/1073083.1073135.
    """
    check_positive("bleu", order=order)

    def count(prediction: str, references: str | Sequence[str]):
        references = [references] if isinstance(references, str) else list(references)
        words, others = prediction.split(), [r.split() for r in references]
        hits = np.zeros(order, np.int64)
        for n in range(1, order + 1):
            most = Counter()
            for other in others:
                most |= _ngrams(other, n)
            hits[n - 1] = (_ngrams(words, n) & most).total()
        totals = np.maximum(len(words) - np.arange(order), 0)
        closest = min((abs(len(o) - len(words)), len(o)) for o in others)[1]
        lengths = np.array([len(words), closest], np.int64)
        return {"hits": hits, "totals": totals, "lengths": lengths}

    def compute(state):
        length, reference = state["lengths"]
        if length == 0 or not state["totals"].all():
            return 0.0 if reference else float("nan")
        with np.errstate(divide="ignore"):
            precision = np.log(state["hits"] / state["totals"]).mean()
        return float(np.exp(precision + min(0.0, 1 - reference / length)))

    empty = {
        "hits": np.zeros(order, np.int64),
        "totals": np.zeros(order, np.int64),
        "lengths": np.zeros(2, np.int64),
    }
    return _counted(f"bleu({order})", count, compute, empty)


def rouge(n: int) -> Metric:
    """F1 of the n-grams that prediction and reference share, mean over pairs: ROUGE-n.

    Words are split at blanks. ``rouge_l`` has the longest common subsequence.

    Source: Lin 2004, https://aclanthology.org/W04-1013, section 2.
    """
    check_positive("rouge", n=n)

    def score(prediction: str, reference: str) -> float:
        a, b = _ngrams(prediction.split(), n), _ngrams(reference.split(), n)
        return _f1((a & b).total(), a.total(), b.total())

    return _mean(f"rouge({n})", score)


def rouge_l() -> Metric:
    """F1 of the longest common subsequence of words, mean over pairs: ROUGE-L of sentences.

    Source: Lin 2004, https://aclanthology.org/W04-1013, section 3.1.
    """

    def score(prediction: str, reference: str) -> float:
        a, b = prediction.split(), reference.split()
        return _f1(_common(a, b), len(a), len(b))

    return _mean("rouge_l", score)


def word_error_rate() -> Metric:
    """Insertions, deletions and substitutions of words, over the words of the references.

    Source: Levenshtein 1966, "Binary codes capable of correcting deletions, insertions, reversals".
    """
    return _error_rate("word_error_rate", str.split)


def character_error_rate() -> Metric:
    """Insertions, deletions and substitutions of characters, over those of the references."""
    return _error_rate("character_error_rate", list)


def _error_rate(name, units) -> Metric:
    def count(prediction: str, reference: str):
        a, b = units(prediction), units(reference)
        return np.array([_edits(a, b), len(b)], np.int64)

    compute = lambda state: float(state[0] / state[1]) if state[1] else float("nan")
    return _counted(name, count, compute, np.zeros(2, np.int64))


def _mean(name, score) -> Metric:
    count = lambda prediction, reference: np.array([score(prediction, reference), 1.0])
    compute = lambda state: float(state[0] / state[1]) if state[1] else float("nan")
    return _counted(name, count, compute, np.zeros(2))


def _counted(name: str, count, compute, empty: Any) -> Metric:
    def measure(predictions, references, mask=None):
        if isinstance(predictions, str) or isinstance(references, str):
            raise LayerTypeError(f"{name}: got a string, expected lists of strings. Use [text].")
        if len(predictions) != len(references):
            got = f"got {len(predictions)} predictions and {len(references)} references"
            raise LayerValueError(f"{name}: {got}, expected as many.")
        kept = [True] * len(predictions) if mask is None else list(np.asarray(mask))
        pairs = zip(predictions, references, kept, strict=True)
        return _sum([empty, *(count(p, r) for p, r, keep in pairs if keep)])

    return Metric(lambda: empty, measure, lambda a, b: _sum([a, b]), compute, name)


def _sum(states: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.sum(leaves, axis=0), *states)


def _ngrams(words: Sequence[str], n: int) -> Counter:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _f1(hits: int, predicted: int, wanted: int) -> float:
    return 2 * hits / (predicted + wanted) if hits else 0.0


def _edits(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Levenshtein's distance, a row of the table at a time."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def _common(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]
