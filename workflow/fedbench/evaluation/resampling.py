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
    """Return the metrics of `draws` resamples (with replacement) of the test rows, class by class.

    Each class keeps its number of rows (a stratified bootstrap): where a rare one, often missed, dropped out of a
    resample, its macro means would jump, and the interval would end far from the value that it belongs to. Every
    resample takes the same rows for all scopes, so a mean over scopes keeps their correlation. Rows equal in truth and
    in every prediction are drawn together, as one cell of a multinomial.

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
        np.stack([_metrics(weights, patterns[0], scope, classes) for scope in patterns[1:]], axis=1)
        for weights in _resamples(counts, patterns[0], draws, rng)
    ]
    return np.concatenate(blocks)


def _resamples(counts: Codes, truth: Codes, draws: int, rng: np.random.Generator) -> Iterator[Values]:
    """Yield blocks of resampled pattern counts, shape (block, patterns)."""
    block = max(1, _CELLS // len(counts))
    strata = [np.flatnonzero(truth == label) for label in np.unique(truth)]
    for start in range(0, draws, block):
        drawn = np.empty((min(block, draws - start), len(counts)))
        for own in strata:
            rows = counts[own].sum()
            drawn[:, own] = rng.multinomial(rows, counts[own] / rows, size=len(drawn))
        yield drawn


def _metrics(weights: Values, truth: Codes, predicted: Codes, classes: int) -> Values:
    """Return the metrics of weighted patterns, shape (draws, len(METRICS)).

    A class has a part in a macro mean if some pattern holds or predicts it, as in scikit-learn; of a resample that is
    decided by the whole test set.
    """
    is_truth = np.eye(classes)[truth]
    is_predicted = np.eye(classes + 1)[predicted]
    support = weights @ is_truth
    chosen = weights @ is_predicted
    hits = weights @ (is_truth * is_predicted[:, :classes])
    unparsed, chosen = chosen[:, classes], chosen[:, :classes]

    precision = _ratio(hits, chosen)
    recall = _ratio(hits, support)
    f1 = _ratio(2 * hits, support + chosen)
    rows = weights.sum(axis=1)
    seen = (is_truth + is_predicted[:, :classes]).any(axis=0)
    macro = [part[:, seen].mean(axis=1) for part in (precision, recall, f1)]
    weighted = [(part * support).sum(axis=1) / rows for part in (precision, recall, f1)]
    return np.stack([hits.sum(axis=1) / rows, *macro, *weighted, unparsed / rows], axis=1)


def _ratio(numerator: Values, denominator: Values) -> Values:
    """Return numerator / denominator, 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
