"""How near the test records are to the training records, by hand."""

from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.instructions import schema
from fedbench.instructions.leakage import SCORED, leakage
from fedbench.instructions.rouge import NearCopies, f_measure, tokens
from fedbench.reporting import ledgers

ON_OFF = ["On", "Off"]


def row(instruction, split, label=None, labels=None, source="self-instruct"):
    record = {"instruction": instruction, "context": "", "response": label or "Yes.", "category": "state"}
    return record | {"split": split, "label": label, "labels": labels, "source": source}


def measured(folder, rows):
    numbered = [record | {"row_id": k} for k, record in enumerate(rows)]
    schema.write(schema.table(numbered, schema.DATASET), folder / "dataset.parquet")
    table = leakage(folder / "dataset.parquet", folder / "leakage.csv")
    assert pl.read_csv(folder / "leakage.csv").columns == table.columns
    return {record["part"]: record for record in table.iter_rows(named=True)}


def test_each_part_of_the_test_set_is_measured_and_memory_is_scored(tmp_path):
    parts = measured(
        tmp_path,
        [
            row("the red lamp glows", "train", "On", ON_OFF),
            row("the blue lamp is dark", "train", "Off", ON_OFF),
            row("the green lamp shines bright", "train", "On", ON_OFF[::-1]),
            row("a lamp glows dark", "train", "Hot", ["Hot", "Cold"]),
            row("the blue lamp is cold", "test", "Off", ON_OFF),  # 4 of 5 words with row 1: ROUGE-L 0.8
            row("the red lamp dims", "test", "Off", ON_OFF),  # 3 of 4 with row 0: 0.75, whose label is wrong
            row("zzz", "test", "Yes", ["Yes", "No"]),  # no training record offers this label set
            row("what is love", "test", source="dolly"),  # 1 of 3 and 5 with row 1: 2 / 8
            row("the red lamp glows", "validation", "On", ON_OFF),
        ],
    )
    assert list(parts) == ["dolly", "self-instruct", SCORED]
    assert [parts[name]["test_rows"] for name in parts] == [1, 3, 3]
    assert parts["dolly"]["rouge_median"] == 0.25
    assert parts["dolly"]["nearest"] is parts["dolly"]["majority"] is None
    assert parts[SCORED]["rouge_median"] == 0.75
    assert parts[SCORED]["rouge_50"] == parts[SCORED]["rouge_70"] == pytest.approx(2 / 3, abs=1e-5)
    assert parts[SCORED]["nearest"] == pytest.approx(1 / 3, abs=1e-5)
    assert parts[SCORED]["majority"] == 0


def test_a_test_set_without_closed_labels_has_no_scored_part(tmp_path):
    parts = measured(tmp_path, [row("a b", "train"), row("a b", "test")])
    assert parts["self-instruct"]["rouge_70"] == 1
    assert SCORED not in parts


SENTENCES = st.lists(st.sampled_from(["the", "lamp", "in", "a", "room", "is", "on"]), max_size=9).map(" ".join)


@settings(deadline=None)
@given(st.lists(SENTENCES, min_size=1, max_size=8), SENTENCES)
def test_the_nearest_text_is_the_one_that_comparing_all_would_find(texts, text):
    scores = [f_measure(tokens(other), tokens(text)) for other in texts]
    assert NearCopies(1.0, texts).nearest(text) == (scores.index(max(scores)), max(scores))


def test_the_table_shows_both_data_sets_one_or_none(tmp_path):
    assert "the data set was not built" in ledgers.leakage(SimpleNamespace(folder=tmp_path))["note"][0]
    folder = tmp_path / "data" / "dolly"
    folder.mkdir(parents=True)
    measured(folder, [row("a b", "train", "On", ON_OFF), row("a c", "test", "On", ON_OFF)])
    alone = ledgers.leakage(SimpleNamespace(folder=tmp_path))
    assert alone["Protocol or part"].to_list() == ["self-instruct", SCORED]
    assert alone["ROUGE-L ≥ 0.5"][1].value == 1
    assert alone["Nearest"].to_list()[0] == ""
    (tmp_path / "data" / "iot23").mkdir()
    (tmp_path / "data" / "iot23" / "leakage.csv").write_text("protocol,test_rows,nearest\nrandom,400,0.9\n")
    both = ledgers.leakage(SimpleNamespace(folder=tmp_path))
    assert both["Data set"].to_list() == ["IoT-23", "Dolly", "Dolly"]
    assert both["ROUGE-L ≥ 0.5"][0] == ""
    assert [cell and cell.value for cell in both["Nearest"]] == [0.9, "", 1.0]
    assert both["Test rows"][0].digits == 0


def test_nothing_is_nearest_among_nothing():
    with pytest.raises(ValueError, match="no text is held"):
        NearCopies(1.0).nearest("a")
