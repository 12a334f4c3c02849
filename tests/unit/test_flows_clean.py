"""Cleaning: the ledger adds up, uids are kept once, nothing is left half-written."""

import functools
import gzip
import json
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from zeek_rows import HEADER, line

from fedbench.errors import FedbenchError
from fedbench.flows import clean as clean_module
from fedbench.flows import stage as stage_module
from fedbench.flows import zeek as zeek_module
from fedbench.flows.blocks import blocks
from fedbench.flows.clean import clean
from fedbench.flows.schema import COLUMNS, FLOWS, QUARANTINE
from fedbench.flows.synthetic import class_mix, write_logs


@pytest.fixture
def out(tmp_path):
    return tmp_path / "flows.parquet", tmp_path / "ledger.json", tmp_path / "quarantine.parquet"


def write(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def test_rows_read_are_rows_kept_and_rows_quarantined(tmp_path, out):
    first = write(tmp_path / "a.log", line(uid="C1"), "bad\trow", line(uid="C2", ts="x"), line(uid="C3"))
    second = write(tmp_path / "b.log", line(uid="C3"), line(uid="C4", label="benign", detailed_label="-"))
    ledger = clean([("a", first), ("b", second)], *out, max_quarantined=0.5)
    assert (ledger["rows_read"], ledger["rows_kept"], ledger["rows_quarantined"]) == (6, 3, 3)
    assert ledger["quarantine_reasons"] == {"duplicate uid": 1, "ts is not a time": 1, "wrong number of columns": 1}
    assert ledger["repairs"] == {"label spelling": 1}
    assert ledger["labels"]["read"] == {"C&C": 3, "unreadable": 2, "Benign": 1}
    assert ledger["labels"]["kept"] == {"C&C": 2, "Benign": 1}
    assert json.loads(out[1].read_text()) == ledger
    quarantined = pl.read_parquet(out[2])
    assert pq.read_schema(out[2]).equals(QUARANTINE)
    assert quarantined.select("line", "reason").rows() == [
        (6, "wrong number of columns"),
        (7, "ts is not a time"),
        (5, "duplicate uid"),
    ]
    assert quarantined["text"].to_list() == ["bad\trow", line(uid="C2", ts="x"), line(uid="C3")]
    assert quarantined["file"].to_list() == [str(first), str(first), str(second)]


def test_a_duplicate_is_kept_where_it_is_read_first_and_does_not_count_as_unreadable(tmp_path, out):
    log = write(tmp_path / "a.log", *[line(uid="C1", orig_pkts=str(i)) for i in range(5)])
    clean([("a", log)], *out, max_quarantined=0.0)
    assert pl.read_parquet(out[0])["orig_pkts"].to_list() == [0]


def test_flows_have_the_declared_schema_sorted_by_time_within_a_scenario(tmp_path, out):
    late = write(tmp_path / "late.log", line(uid="C1", ts="9.5"), line(uid="C2", ts="3.25"))
    early = write(tmp_path / "early.log", line(uid="C3", ts="5"), line(uid="C4", ts="1"))
    clean([("x", late), ("y", early), ("x", write(tmp_path / "more.log", line(uid="C5", ts="4")))], *out)
    flows = pl.read_parquet(out[0])
    assert pq.read_schema(out[0]).equals(FLOWS)
    assert flows.select("row_id", "scenario", "uid").rows() == [
        (0, "x", "C2"),
        (1, "x", "C5"),
        (2, "x", "C1"),
        (3, "y", "C4"),
        (4, "y", "C3"),
    ]
    assert flows["file"].to_list() == [str(late), str(tmp_path / "more.log"), str(late), str(early), str(early)]


def test_too_many_unreadable_rows_stop_the_job_and_leave_nothing(tmp_path, out):
    log = write(tmp_path / "logs" / "a.log", *[line(uid=f"C{i}") for i in range(98)], "bad", "worse")
    with pytest.raises(FedbenchError, match=r"a\.log:103: 2 of 100 rows .* max_quarantined = 0\.01.*wrong number"):
        clean([("a", log)], *out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs"]
    assert clean([("a", log)], *out, max_quarantined=0.02)["rows_kept"] == 98


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")])
def test_an_empty_log_among_others_is_named(tmp_path, out, content):
    good = write(tmp_path / "good.log", line())
    empty = tmp_path / "empty.log"
    empty.write_bytes(content)
    with pytest.raises(FedbenchError, match=r"empty\.log: empty log"):
        clean([("a", good), ("b", empty)], *out)
    assert not out[0].exists()
    with pytest.raises(FedbenchError, match=r"absent\.log: no such log"):
        clean([("a", tmp_path / "absent.log")], *out)


def test_a_log_of_another_kind_is_no_conn_log(tmp_path, out):
    query = {"ts": 1.5, "uid": "C1", "id.orig_h": "10.0.0.1", "id.orig_p": 1, "id.resp_h": "10.0.0.2", "id.resp_p": 53}
    log = tmp_path / "dns.log"
    log.write_text(json.dumps(query | {"proto": "udp", "query": "example.org"}) + "\n")
    with pytest.raises(FedbenchError, match=r"dns\.log: not a conn log: no row has a duration"):
        clean([("a", log)], *out)
    assert [path.name for path in tmp_path.iterdir()] == ["dns.log"]


def test_outputs_that_are_a_log_or_each_other_or_a_folder_are_refused(tmp_path, out):
    log = write(tmp_path / "a.log", line())
    before = log.read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.json").symlink_to(log)
    for outputs in (
        (log, out[1], out[2]),
        (out[0], tmp_path / "link.json", None),
        (out[0], out[0], None),
        (out[0], out[1], tmp_path / "folder" / ".." / "ledger.json"),
    ):
        with pytest.raises(FedbenchError, match="named for two things"):
            clean([("a", log)], *outputs)
    with pytest.raises(FedbenchError, match="folder: is a folder"):
        clean([("a", log)], out[0], tmp_path / "folder")
    assert log.read_bytes() == before
    assert not any(path.exists() for path in out)


def test_the_same_log_named_twice_is_kept_once(tmp_path, out):
    log = write(tmp_path / "a.log", *[line(uid=f"C{i}") for i in range(5)])
    ledger = clean([("a", log), ("a", log), ("b", tmp_path / "." / "a.log")], *out)
    assert (ledger["rows_read"], ledger["rows_kept"], ledger["quarantine_reasons"]) == (15, 5, {"duplicate uid": 10})
    assert set(pl.read_parquet(out[0])["scenario"]) == {"a"}


def test_logs_without_labels_give_flows_without_labels(tmp_path, out):
    log = tmp_path / "conn.log"
    names = COLUMNS[:-2]
    log.write_text("#fields\t" + "\t".join(names) + "\n" + "\t".join(line().split("   ")[0].split("\t")) + "\n")
    ledger = clean([("a", log)], *out)
    assert ledger["labels"]["kept"] == {"unlabelled": 1}
    assert pl.read_parquet(out[0])["label"].to_list() == [None]


def test_small_windows_give_the_same_rows_as_one_large_one(tmp_path, monkeypatch):
    logs = write_logs(tmp_path / "logs", 3000, 1)
    logs = [("all", path) for _, path in logs]
    frames = []
    for rows in (100_000, 37):
        monkeypatch.setattr(clean_module, "WINDOW_ROWS", rows)
        clean(logs, tmp_path / "f.parquet", tmp_path / "l.json")
        frames.append(pl.read_parquet(tmp_path / "f.parquet"))
    assert frames[0].equals(frames[1])
    assert frames[0]["ts"].is_sorted()
    assert frames[0]["row_id"].to_list() == list(range(3000))


@pytest.mark.parametrize("few", [0, 40, 4096])
def test_small_runs_give_the_same_rows_as_one_large_one(tmp_path, monkeypatch, few):
    """Runs of few rows, whose addresses are kept by number, as text, or some so and some so."""
    logs = [("all", path) for _, path in write_logs(tmp_path / "logs", 2000, 2)]
    clean(logs, tmp_path / "one.parquet", tmp_path / "l.json")
    monkeypatch.setattr(clean_module, "RUN_ROWS", 1)
    monkeypatch.setattr(clean_module, "WINDOW_ROWS", 300)
    monkeypatch.setattr(stage_module, "_FEW", few)
    monkeypatch.setattr(zeek_module, "blocks", functools.partial(blocks, size=1 << 13))
    clean(logs, tmp_path / "many.parquet", tmp_path / "l.json")
    assert pq.read_metadata(tmp_path / "many.parquet").num_row_groups >= 6
    assert pl.read_parquet(tmp_path / "many.parquet").equals(pl.read_parquet(tmp_path / "one.parquet"))
    assert pq.read_schema(tmp_path / "many.parquet").equals(FLOWS)


@settings(max_examples=4, deadline=None)
@example(rows=100, seed=0)
@given(rows=st.integers(100, 900), seed=st.integers(0, 2**31))
def test_what_the_generator_makes_the_parser_reads_back(tmp_path_factory, rows, seed):
    folder = tmp_path_factory.mktemp("synthetic")
    logs = write_logs(folder, rows, seed)
    ledger = clean(logs, folder / "flows.parquet", folder / "ledger.json", max_quarantined=0.0)
    copies = ledger["rows_read"] - rows
    assert ledger["rows_kept"] == rows
    assert ledger["quarantine_reasons"] == ({"duplicate uid": copies} if copies else {})
    assert set(ledger["labels"]["kept"]) == set(class_mix())
    assert pl.read_parquet(folder / "flows.parquet")["uid"].n_unique() == rows


def test_the_real_logs_give_the_published_counts(real_data, tmp_path, out):
    expected = {
        "CTU-IoT-Malware-Capture-34-1/conn.log.labeled": 23_145,
        "CTU-IoT-Malware-Capture-42-1/conn.log.labeled": 4_426,
        "CTU-Honeypot-Capture-4-1/conn.log.labeled": 452,
        "mixed-sample/conn.log.calibration_90_10": 10_000,
    }
    logs = [(name.split("/")[0], real_data / "iot23" / name) for name in expected]
    for log, rows in zip(logs, expected.values(), strict=True):
        ledger = clean([log], *out)
        assert (ledger["rows_read"], ledger["rows_kept"], ledger["rows_quarantined"]) == (rows, rows, 0)
    ledger = clean(logs, *out)
    assert (ledger["rows_read"], ledger["rows_kept"], ledger["rows_quarantined"]) == (38_023, 35_426, 2_597)
    assert ledger["labels"]["kept"] == {
        "DDoS": 14_394,
        "Benign": 14_198,
        "C&C": 6_706,
        "PartOfAHorizontalPortScan": 122,
        "C&C-FileDownload": 3,
        "FileDownload": 3,
    }
    unset = pl.read_parquet(out[0]).group_by("scenario").agg(pl.col("duration").is_null().sum())
    unset_by_scenario = dict(unset.iter_rows())
    assert unset_by_scenario["CTU-IoT-Malware-Capture-34-1"] == 17_824
    assert unset_by_scenario["CTU-IoT-Malware-Capture-42-1"] == 992
    assert unset_by_scenario["CTU-Honeypot-Capture-4-1"] == 1
