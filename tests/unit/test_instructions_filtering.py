"""The IoT filter: categories out, whole words only, a ranking that reaches the wanted count, an honest ledger."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.instructions import schema
from fedbench.instructions.fetch import fetch
from fedbench.instructions.filtering import LEXICON, filter_iot, similarity, strict_match
from fedbench.spec import InstructionsSpec


def run(tmp_path, rows, **keys):
    """Filter (instruction, category) rows; return the kept instructions in order, and the ledger."""
    lines = [
        json.dumps({"instruction": text, "context": "", "response": "Yes.", "category": category})
        for text, category in rows
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    write_json(tmp_path / "sources.json", [{"path": str(tmp_path / "in.jsonl"), "source": "mirror"}])
    spec = InstructionsSpec(source={"kind": "mirror", "path": str(tmp_path)}, **keys)
    filter_iot(tmp_path / "sources.json", spec, tmp_path / "out.parquet", tmp_path / "ledger.json")
    frame = pl.read_parquet(tmp_path / "out.parquet")
    assert frame.schema == pl.Schema(schema.FILTERED)
    return frame, read_json(tmp_path / "ledger.json")


@pytest.mark.parametrize("text", ["the IoT, at last", "Smart Home!", "Wi-Fi", "a thermostat's dial", "z-wave/zigbee"])
def test_the_lexicon_matches_whole_words_whatever_the_case(text):
    assert strict_match(text)


@pytest.mark.parametrize("text", ["patriot", "riot", "idiotic", "floral explorations", "censorship", "smart homework"])
def test_a_word_inside_another_word_is_no_match(text):
    assert not strict_match(text)


def test_every_lexicon_entry_matches_itself_and_stands_once():
    assert all(strict_match(term) for term in LEXICON)
    assert len(set(LEXICON)) == len(LEXICON)


def test_matches_come_first_then_the_most_similar_and_the_order_of_the_source_stays(tmp_path):
    rows = [
        ("Name a poem on roses.", "open_qa"),
        ("Which network measures temperature, light and energy in rooms?", "open_qa"),
        ("Tell a tale of a sensor.", "creative_writing"),
        ("Why did the patriot riot?", "general_qa"),
        ("Who invented zigbee?", "open_qa"),
    ]
    kept, ledger = run(tmp_path, rows, keep=2)
    assert kept["row_id"].to_list() == [1, 4]
    assert kept["strict_match"].to_list() == [False, True]
    assert kept["source"].to_list() == ["dolly", "dolly"]
    assert ledger["strict_matches"] == {"read": 2, "candidates": 1, "kept": 1}
    assert ledger["labels"]["read"] == {"creative_writing": 1, "general_qa": 1, "open_qa": 3}
    assert [(step["rows_before"], step["rows_after"]) for step in ledger["steps"]] == [(5, 4), (4, 2)]
    assert ledger["steps"][1]["labels_after"] == {"open_qa": 2} == ledger["labels"]["kept"]


def test_the_count_of_strict_matches_stands_beside_the_count_kept(tmp_path):
    rows = [(f"Who invented zigbee number {k}?", "open_qa") for k in range(3)] + [("Who sang this?", "open_qa")] * 4
    kept, ledger = run(tmp_path, rows, keep=5)
    assert kept["strict_match"].sum() == ledger["strict_matches"]["kept"] == 3
    assert ledger["steps"][1]["reason"].startswith(
        "lexicon matches (3 of those kept), then TF-IDF similarity; wanted 5"
    )


WORDS = st.sampled_from(["sensor", "zigbee", "energy", "poem", "love", "network", "rose", "é"])
ROWS = st.lists(
    st.tuples(st.lists(WORDS, min_size=1, max_size=3).map(" ".join), st.sampled_from(["open_qa", "creative_writing"])),
    min_size=2,
    max_size=12,
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.integers(1, 6), st.randoms(use_true_random=False))
def test_no_order_of_the_lines_changes_what_is_kept_and_no_excluded_record_comes_in(tmp_path, rows, keep, rng):
    if all(category == "creative_writing" for _, category in rows):
        return
    shuffled = rng.sample(rows, len(rows))
    kept, ledger = run(tmp_path, rows, keep=keep)
    other, _ = run(tmp_path, shuffled, keep=keep)
    columns = ["instruction", "category", "strict_match", "similarity"]
    assert sorted(kept.select(columns).rows()) == sorted(other.select(columns).rows())
    open_rows = [text for text, category in rows if category == "open_qa"]
    assert kept.height == ledger["rows_kept"] == min(keep, len(open_rows))
    assert set(kept["category"]) == {"open_qa"}
    matching = sum(strict_match(text) for text in open_rows)
    assert kept["strict_match"].sum() == ledger["strict_matches"]["kept"] == min(keep, matching)
    assert kept["row_id"].is_sorted()


def test_where_fewer_records_exist_all_are_kept_and_the_ledger_says_so(tmp_path):
    kept, ledger = run(tmp_path, [("One?", "open_qa"), ("Two?", "closed_qa")], keep=10)
    assert kept["instruction"].to_list() == ["One?"]
    assert "only 1 of the wanted 10 exist" in ledger["steps"][1]["reason"]


def test_excluding_everything_is_an_error(tmp_path):
    with pytest.raises(FedbenchError, match="every record is excluded"):
        run(tmp_path, [("One?", "open_qa")], exclude=["open_qa"])


def test_similarity_is_a_cosine_and_learns_from_the_matching_records():
    texts = ["thermostat for the kitchen scullery", "a scullery of old", "a ballad of old"]
    alone, fed = similarity(texts, [False] * 3), similarity(texts, [True, False, False])
    assert np.all((alone >= 0) & (alone <= 1))
    assert alone[1] == alone[2] == fed[2] == 0
    assert fed[1] > 0


def test_real_dolly_is_cut_to_4500_with_the_excluded_categories_gone(tmp_path, real_data):
    spec = InstructionsSpec(source={"kind": "mirror", "path": str(real_data / "dolly")})
    fetch(spec, tmp_path, tmp_path / "sources.json")
    filter_iot(tmp_path / "sources.json", spec, tmp_path / "out.parquet", tmp_path / "ledger.json")
    ledger = read_json(tmp_path / "ledger.json")
    assert ledger["rows_read"] == 15_011
    assert ledger["labels"]["read"] == {
        "brainstorming": 1766,
        "classification": 2136,
        "closed_qa": 1773,
        "creative_writing": 709,
        "general_qa": 2191,
        "information_extraction": 1506,
        "open_qa": 3742,
        "summarization": 1188,
    }
    assert ledger["steps"][0]["rows_after"] == 15_011 - 1773 - 709
    assert ledger["rows_kept"] == pl.read_parquet(tmp_path / "out.parquet").height == 4500
    assert ledger["strict_matches"]["kept"] == ledger["strict_matches"]["candidates"] < 300
