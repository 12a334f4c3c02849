"""Records are read whole, and every fault names file and line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.instructions import records

LETTERS = st.characters(exclude_categories=["Cs"])
TEXT = st.text(alphabet=LETTERS, min_size=1).filter(str.strip)
GOOD = {"instruction": "Say hello.", "context": "", "response": "Hello.", "category": "open_qa"}


def test_records_come_in_file_order_without_further_keys_or_blank_lines(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(GOOD | {"extra": 1}).encode() + b"\r\n\n"
        + json.dumps(GOOD | {"response": "a\u2028b \u00e9"}, ensure_ascii=False).encode()
    )  # fmt: skip
    assert records.read(path) == [GOOD, GOOD | {"response": "a\u2028b \u00e9"}]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"instruction": "x"', "not valid JSON"),
        (b"[1, 2]", "expected a JSON object, found list"),
        (b"\xff\xfe{}", "not UTF-8 at byte 1"),
        (json.dumps({k: v for k, v in GOOD.items() if k != "response"}).encode(), "lacks 'response'"),
        *(
            (json.dumps({k: v for k, v in GOOD.items() if k != key}).encode(), f"lacks '{key}'")
            for key in ("instruction", "context", "category")
        ),
        (b"{}", "lacks 'instruction', 'context', 'response', 'category'"),
        (b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "not valid JSON"),
        (json.dumps(GOOD).encode("utf-16"), "not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (json.dumps(GOOD | {"context": None}).encode(), "'context' must be text, found NoneType"),
        (json.dumps(GOOD | {"response": " "}).encode(), "'response' is empty"),
        (json.dumps(GOOD | {"response": "\ud800"}).encode(), "half a surrogate pair"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path, line, complaint):
    path = tmp_path / "data.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\n" + line + b"\n")
    with pytest.raises(FedbenchError, match=complaint) as caught:
        records.read(path)
    assert caught.value.where == f"{path}:3"
    assert caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b"\r\n \r\n"])
def test_a_file_without_records_is_an_error(tmp_path, content):
    (tmp_path / "data.jsonl").write_bytes(content)
    with pytest.raises(FedbenchError, match="no records"):
        records.read(tmp_path / "data.jsonl")


@settings(deadline=None)
@given(
    st.lists(st.tuples(TEXT, st.text(alphabet=LETTERS), TEXT, TEXT), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_any_text_comes_back_whatever_line_ends_mark_and_escapes(tmp_path_factory, rows, end, mark, ascii_only):
    path = tmp_path_factory.mktemp("records") / "data.jsonl"
    written = [dict(zip(records.KEYS, row, strict=True)) for row in rows]
    lines = [json.dumps(row, ensure_ascii=ascii_only) for row in written]
    path.write_bytes(b"\xef\xbb\xbf" * mark + end.join(lines).encode())
    assert records.read(path) == written


def test_the_real_file_has_15011_records_of_8_categories(real_data):
    read = records.read(real_data / "dolly" / "databricks-dolly-15k.jsonl")
    assert len(read) == 15_011
    assert len({record["category"] for record in read}) == 8
