"""The split loses no row, keeps equal instructions together, and holds its shares."""

import random
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.files import read_json
from fedbench.instructions import dataset, fetch, filtering, schema, self_instruct
from fedbench.instructions.closed_labels import closed_label
from fedbench.partition import write_clients
from fedbench.spec import InstructionsSpec

SAME = ["Why is it?", " why is it?", "WHY IS IT? ", "Why  is\tit?", "Why\u00a0is it?", "\u202fWhy is it\uff1f"]
ROWS = st.lists(
    st.tuples(st.sampled_from([*SAME, "How", "When", "é", "É", "e\u0301"]) | st.text(max_size=3),
              st.sampled_from(["open_qa", "classification"])),
    min_size=1, max_size=80,
)  # fmt: skip


@settings(deadline=None)
@given(ROWS, st.integers(0, 5))
def test_equal_instructions_share_a_split_and_no_split_outgrows_its_share(rows, seed):
    texts = [text for text, _ in rows]
    names = dataset.split(texts, [("dolly", category, "") for _, category in rows], 0.2, 0.1, seed)
    assert len(names) == len(rows)
    assert names == dataset.split(texts, [("dolly", category, "") for _, category in rows], 0.2, 0.1, seed)
    homes = {}
    for text, name in zip(texts, names, strict=True):
        assert homes.setdefault(text.strip().casefold(), name) == name
    assert len({name for text, name in zip(texts, names, strict=True) if text in SAME}) <= 1
    assert len({name for text, name in zip(texts, names, strict=True) if text in ("é", "É", "e\u0301")}) <= 1
    count = Counter(names)
    assert count["test"] < 0.2 * len(rows) + 1
    assert count["validation"] < 0.1 * len(rows) + 1


@settings(deadline=None)
@given(ROWS, st.randoms(use_true_random=False))
def test_no_order_of_the_rows_changes_which_split_a_row_falls_into(rows, rng):
    shuffled = rng.sample(rows, len(rows))
    first, second = (
        dataset.split([text for text, _ in some], [("dolly", category, "") for _, category in some], 0.2, 0.1, 0)
        for some in (rows, shuffled)
    )
    assert sorted(zip(rows, first, strict=True)) == sorted(zip(shuffled, second, strict=True))


def test_exact_duplicates_and_repeated_instructions_of_any_source_share_a_split(tmp_path):
    rng = random.Random(0)
    rows = []
    for k in range(300):
        row = {"instruction": f"Question {rng.randrange(120)}?", "context": "", "response": rng.choice("ab")}
        rows.append(row | {"row_id": k, "category": rng.choice(["x", "y"]), "source": rng.choice(["dolly", "self"])})
    schema.write(schema.table(rows, schema.AUGMENTED), tmp_path / "in.parquet")
    spec = InstructionsSpec(source={"kind": "synthetic"})
    dataset.build(tmp_path / "in.parquet", spec, 0, tmp_path / "out.parquet", tmp_path / "ledger.json")
    frame = pl.read_parquet(tmp_path / "out.parquet")
    repeated = len(rows) - len({row["instruction"] for row in rows})
    assert read_json(tmp_path / "ledger.json")["repeated_instructions"] == repeated > 100
    assert frame.group_by("instruction").agg(pl.col("split").n_unique())["split"].to_list() == [1] * (300 - repeated)


def test_shares_are_exact_and_stratified_where_no_instruction_repeats():
    strata = [("dolly", "a", "")] * 600 + [("dolly", "b", "")] * 300 + [("self-instruct", "c", "x")] * 100
    names = dataset.split([f"q{i}" for i in range(1000)], strata, 0.1, 0.05, 0)
    assert Counter(names) == {"train": 850, "validation": 50, "test": 100}
    assert Counter(s[1] for s, name in zip(strata, names, strict=True) if name == "test") == {"a": 60, "b": 30, "c": 10}
    assert names != dataset.split([f"q{i}" for i in range(1000)], strata, 0.1, 0.05, 1)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """All stages on synthetic records."""
    folder = tmp_path_factory.mktemp("built")
    return build(folder, {"kind": "synthetic", "rows": 600}, keep=400, self_instruct={"count": 200})


def build(folder, source, **keys):
    spec = InstructionsSpec(source=source, **keys)
    files = {name: folder / f"{name}.parquet" for name in ("filtered", "augmented", "dataset", "clients")}
    fetch.fetch(spec, folder / "in", folder / "sources.json")
    filtering.filter_iot(folder / "sources.json", spec, files["filtered"], folder / "f.json")
    self_instruct.augment(files["filtered"], spec, 0, files["augmented"], folder / "a.json")
    dataset.build(files["augmented"], spec, 0, files["dataset"], folder / "ledger.json")
    write_clients(files["dataset"], spec.clients, 0, files["clients"], by=dataset.PARTITION_BY)
    return {name: pl.read_parquet(path) for name, path in files.items()}, read_json(folder / "ledger.json"), folder


def test_the_stages_lose_no_row_and_keep_the_declared_columns(built):
    frames, ledger, _ = built
    frame = frames["dataset"]
    assert frame.schema == pl.Schema(schema.DATASET)
    assert frame["row_id"].to_list() == list(range(600))
    assert frame["instruction"].to_list() == frames["augmented"]["instruction"].to_list()
    assert Counter(frame["source"]) == {"synthetic": 400, "self-instruct": 200}
    assert {name: sum(counts.values()) for name, counts in ledger["labels"].items()} == Counter(frame["split"])


def test_closed_label_records_are_in_every_split_and_in_both_sources(built):
    frames, ledger, _ = built
    closed = frames["dataset"].drop_nulls("label")
    assert set(closed["split"]) == {"train", "validation", "test"}
    assert set(closed["source"]) == {"synthetic", "self-instruct"}
    assert all(label in labels for label, labels in closed["label", "labels"].iter_rows())
    assert sum(ledger["closed_label"]["test"].values()) == closed.filter(pl.col("split") == "test").height


def test_clients_hold_every_train_and_validation_row_once_by_instruction_type(built):
    frames, _, _ = built
    held = frames["dataset"].filter(pl.col("split") != "test")
    assert sorted(frames["clients"]["row_id"]) == held["row_id"].to_list()


def test_the_same_seed_gives_the_same_bytes(built, tmp_path):
    _, _, folder = built
    build(tmp_path, {"kind": "synthetic", "rows": 600}, keep=400, self_instruct={"count": 200})
    for name in ("filtered.parquet", "augmented.parquet", "dataset.parquet"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_an_empty_split_and_shares_that_leave_nothing_are_errors(built, tmp_path):
    frames, _, _ = built
    schema.write(frames["augmented"].head(2), tmp_path / "few.parquet")
    for shares, complaint in (({}, "no record is left"), ({"test": 0.6, "validation": 0.4}, "leave no training")):
        spec = InstructionsSpec(source={"kind": "synthetic"}, **shares)
        with pytest.raises(FedbenchError, match=complaint):
            dataset.build(tmp_path / "few.parquet", spec, 0, tmp_path / "out.parquet", tmp_path / "ledger.json")
    assert not (tmp_path / "out.parquet").exists()


def test_real_dolly_becomes_7000_records_of_which_the_shares_are_held_out(real_data, tmp_path):
    frames, _, _ = build(tmp_path, {"kind": "mirror", "path": str(real_data / "dolly")})
    frame = frames["dataset"]
    assert Counter(frame["split"]) == {"train": 5950, "validation": 350, "test": 700}
    assert Counter(frame["source"]) == {"dolly": 4500, "self-instruct": 2500}
    homes = frame.group_by(pl.col("instruction").str.strip_chars().str.to_lowercase()).agg(pl.col("split").n_unique())
    assert set(homes["split"]) == {1}


@pytest.mark.parametrize(
    ("instruction", "response", "found"),
    [
        ("Classify this as 'Sensor' or 'Actuator': valve", "Actuator.", ("Actuator", ["Sensor", "Actuator"])),
        ('Label it "hot", "warm", or "cold": ice', "It is cold", ("cold", ["hot", "warm", "cold"])),
        ("Is an apple a fruit or a vegetable", "A fruit", ("fruit", ["fruit", "vegetable"])),
        (
            "Tell me whether these are rivers or oceans: Nile, Rhine",
            "These are rivers.",
            ("rivers", ["rivers", "oceans"]),
        ),
        ("Is an apple a fruit or a vegetable?", "It is a fruit, not a vegetable.", None),
        ("Which is a species of fish? Bass or Treble", "Bass", None),
        ("Classify each as 'hot' or 'cold': ice, fire", "ice: cold, fire: hot", None),
        ("Is it a sweet apple or a sour pear fruit?", "A sour pear fruit", None),
        ("Write 'a' or 'b'.", "a", None),
    ],
)
def test_a_closed_label_is_read_only_where_it_is_certain(instruction, response, found):
    assert closed_label(instruction, response) == found
