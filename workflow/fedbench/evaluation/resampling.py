"""Classification metrics of many bootstrap resamples of one test set at once."""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Values = NDArray[np.float64]

METRICS = (
    "accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "precision_weighted",
    "recall_weighted",
    "f1_weighted",
    "unparsed",
)
_CELLS = 4_000_000  # resampled counts held in memory at a time


def generator(name: str) -> np.random.Generator:
    """Return a random generator seeded from `name`, the same on every machine."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big"))


def bootstrap(truth: Codes, predicted: Codes, classes: int, draws: int, rng: np.random.Generator) -> Values:
    """Return the metrics of `draws` resamples (with replacement) of the test rows.

    Every resample takes the same rows for all scopes, so a mean over scopes keeps their correlation. Rows equal in
    truth and in every prediction are drawn together, as one cell of a multinomial.

    Args:
        truth: class code of each row, shape (rows,), in 0..classes-1.
        predicted: predicted code by scope, shape (scopes, rows); `classes` stands for an unparsed answer.
        classes: number of classes.
        draws: number of resamples.
        rng: source of randomness.

    Returns:
        Shape (draws, scopes, len(METRICS)), the metrics in the order of `METRICS`.
    """
    patterns, counts = np.unique(np.vstack([truth, predicted]), axis=1, return_counts=True)
    blocks = [
        np.stack([_metrics(weights, counts, patterns[0], scope, classes) for scope in patterns[1:]], axis=1)
        for weights in _resamples(counts, draws, rng)
    ]
    return np.concatenate(blocks)


def _resamples(counts: Codes, draws: int, rng: np.random.Generator) -> Iterator[Values]:
    """Yield blocks of resampled pattern counts, shape (block, patterns)."""
    block = max(1, _CELLS // len(counts))
    rows = counts.sum()
    for start in range(0, draws, block):
        yield rng.multinomial(rows, counts / rows, size=min(block, draws - start)).astype(np.float64)


def _metrics(weights: Values, counts: Codes, truth: Codes, predicted: Codes, classes: int) -> Values:
    """Return the metrics of resampled patterns, shape (draws, len(METRICS)).

    A class has a part in a macro mean if some row holds or predicts it, as in scikit-learn; of a resample that is
    decided by the whole test set. One that a resample holds no row of counts with its score on the whole: were it left
    out, or zero, the macro means would jump with the luck of a rare class.
    """
    parts, support, chosen, hits = _by_class(weights, truth, predicted, classes)
    whole, held, taken, _ = _by_class(counts[None].astype(np.float64), truth, predicted, classes)
    absent, seen = support == 0, (held + taken[:, :classes])[0] > 0
    rows = weights.sum(axis=1)
    macro = [
        np.where(absent, known, part)[:, seen].sum(axis=1) / max(1, seen.sum())
        for part, known in zip(parts, whole, strict=True)
    ]
    weighted = [(part * support).sum(axis=1) / rows for part in parts]
    return np.stack([hits.sum(axis=1) / rows, *macro, *weighted, chosen[:, classes] / rows], axis=1)


def _by_class(
    weights: Values, truth: Codes, predicted: Codes, classes: int
) -> tuple[tuple[Values, Values, Values], Values, Values, Values]:
    """Return (precision, recall, F1), rows held, rows predicted (unparsed last), rows right; each (draws, classes)."""
    is_truth, is_predicted = np.eye(classes)[truth], np.eye(classes + 1)[predicted]
    support, chosen = weights @ is_truth, weights @ is_predicted
    hits = weights @ (is_truth * is_predicted[:, :classes])
    answered = chosen[:, :classes]
    parts = _ratio(hits, answered), _ratio(hits, support), _ratio(2 * hits, support + answered)
    return parts, support, chosen, hits


def _ratio(numerator: Values, denominator: Values) -> Values:
    """Return numerator / denominator, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
