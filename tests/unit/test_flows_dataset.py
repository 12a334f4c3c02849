"""Labels, texts, splits and leakage of the flow data set."""

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.files import read_json, sha256
from fedbench.flows.clean import clean
from fedbench.flows.dataset import DATASET, build, rendered
from fedbench.flows.leakage import leakage
from fedbench.flows.render import text
from fedbench.flows.split import SPLITS, assign_splits, cut_copies
from fedbench.flows.synthetic import write_logs
from fedbench.spec import FlowsSpec, SplitSpec

FLOW = {
    "ts": "2018-12-21",
    "uid": "CrDn63WjJEmrWGjqf",
    "scenario": "CTU-IoT-Malware-Capture-34-1",
    "id.orig_h": "192.168.1.195",
    "id.orig_p": 41040,
    "id.resp_h": "185.244.25.235",
    "id.resp_p": 6667,
    "proto": "tcp",
    "service": "irc",
    "duration": 12.0,
    "orig_bytes": 75,
    "resp_bytes": 243,
    "conn_state": "S3",
    "missed_bytes": 0,
    "history": "ShAdDaf",
    "orig_pkts": 9,
    "orig_ip_bytes": 567,
    "resp_pkts": 8,
    "resp_ip_bytes": 667,
}


def spec(**changes):
    return FlowsSpec.model_validate({"source": {"kind": "synthetic"}, **changes})


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flows")
    clean(write_logs(folder / "logs", 2000, 0), folder / "flows.parquet", folder / "ledger.json")
    return folder / "flows.parquet"


def render(template, **changes):
    return pl.DataFrame([FLOW | changes]).select(text(template)).item()


def test_the_edge_text_is_terse():
    assert render("edge") == "tcp irc S3 ShAdDaf port 6667 time 12 out 75 9 567 in 243 8 667 lost 0"
    assert render("edge", duration=0.0012345) == render("edge").replace("12", "0.00123")


def test_an_unset_value_is_shown_as_unset():
    unset = dict.fromkeys(("service", "duration", "orig_bytes", "resp_bytes", "history"))
    frame = pl.DataFrame([FLOW | unset], schema_overrides={"duration": pl.Float64, "orig_bytes": pl.Int64})
    assert frame.select(text("edge")).item() == "tcp - S3 - port 6667 time - out - 9 567 in - 8 667 lost 0"
    assert "duration: unset; originator payload: unset; originator packets: 9;" in frame.select(text("cloud")).item()


@pytest.mark.parametrize("template", ["edge", "cloud"])
def test_the_text_never_contains_what_identifies_the_capture(template):
    shown = render(template)
    for name in ("ts", "uid", "scenario", "id.orig_h", "id.orig_p", "id.resp_h"):
        assert str(FLOW[name]) not in shown
        other = 9 if name == "id.orig_p" else "10.0.0.1"
        assert render(template, **{name: other}) == shown


def test_the_cloud_text_names_its_fields():
    assert render("cloud").startswith("Network flow. protocol: tcp; service: irc; destination port: 6667;")
    assert "duration: 12 seconds;" in render("cloud")


def test_the_data_set_keeps_its_contract(flows, tmp_path):
    build(flows, spec(), 0, tmp_path / "d.parquet", tmp_path / "l.json")
    rows = pl.read_parquet(tmp_path / "d.parquet")
    assert pq.read_schema(tmp_path / "d.parquet").equals(DATASET)
    assert rows["row_id"].is_sorted()
    assert rows["row_id"].n_unique() == rows.height
    assert rows["text_id"].n_unique() == rows["text"].n_unique() == rows.select("text", "text_id").n_unique()
    assert rows["text_id"].n_unique() >= 600
    assert rows["device"].n_unique() >= 10
    for label in rows["label"].unique():
        assert set(rows.filter(label=label)["split"]) == set(SPLITS)
    ledger = read_json(tmp_path / "l.json")
    assert ledger["splits"]["test"]["Okiru"] == rows.filter(split="test", label="Okiru").height
    assert sum(sum(part.values()) for part in ledger["splits"].values()) == ledger["rows_kept"] == rows.height


def test_binary_labels_are_two(flows, tmp_path):
    build(flows, spec(label="binary"), 0, tmp_path / "d.parquet", tmp_path / "l.json")
    assert set(pl.read_parquet(tmp_path / "d.parquet")["label"]) == {"Benign", "Malicious"}


def test_the_same_seed_gives_the_same_bytes(flows, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build(flows, spec(), seed, tmp_path / name, tmp_path / "l.json")
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b") != sha256(tmp_path / "c")


def test_the_paper_sample_is_divided_as_in_its_table_one():
    rows = pl.DataFrame({"text_id": np.arange(48_003), "label": ["a", "b", "c"] * 16_001})
    rows = rows.with_columns(scenario=pl.lit("s"), ts=pl.col("text_id"))
    for protocol in ("random", "grouped", "temporal"):
        sizes = assign_splits(rows, SplitSpec(protocol=protocol), 0).value_counts()
        assert dict(sizes.iter_rows()) == {"train": 33_602, "validation": 9_601, "test": 4_800}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from("abc")), min_size=1, max_size=150),
    st.integers(0, 5),
)
def test_grouped_splits_share_no_text_and_reach_every_class(pairs, seed):
    rows = pl.DataFrame(
        {"text_id": [number * 3 + "abc".index(label) for number, label in pairs], "label": [p[1] for p in pairs]}
    )
    split = assign_splits(rows, SplitSpec(protocol="grouped"), seed)
    rows = rows.with_columns(split)
    assert rows.height == len(pairs)
    assert set(split) <= set(SPLITS)
    assert rows.group_by("text_id").agg(pl.col("split").n_unique())["split"].max() == 1
    for (_,), part in rows.group_by("label"):
        if part["text_id"].n_unique() >= 3:
            assert part["split"].n_unique() == 3


def test_grouped_splits_stay_together_where_a_text_has_two_labels():
    rows = pl.DataFrame({"text_id": [0, 0, 0, 1, 1, 2, 3], "label": ["a", "b", "b", "a", "b", "a", "b"]})
    split = assign_splits(rows, SplitSpec(protocol="grouped"), 0)
    assert rows.with_columns(split).group_by("text_id").agg(pl.col("split").n_unique())["split"].max() == 1


def test_temporal_splits_keep_the_order_of_time_in_every_scenario():
    rng = np.random.default_rng(0)
    rows = pl.DataFrame({"scenario": rng.choice(["x", "y"], 200), "ts": rng.integers(0, 1000, 200)})
    rows = rows.with_columns(assign_splits(rows, SplitSpec(protocol="temporal"), 0))
    for (_,), part in rows.group_by("scenario"):
        limits = {name: part.filter(split=name)["ts"] for name in SPLITS}
        assert limits["train"].max() <= limits["validation"].min()
        assert limits["validation"].max() <= limits["test"].min()


def test_scenario_splits_hold_whole_scenarios_out():
    rows = pl.DataFrame({"scenario": ["x"] * 45 + ["y"] * 10})
    split = assign_splits(rows, SplitSpec(protocol="scenario", test_scenarios=["y"]), 0)
    assert rows.with_columns(split).filter(split="test")["scenario"].to_list() == ["y"] * 10
    assert split.value_counts().sort("count")["count"].to_list() == [10, 10, 35]
    for wrong in ([], ["z"], ["x", "y"]):
        with pytest.raises(FedbenchError, match="test_scenarios"):
            assign_splits(rows, SplitSpec(protocol="scenario", test_scenarios=wrong), 0)


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(0, 8))
def test_no_text_keeps_more_than_its_copies(ids, limit):
    text_ids = np.array(ids, dtype=np.int64)
    kept = text_ids[cut_copies(text_ids, limit, 0)]
    for name in set(ids):
        assert (kept == name).sum() == (min(ids.count(name), limit) if limit else ids.count(name))


def test_leakage_tells_memory_from_learning(tmp_path):
    # 40 flows of one text and class, 40 of distinct texts of the other, later in time.
    frame = pl.DataFrame([FLOW | {"orig_bytes": 0, "label": "Benign"}] * 40, infer_schema_length=None)
    others = [FLOW | {"orig_bytes": 1000 + i, "service": "http", "label": "Malicious"} for i in range(40)]
    frame = pl.concat([frame, pl.DataFrame(others)]).with_columns(
        row_id=pl.int_range(80), detailed_label=pl.lit(None, pl.String), ts=pl.int_range(80)
    )
    frame.write_parquet(tmp_path / "sample.parquet")
    table = leakage(tmp_path / "sample.parquet", spec(split={"max_copies": 0}), 0, tmp_path / "leakage.csv")
    assert table["protocol"].to_list() == ["random", "grouped", "temporal"]
    random, grouped, temporal = table.iter_rows(named=True)
    rows = rendered(tmp_path / "sample.parquet", spec())
    split = assign_splits(rows, SplitSpec(protocol="random"), 0)
    in_test = rows.filter(split == "test")["label"].to_list()
    assert random["seen_rows"] == in_test.count("Benign") / 8
    assert random["memoriser"] >= random["seen_rows"]
    assert grouped["seen_rows"] == grouped["seen_texts"] == 0
    assert (temporal["seen_rows"], temporal["memoriser"], temporal["nearest"]) == (0, 0, 1)
    assert pl.read_csv(tmp_path / "leakage.csv").columns == table.columns
