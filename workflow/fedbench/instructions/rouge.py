"""Exact ROUGE-L, fast enough to compare every new instruction with all that were kept."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from rouge_score import tokenizers

_TOKENIZER = tokenizers.DefaultTokenizer(use_stemmer=False)


def tokens(text: str) -> list[str]:
    """Return the lower-case alphanumeric tokens that rouge-score compares."""
    return list(_TOKENIZER.tokenize(text))


def longest_common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Bit-parallel (Hyyro 2004): a machine operation or two for each token of `right`, where rouge-score's table costs
    len(left) * len(right) Python steps.
    """
    places: dict[str, int] = {}
    for index, token in enumerate(left):
        places[token] = places.get(token, 0) | 1 << index
    full = (1 << len(left)) - 1
    open_places = full
    for token in right:
        matched = open_places & places.get(token, 0)
        open_places = ((open_places + matched) | (open_places - matched)) & full
    return len(left) - open_places.bit_count()


def f_measure(left: Sequence[str], right: Sequence[str]) -> float:
    """Return the ROUGE-L F-measure of two token lists: 2 LCS / (n + m), 0 where both are empty."""
    total = len(left) + len(right)
    return 2 * longest_common_subsequence(left, right) / total if total else 0.0


class NearCopies:
    """A growing set of texts that knows whether another text is a near-copy of one of them.

    The number of tokens two texts share bounds their common subsequence from above, and an inverted index gives that
    number for all texts at once; the exact measure is worked out only where the bound reaches the limit.
    """

    def __init__(self, limit: float, texts: Iterable[str] = ()) -> None:
        """Hold `texts`; ROUGE-L >= `limit` is a near-copy."""
        self.limit = limit
        self._texts: list[list[str]] = []
        self._lengths = array("q")
        self._postings: defaultdict[tuple[str, int], array[int]] = defaultdict(lambda: array("q"))
        for text in texts:
            self.add(text)

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str) -> None:
        """Hold `text`."""
        words = tokens(text)
        for key in _numbered(words):
            self._postings[key].append(len(self._texts))
        self._texts.append(words)
        self._lengths.append(len(words))

    def contains(self, text: str) -> bool:
        """Say whether `text` has ROUGE-L >= limit with a held text."""
        words = tokens(text)
        bound = self._bound(words)
        likely = np.flatnonzero(bound >= self.limit)
        return any(f_measure(self._texts[i], words) >= self.limit for i in likely[np.argsort(-bound[likely])])

    def nearest(self, text: str) -> tuple[int, float]:
        """Return the place of the held text that is nearest to `text`, the first of several, and its ROUGE-L.

        Raises:
            ValueError: no text is held.
        """
        if not self._texts:
            raise ValueError("no text is held")
        words = tokens(text)
        bound = self._bound(words)
        best, place = -1.0, 0
        for i in np.argsort(-bound, kind="stable"):
            if bound[i] < best:
                break
            score = f_measure(self._texts[i], words)
            if score > best or (score == best and i < place):
                best, place = score, int(i)
        return place, best

    def _bound(self, words: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return what ROUGE-L with each held text is at most."""
        total = np.array(self._lengths) + len(words)
        postings = [np.array(self._postings[key]) for key in _numbered(words) if key in self._postings]
        if not postings:
            return np.zeros(len(self._texts))
        return np.asarray(2 * np.bincount(np.concatenate(postings), minlength=len(self._texts)) / total)


def _numbered(words: Sequence[str]) -> list[tuple[str, int]]:
    """Number the repeats of a token, so that a set intersection counts shared tokens with their repeats."""
    seen: Counter[str] = Counter()
    numbered = []
    for word in words:
        numbered.append((word, seen[word]))
        seen[word] += 1
    return numbered
