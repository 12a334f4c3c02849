"""Label the flows of a log with a finished run: every readable flow once, in batches, however the log is written."""

import gzip
import json
from pathlib import Path

import finished_runs
import polars as pl
import pytest
from typer.testing import CliRunner
from zeek_rows import HEADER, ROW, line

from fedbench.cli import app
from fedbench.errors import FedbenchError
from fedbench.flows.render import text
from fedbench.training.examples import flows
from fedbench.using import classify as module
from fedbench.using.classify import LABELLED, classify
from fedbench.using.finished import find

CHANGES = [
    {
        "uid": f"C{k:03d}",
        "ts": f"{1545403816 + k}.5",
        "id.resp_p": str(20 + k % 9),
        "orig_pkts": str(k % 4),
        "proto": ("tcp", "udp")[k % 2],
        "service": ("http", "dns", "-")[k % 3],
        "conn_state": ("S0", "SF")[k % 5 // 3],
    }
    for k in range(40)
]
TEXTS = 37  # different ones among these flows


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder, trainer = finished_runs.finished(tmp_path_factory.mktemp("results"), finished_runs.spec("gsfs"))
    return find(str(folder)), trainer


def labelled(folder: Path, **more: str) -> Path:
    path = folder / "conn.log.labeled"
    path.write_text(HEADER + "\n".join(line(**changes, **more) for changes in CHANGES) + "\n")
    return path


def unlabelled(folder: Path) -> Path:
    """The same flows as gzipped JSON lines without label columns."""
    path = folder / "own.json.gz"
    kept = {name: value for name, value in ROW.items() if "label" not in name}
    numbers = ("ts", "duration", "id.orig_p", "id.resp_p", "orig_bytes", "resp_bytes", "missed_bytes")
    rows = [{k: v for k, v in {**kept, **changes}.items() if v != "-"} for changes in CHANGES]
    rows = [
        {k: float(v) if k in numbers or k.endswith(("pkts", "ip_bytes")) else v for k, v in row.items()} for row in rows
    ]
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    return path


def expected(trainer, log: Path, folder: Path) -> dict[str, str]:
    """What the model says of each flow, asked one by one."""
    from fedbench.flows.clean import clean

    clean([("s", log)], folder / "f.parquet", folder / "l.json")
    rows = pl.read_parquet(folder / "f.parquet").select("uid", text=text("edge"))
    examples = [flows(trainer.loaded.tokenizer, [one], [0], 128) for one in rows["text"]]
    return {uid: finished_runs.LABELS[trainer.classify(one)[0]] for uid, one in zip(rows["uid"], examples, strict=True)}


def test_every_flow_gets_the_models_label_and_its_probability(run, tmp_path):
    found, trainer = run
    log, out = labelled(tmp_path), tmp_path / "out.parquet"
    summary = classify(found, [("home", log)], out)
    rows = pl.read_parquet(out)
    assert rows.columns == LABELLED.names
    assert dict(rows.select("uid", "predicted").iter_rows()) == expected(trainer, log, tmp_path)
    assert len(set(rows["predicted"])) > 1
    assert rows["probability"].is_between(1 / 3, 1).all()
    assert rows["line"].sort().to_list() == list(range(5, 45))
    assert summary.predicted.total() == len(CHANGES) == rows.height


def test_a_log_without_labels_in_another_format_gets_the_same_ones(run, tmp_path):
    found, _ = run
    with_labels, without = tmp_path / "a.parquet", tmp_path / "b.parquet"
    classify(found, [("s", labelled(tmp_path))], with_labels)
    summary = classify(found, [("s", unlabelled(tmp_path))], without)
    columns = ["uid", "predicted", "probability"]
    assert pl.read_parquet(without).select(columns).equals(pl.read_parquet(with_labels).select(columns))
    assert pl.read_parquet(without)["label"].null_count() == len(CHANGES)
    assert summary.accuracy is None
    assert "no labels to compare" in summary.told()


def test_accuracy_counts_the_flows_that_the_log_labels(run, tmp_path):
    found, trainer = run
    log = labelled(tmp_path)
    says = expected(trainer, log, tmp_path)
    lines, right = [], 0
    for k, changes in enumerate(CHANGES):
        answer = says[changes["uid"]]
        if k % 4 == 0:
            lines.append(line(**changes, label="-", detailed_label="-"))
        elif k % 4 == 1:
            lines.append(line(**changes, label="Malicious", detailed_label="Torii"))
        else:
            right += 1
            detail = {"label": "Benign", "detailed_label": "-"} if answer == "Benign" else {"detailed_label": answer}
            lines.append(line(**changes, **detail))
    log.write_text(HEADER + "\n".join(lines) + "\n")
    summary = classify(found, [("s", log)])
    assert summary.labelled.total() == 30
    assert summary.accuracy == pytest.approx(right / 30)
    assert summary.unknown == summary.labelled["Torii"] == 10
    assert "10 of these are of classes that the run does not know (Torii)" in summary.told()


def test_a_binary_run_is_compared_with_the_binary_label(run, tmp_path):
    found, _ = run
    binary = type(found)(
        found.folder, found.run, found.manifest, {**found.usage, "labels": ["Benign", "Malicious", "Benign"]}
    )
    summary = classify(binary, [("s", labelled(tmp_path))])
    assert set(summary.labelled) == {"Malicious"}  # and not C&C, the detail


def test_batches_bound_what_is_held_and_equal_texts_are_asked_once(run, tmp_path, monkeypatch):
    found, _ = run
    log, whole, parts = labelled(tmp_path), tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    classify(found, [("s", log)], whole)
    asked: list[int] = []
    answers = module._Answers.__call__
    tokenise = flows

    def counted(tokenizer, texts, classes, length):
        asked.extend([len(texts)])
        return tokenise(tokenizer, texts, classes, length)

    monkeypatch.setattr(module, "BATCH", 7)
    monkeypatch.setattr(module, "REMEMBERED", 1000)
    monkeypatch.setattr("fedbench.training.examples.flows", counted)
    held: list[int] = []
    monkeypatch.setattr(
        module._Answers, "__call__", lambda self, texts: (held.append(len(texts)), answers(self, texts))[1]
    )
    seen: list[tuple[int, int]] = []
    classify(found, [("s", log)], parts, on_flows=lambda done, total: seen.append((done, total)))
    assert max(held) == 7
    assert sum(held) == 40
    assert sum(asked) == TEXTS
    assert seen[-1] == (40, 40)
    assert pl.read_parquet(parts).drop("probability").equals(pl.read_parquet(whole).drop("probability"))


def test_forgotten_texts_are_asked_again(run, tmp_path, monkeypatch):
    found, _ = run
    monkeypatch.setattr(module, "BATCH", 5)
    log, kept, forgotten = labelled(tmp_path), tmp_path / "k.parquet", tmp_path / "f.parquet"
    classify(found, [("s", log)], kept)
    monkeypatch.setattr(module, "REMEMBERED", 2)
    classify(found, [("s", log)], forgotten)
    assert pl.read_parquet(kept).drop("probability").equals(pl.read_parquet(forgotten).drop("probability"))


def test_the_table_can_be_csv_and_nothing_else(run, tmp_path):
    found, _ = run
    log, csv = labelled(tmp_path), tmp_path / "out.csv"
    classify(found, [("s", log)], csv)
    rows = pl.read_csv(csv)
    assert rows.columns == LABELLED.names
    assert rows.height == 40
    with pytest.raises(FedbenchError, match=r"Use \.parquet or \.csv"):
        classify(found, [("s", log)], tmp_path / "out.txt")


def test_an_unreadable_log_leaves_no_table(run, tmp_path):
    found, _ = run
    log, out = tmp_path / "conn.log", tmp_path / "made" / "out.parquet"
    log.write_text(HEADER + "broken\n" * 5)
    with pytest.raises(FedbenchError, match="cannot be read"):
        classify(found, [("s", log)], out)
    assert list(out.parent.iterdir()) == []


def test_unreadable_rows_are_quarantined_and_counted(run, tmp_path):
    found, _ = run
    log = labelled(tmp_path)
    log.write_text(log.read_text() + "broken\n")
    summary = classify(
        found, [("s", log)], max_quarantined=0.1, ledger=tmp_path / "l.json", quarantine=tmp_path / "q.parquet"
    )
    assert "40 of 41 rows are flows, 1 quarantined" in summary.told()
    assert pl.read_parquet(tmp_path / "q.parquet").height == 1
    assert json.loads((tmp_path / "l.json").read_text())["rows_read"] == 41


def test_the_command_prints_a_table_by_label_and_the_accuracy(run, tmp_path):
    found, _ = run
    log, out = labelled(tmp_path), tmp_path / "out.parquet"
    told = CliRunner().invoke(app, ["classify", str(found.folder), str(log), "--out", str(out)])
    assert told.exit_code == 0, told.output
    counts = pl.read_parquet(out)["predicted"].value_counts()
    for label, count in counts.iter_rows():
        row = next(line for line in told.stdout.splitlines() if f" {label} " in line)
        assert f" {count} " in row
    assert "Accuracy 0.0000 over 40 flows" in told.stdout
