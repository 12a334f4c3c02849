"""Failed and missing runs: reports without them, `make retry` and `make why`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import REPOSITORY, Checkout, edited, stages

DATA_AND_RUNS = {"IoT-23", "Dolly", "Model snapshot", "Run"}
PARTIAL = ("--config", "partial=true")


@pytest.fixture(scope="module")
def damaged(finished: Checkout, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The finished checkout, in which one run has failed and another has lost its files; `make` works there."""
    checkout = finished.moved(tmp_path_factory.mktemp("damaged") / "checkout")
    path = run(checkout, "gsfs-majority") / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"status": "failed", "message": "out of memory: as a test has it"}))
    shutil.rmtree(run(checkout, "gsfs-gsfs"))
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy2(REPOSITORY / name, checkout.folder / name)
    shutil.copy2(tiny, checkout.folder / "config/experiments/tiny.yaml")
    (checkout.folder / ".venv").symlink_to(sys.prefix)
    return checkout


def run(checkout: Checkout, label: str) -> Path:
    """Return the folder of the one run whose label begins so."""
    (folder,) = (checkout.folder / "results/tiny/runs").glob(f"{label}-*")
    return folder


WITHOUT = ("--unset=MAKEFLAGS", "--unset=MAKELEVEL", "--unset=MFLAGS")  # of a make that runs these tests


def make(checkout: Checkout, *arguments: str) -> str:
    """Run make without its set-up, and return what it printed."""
    command = ["env", *WITHOUT, "make", "EXPERIMENT=tiny", "CPU=.venv/bin/python", *arguments]
    answer = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_a_partial_report_fetches_and_trains_nothing(damaged, tiny):
    planned = damaged.planned(*PARTIAL, config=tiny)
    assert "Tables of scores, runs, histories" in planned
    assert not DATA_AND_RUNS & stages(planned)
    strategy = damaged.folder / "workflow/fedbench/federation/strategies/fedavg.py"
    with edited(strategy, "\nfrom ", "\nUNUSED = 1\nfrom "):  # nor what is outdated
        assert damaged.planned(*PARTIAL, config=tiny) == planned


def test_a_partial_report_of_all_runs_is_the_report(finished, tiny):
    assert finished.planned(*PARTIAL, config=tiny) == set()


def test_its_tables_say_which_runs_are_missing_and_why(damaged, tiny):
    tables = [f"results/tiny/tables/{name}.md" for name in ("gsfs-table3", "runs")]
    answer = damaged.snakemake(*tables, *PARTIAL, config=tiny)
    assert answer.returncode == 0, answer.stdout
    strategies, runs = ((damaged.folder / table).read_text() for table in tables)
    (line,) = (line for line in runs.splitlines() if "gsfs-gsfs" in line)
    assert "not run" in line
    assert "it began and did not end: see results/tiny/logs/runs/gsfs-gsfs" in line
    (line,) = (line for line in runs.splitlines() if "gsfs-majority" in line)
    assert "out of memory: as a test has it" in line
    assert "it began and did not end" in strategies


def test_why_names_what_has_changed(damaged):
    module = damaged.folder / "workflow/fedbench/instructions/leakage.py"
    with edited(module, "\nimport ", "\nUNUSED = 1\nimport "):
        told = make(damaged, "why", "TARGET=results/tiny/data/dolly/leakage.csv")
    assert told.splitlines() == [
        "1 job would run.",
        "",
        "For a reason of their own:",
        "  Dolly: how near the test records are to the training records",
        "      code: instructions/leakage.py (changed)",
    ]
    assert make(damaged, "why", "TARGET=results/tiny/data/dolly/leakage.csv").startswith("Nothing would run")


def test_retry_runs_the_failed_run_again_and_nothing_else(damaged, tiny):
    before = {path: path.stat().st_mtime_ns for path in (damaged.folder / "results/tiny/runs").glob("*/manifest.json")}
    make(damaged, "retry", "MAKE=true")  # without the report that follows
    after = {path: path.stat().st_mtime_ns for path in (damaged.folder / "results/tiny/runs").glob("*/manifest.json")}
    path = run(damaged, "gsfs-majority") / "manifest.json"
    assert [path for path in after if after[path] != before.get(path)] == [path]
    assert json.loads(path.read_text())["status"] == "ok"
    assert (
        "no run has failed"
        in subprocess.run(
            ["env", *WITHOUT, "make", "EXPERIMENT=tiny", "CPU=.venv/bin/python", "retry", "MAKE=true"],
            cwd=damaged.folder,
            capture_output=True,
            text=True,
            check=True,
        ).stderr
    )
