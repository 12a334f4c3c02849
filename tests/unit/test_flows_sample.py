"""The curated sample: stratified, with a floor for rare classes, and accounted for."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.files import read_json, sha256
from fedbench.flows.clean import clean
from fedbench.flows.sample import quotas, sample
from fedbench.flows.synthetic import write_logs
from fedbench.spec import FlowsSpec


def spec(**changes):
    return FlowsSpec.model_validate({"source": {"kind": "synthetic"}, **changes})


@pytest.fixture(scope="module")
def flows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flows")
    clean(write_logs(folder / "logs", 1500, 0), folder / "flows.parquet", folder / "ledger.json")
    return folder / "flows.parquet"


def test_quotas_are_proportional_with_a_floor():
    assert quotas({"a": 900, "b": 90, "c": 10}, 100, 0) == {"a": 90, "b": 9, "c": 1}
    assert quotas({"a": 900, "b": 90, "c": 10}, 100, 10) == {"a": 80, "b": 10, "c": 10}
    assert quotas({"a": 900, "b": 4}, 100, 10) == {"a": 96, "b": 4}
    assert quotas({"a": 5, "b": 4}, 100, 10) == {"a": 5, "b": 4}
    assert quotas({"a": 50, "b": 50}, 10, 50) == {"a": 5, "b": 5}


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 10_000), min_size=1),
    st.integers(1, 20_000),
    st.integers(0, 200),
)
def test_quotas_sum_to_the_size_and_never_exceed_a_class(counts, size, floor):
    quota = quotas(counts, size, floor)
    assert sum(quota.values()) == min(size, sum(counts.values()))
    assert all(0 <= quota[name] <= counts[name] for name in counts)
    if sum(min(floor, count) for count in counts.values()) <= size:
        assert all(quota[name] >= min(floor, counts[name]) for name in counts)


def test_the_sample_has_its_size_and_its_floor_and_the_ledger_says_so(flows, tmp_path):
    sample(flows, spec(sample=400, sample_floor=30), 0, tmp_path / "s.parquet", tmp_path / "l.json")
    rows = pl.read_parquet(tmp_path / "s.parquet")
    ledger = read_json(tmp_path / "l.json")
    assert rows.height == rows["row_id"].n_unique() == 400 == ledger["rows_kept"]
    assert min(ledger["labels"]["kept"].values()) >= 30
    assert [entry["step"] for entry in ledger["steps"]] == ["labelled", "sample"]
    assert ledger["steps"][1]["rows_before"] == 1500
    assert rows.join(pl.read_parquet(flows), on=rows.columns, how="semi", nulls_equal=True).height == 400


def test_dropping_missing_durations_shows_what_it_takes_from_each_class(flows, tmp_path):
    sample(flows, spec(missing="drop"), 0, tmp_path / "s.parquet", tmp_path / "l.json")
    step = read_json(tmp_path / "l.json")["steps"][1]
    assert step["step"] == "missing"
    everything = pl.read_parquet(flows)
    scans = everything.filter(pl.col("detailed_label") == "PartOfAHorizontalPortScan")
    assert step["labels_before"]["PartOfAHorizontalPortScan"] == scans.height
    assert step["labels_after"]["PartOfAHorizontalPortScan"] == scans["duration"].drop_nulls().len() < scans.height
    assert pl.read_parquet(tmp_path / "s.parquet")["duration"].null_count() == 0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_rows(flows, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        sample(flows, spec(sample=300), seed, tmp_path / name, tmp_path / "l.json")
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b") != sha256(tmp_path / "c")


def test_flows_without_labels_are_no_sample(flows, tmp_path):
    pl.read_parquet(flows).with_columns(label=pl.lit(None, pl.String), detailed_label=pl.lit(None, pl.String)).head(
        20
    ).write_parquet(tmp_path / "unlabelled.parquet")
    with pytest.raises(FedbenchError, match="no labelled flow is left"):
        sample(tmp_path / "unlabelled.parquet", spec(), 0, tmp_path / "s.parquet", tmp_path / "l.json")
