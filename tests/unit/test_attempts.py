"""The journal of a run's attempts on a cluster, and the row of a run that is given up."""

import json

import polars as pl
import pytest
import tiny

from fedbench import running
from fedbench.attempts import Journal, last_line


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "checkpoints" / "run.attempts")


def begin(journal, monkeypatch, tier: str, job: str | None, node: str) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", node)
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    else:
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    journal.begin(tier)


def test_attempts_are_told_in_order_with_what_slurm_remembers(journal, monkeypatch, tmp_path):
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text('#!/bin/sh\nfor job; do :; done\ntest "$job" = 7 && echo TIMEOUT\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent))
    begin(journal, monkeypatch, "edge", "7", "edge1")
    begin(journal, monkeypatch, "client", "8", "client1")
    begin(journal, monkeypatch, "gateway", None, "a-pod")
    first, second, third = journal.told().split("; ")
    assert first.startswith("edge (job 7 on edge1, begun 20")
    assert first.endswith(": TIMEOUT)")
    assert second.startswith("client (job 8 on client1, begun 20"), "nobody remembers its end, so nothing is said"
    assert not second.endswith(": )")
    assert third.startswith("gateway (a-pod, begun 20")


def test_without_an_attempt_that_is_said_and_forgetting_twice_is_fine(journal):
    assert journal.told() == "none had begun"
    journal.forget()
    journal.begin("edge")
    journal.forget()
    journal.forget()
    assert journal.told() == "none had begun"


def test_the_last_words_are_the_last_line_that_is_not_empty(tmp_path):
    log = tmp_path / "run.log"
    assert last_line(log) == ""
    log.write_bytes(b"one\nTwo: \xff three\n\n  \n")
    assert last_line(log) == "Two: � three"


def test_a_run_that_is_given_up_leaves_five_files_and_the_reason(tmp_path):
    running.give_up(tiny.run(), tmp_path / "run", "given up after 2 attempts")
    assert {path.name for path in (tmp_path / "run").iterdir()} == set(running.FILES)
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    assert (manifest["status"], manifest["message"]) == ("failed", "given up after 2 attempts")
    assert pl.read_parquet(tmp_path / "run/predictions.parquet").is_empty()
    assert not running.out_of_memory(tmp_path / "run")


def test_want_of_memory_is_told_from_other_failures(tmp_path):
    running.give_up(tiny.run(), tmp_path / "run", "out of memory: tried to allocate 2 GiB")
    assert running.out_of_memory(tmp_path / "run")
