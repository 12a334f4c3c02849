"""The fast ROUGE-L is rouge-score's ROUGE-L, and the index misses no near-copy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from fedbench.instructions.rouge import NearCopies, f_measure, longest_common_subsequence, tokens

SENTENCES = st.lists(
    st.sampled_from(["the", "lamp", "in", "a", "room", "is", "on", "off", "at", "3", "AM"]), max_size=14
).map(" ".join)
SCORER = RougeScorer(["rougeL"], use_stemmer=False)


@pytest.mark.parametrize(
    ("left", "right", "length"),
    [("abcde", "ace", 3), ("abc", "abc", 3), ("abc", "xyz", 0), ("", "abc", 0), ("aab", "baa", 2), ("aaaa", "aa", 2)],
)
def test_longest_common_subsequence_by_hand(left, right, length):
    assert longest_common_subsequence(left, right) == length == longest_common_subsequence(right, left)


def test_f_measure_by_hand():
    assert f_measure(["police", "killed", "the", "gunman"], ["police", "kill", "the", "gunman"]) == 2 * 3 / 8


@given(SENTENCES, SENTENCES)
def test_f_measure_equals_rouge_score(left, right):
    expected = SCORER.score(left, right)["rougeL"].fmeasure
    assert f_measure(tokens(left), tokens(right)) == pytest.approx(expected, abs=1e-12)


@given(st.lists(SENTENCES, max_size=8), SENTENCES, st.sampled_from([0.3, 0.5, 0.7, 1.0]))
def test_the_index_agrees_with_comparing_every_pair(texts, text, limit):
    slow = any(f_measure(tokens(other), tokens(text)) >= limit for other in texts)
    assert NearCopies(limit, texts).contains(text) == slow


def test_exactly_the_limit_is_a_near_copy():
    held = NearCopies(0.5, ["a b c d"])
    assert held.contains("a b x y")
    assert not held.contains("a x y z")
    assert len(held) == 1
