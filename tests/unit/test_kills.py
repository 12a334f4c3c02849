"""SIGKILL at random moments, then the same command: the same final bytes, and at most one round of work done twice."""

import json
import multiprocessing
import os
import random
import shutil
import sys
import time
from pathlib import Path

import fake_results as fake
import killable
import pandas as pd
import pytest
import tiny

from fedbench.files import sha256

# Of a run's figures these are times, and what follows from them; all else has to be equal to the last digit.
TIMED = ("seconds", "virtual_seconds", "peak_rss_bytes", "latency_ms", "virtual")
FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["killable"])


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory):
    """Start the server with our path: it imports what is preloaded, and says nothing where it cannot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [*sys.path, os.environ.get("PYTHONPATH")])))
        assert attempt(killable.nothing, tmp_path_factory.mktemp("none"), None)


def attempt(work, folder: Path, delay: float | None) -> bool:
    """Do `work` in a process of its own, killed after `delay` seconds; returns whether it came to its end."""
    process = FORK.Process(target=work, args=(folder,))
    process.start()
    process.join(delay)
    if process.is_alive():
        process.kill()
    process.join()
    assert process.exitcode in (0, -9), f"exit code {process.exitcode}"
    return process.exitcode == 0


def killed(work, folder: Path, kills: int, seconds: float, check=lambda folder: None, fresh=lambda folder: None) -> int:
    """Kill `work` so many times at seeded moments, finishing it and starting anew whenever it comes to its end.

    Returns how many times it was started.
    """
    rng, done, starts = random.Random(f"{work.__name__}"), 0, 0
    while done < kills:
        starts += 1
        if attempt(work, folder, rng.uniform(0.02, 1.0) * seconds):
            fresh(folder)
        else:
            done += 1
            check(folder)
    assert attempt(work, folder, None)
    return starts + 1


def undisturbed(work, folder: Path) -> float:
    """Do `work` once and return the seconds it took."""
    begun = time.perf_counter()
    assert attempt(work, folder, None)
    return time.perf_counter() - begun


def temporary(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.name not in (".", "..")]


# --- data ---


def test_ingestion_leaves_whole_files_or_none_and_ends_the_same(tmp_path):
    rows = [
        f"{1.5e9 + k}\tC{k}\t192.168.0.{k % 250}\t1\t1.1.1.1\t80\ttcp\thttp\t{k / 7}\t{k}\t0\tSF\t-\t-\t0\tD"
        "\t1\t40\t1\t40\t-   Benign   -"
        for k in range(20_000)
    ]
    fields = (
        "ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto service duration orig_bytes resp_bytes conn_state "
        "local_orig local_resp missed_bytes history orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes"
    ).replace(" ", "\t")
    head = ["#separator \\x09", "#unset_field\t-", f"#fields\t{fields}\ttunnel_parents   label   detailed-label"]
    (tmp_path / "conn.log.labeled").write_text("\n".join([*head, *rows]) + "\n")
    seconds = undisturbed(killable.ingest, tmp_path)

    def left():
        return {path.name: sha256(path) for path in (tmp_path / "out").glob("*.*") if path.is_file()}

    wanted = left()
    assert len(wanted) == 3

    def fresh(_):
        shutil.rmtree(tmp_path / "out")

    def check(_):
        assert left().items() <= wanted.items()

    fresh(None)
    killed(killable.ingest, tmp_path, 12, seconds, check, fresh)
    assert left() == wanted


# --- training, aggregation, writing ---


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    tiny.data(folder)
    tiny.snapshot(folder)
    return folder


def copied(place, name):
    folder = place.parent / f"{place.name}-{name}"
    shutil.copytree(place, folder)
    return folder


def facts(folder: Path) -> dict:
    """What a run leaves, without what is a time."""
    out = folder / "out"
    usage = json.loads((out / "usage.json").read_text())
    history = pd.read_parquet(out / "history.parquet").drop(columns=[*TIMED[:2]])
    return {
        "adapter": sha256(out / "adapter.safetensors"),
        "predictions": sha256(out / "predictions.parquet"),
        "history": history.to_json(),
        "usage": {name: value for name, value in usage.items() if name not in TIMED},
        "status": json.loads((out / "manifest.json").read_text())["status"],
    }


@pytest.mark.parametrize(("work", "kills"), [(killable.federate, 16), (killable.train, 12)])
def test_a_run_goes_on_to_the_same_bytes(place, work, kills):
    whole, cut = copied(place, f"{work.__name__}-whole"), copied(place, f"{work.__name__}-cut")
    seconds = undisturbed(work, whole)
    wanted = facts(whole)
    assert wanted["status"] == "ok"
    starts = killed(work, cut, kills, seconds, fresh=lambda folder: shutil.rmtree(folder / "out"))
    assert facts(cut) == wanted
    if work is killable.federate:
        ends = starts - kills
        begun = (cut / "rounds").read_text().split()
        rounds = len((whole / "rounds").read_text().split())
        assert len(begun) <= ends * rounds + kills, "a kill costs the round that it falls into, and no other"
    assert not [path for path in (cut / "checkpoints").rglob("*") if path.is_file() and path.suffix == ".safetensors"]


def test_a_damaged_checkpoint_costs_the_run_its_start_and_nothing_else(place, caplog):
    whole, cut = copied(place, "checkpoint-whole"), copied(place, "checkpoint-cut")
    undisturbed(killable.federate, whole)
    process = FORK.Process(target=killable.federate, args=(cut,))
    process.start()
    while not (stored := list((cut / "checkpoints").glob("*.safetensors"))):
        assert process.is_alive(), "ended without a checkpoint"
        time.sleep(0.001)
    process.kill()
    process.join()
    stored[0].write_bytes(stored[0].read_bytes()[:-100])
    assert attempt(killable.federate, cut, None)
    assert facts(cut) == facts(whole)


# --- reporting ---


def test_tables_are_whole_or_absent_and_end_the_same(tmp_path):
    for name in ("whole", "killed"):
        fake.build(tmp_path / name / "results", seeds=2)
    seconds = undisturbed(killable.report, tmp_path / "whole")
    wanted = {path.name: sha256(path) for path in (tmp_path / "whole/results/tables").iterdir()}

    def check(folder):
        there = [path for path in (folder / "results/tables").glob("*.*") if path.is_file()]
        assert all(sha256(path) == wanted[path.name] for path in there)

    killed(killable.report, tmp_path / "killed", 12, seconds, check)
    tables = tmp_path / "killed/results/tables"
    assert {path.name: sha256(path) for path in tables.iterdir() if path.is_file()} == wanted
