"""The first label that an answer names is its label; no label is unparsed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbench.instructions.answer import parse


@pytest.mark.parametrize(
    ("answer", "labels", "found"),
    [
        ("Anomaly. The event ...", ["Normal", "Anomaly"], "Anomaly"),
        ("this looks NORMAL, no anomaly", ["Normal", "Anomaly"], "Normal"),
        ("Abnormal anomalies", ["Normal", "Anomaly"], None),
        ("'low'", ["Low", "High"], "Low"),
        ("It is highly likely", ["likely", "highly likely", "highly unlikely"], "highly likely"),
        ("unlikely", ["likely", "unlikely"], "unlikely"),
        ("use C++ here", ["C", "C++"], "C++"),
        ("", ["Low"], None),
        ("Low", [], None),
        ("Low", ["", " ", "low"], "low"),
    ],
)
def test_known_answers(answer, labels, found):
    assert parse(answer, labels) == found


@given(st.text(), st.lists(st.text(max_size=5), max_size=4))
def test_the_result_is_one_of_the_labels_or_none(answer, labels):
    assert parse(answer, labels) in [*labels, None]


@given(st.sampled_from(["Low", "Medium", "High"]))
def test_a_right_response_gives_its_own_label(label):
    assert parse(f"{label}. It is not Low, Medium or High.", ["Low", "Medium", "High"]) == label
