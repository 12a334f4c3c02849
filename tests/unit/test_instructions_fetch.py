"""Synthetic records are made, a mirror is found, and a missing one says how to get the data."""

import json
from collections import Counter

import pytest

from fedbench.errors import FedbenchError
from fedbench.files import read_json, sha256
from fedbench.instructions import records, synthetic
from fedbench.instructions.closed_labels import closed_label
from fedbench.instructions.fetch import FILE_NAME, fetch
from fedbench.spec import InstructionsSpec

LINE = json.dumps({"instruction": "i", "context": "", "response": "r", "category": "open_qa"}) + "\n"


def mirror(path, files=()):
    return InstructionsSpec(source={"kind": "mirror", "path": str(path), "files": list(files)})


def test_equal_seeds_give_equal_records_and_other_seeds_others():
    assert list(synthetic.generate(200, 3)) == list(synthetic.generate(200, 3))
    assert list(synthetic.generate(200, 3)) != list(synthetic.generate(200, 4))


def test_synthetic_records_follow_dollys_mix_and_keep_context_where_dolly_has_it():
    made = list(synthetic.generate(1501, 0))
    count = Counter(record["category"] for record in made)
    assert len(made) == 1501
    assert set(count) == set(synthetic.MIX)
    assert abs(count["open_qa"] - 374) <= 1
    for record in made:
        with_context = record["category"] in ("closed_qa", "information_extraction", "summarization")
        assert bool(record["context"]) == with_context


def test_synthetic_classification_holds_closed_label_records():
    made = [record for record in synthetic.generate(1000, 0) if record["category"] == "classification"]
    closed = [closed_label(record["instruction"], record["response"]) for record in made]
    assert 20 < sum(found is not None for found in closed) < len(made)


def test_a_synthetic_source_is_written_and_listed_with_its_checksum(tmp_path):
    fetch(InstructionsSpec(source={"kind": "synthetic", "rows": 120}), tmp_path / "in", tmp_path / "sources.json")
    (entry,) = read_json(tmp_path / "sources.json")
    path = tmp_path / "in" / "synthetic-dolly.jsonl"
    assert entry == {
        "scenario": "dolly",
        "path": str(path),
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "source": "synthetic",
    }
    assert len(records.read(path)) == 120


def test_a_mirror_is_found_below_its_folder_and_stays_there(tmp_path):
    home = tmp_path / "data" / "dolly"
    home.mkdir(parents=True)
    (home / FILE_NAME).write_text(LINE)
    fetch(mirror(tmp_path / "data"), tmp_path / "in", tmp_path / "sources.json")
    (entry,) = read_json(tmp_path / "sources.json")
    assert (entry["path"], entry["source"]) == (str(home / FILE_NAME), "mirror")
    assert not (tmp_path / "in").exists()


def test_files_choose_several_files_of_a_mirror_once_each(tmp_path):
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / name).write_text(LINE)
    fetch(mirror(tmp_path, ["*.jsonl", "a.*"]), tmp_path / "in", tmp_path / "sources.json")
    assert [entry["path"][-7:] for entry in read_json(tmp_path / "sources.json")] == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize(
    ("folder", "files", "complaint"),
    [("absent", [], "does not exist"), (".", [], "not found"), (".", ["x*.jsonl"], r"no file matches 'x\*.jsonl'")],
)
def test_a_missing_mirror_says_how_to_get_the_data(tmp_path, folder, files, complaint):
    with pytest.raises(FedbenchError, match=complaint) as caught:
        fetch(mirror(tmp_path / folder, files), tmp_path / "in", tmp_path / "sources.json")
    assert "Download databricks-dolly-15k.jsonl" in caught.value.remedy
    assert not (tmp_path / "sources.json").exists()


def test_two_candidates_are_ambiguous(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / FILE_NAME).write_text(LINE)
    with pytest.raises(FedbenchError, match="more than one"):
        fetch(mirror(tmp_path), tmp_path / "in", tmp_path / "sources.json")


def test_a_broken_line_stops_the_fetch(tmp_path):
    (tmp_path / FILE_NAME).write_text(LINE + "{broken\n")
    with pytest.raises(FedbenchError, match="jsonl:2: not valid JSON"):
        fetch(mirror(tmp_path), tmp_path / "in", tmp_path / "sources.json")
