"""The manifest of an experiment says by which command, commit, lock, machine and versions, and at what cost."""

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import fake_results as fake
import pyarrow.parquet as pq
import pytest

from fedbench import provenance
from fedbench.files import sha256
from fedbench.manifest import COMMAND, describe, job_cost

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
PLACE = {"versions": {"python": "3.11"}, "host": {"name": "a"}, "commit": "c", "dirty": False}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs, scores and logs of some jobs, two of them on another machine."""
    folder = fake.build(tmp_path_factory.mktemp("results") / "fake", seeds=1)
    (folder / "lock.txt").write_text("numpy==1\n")
    runs = sorted(path.name for path in (folder / "runs").iterdir())
    log(folder, "iot23/clean", seconds=2.0, cpu_seconds=1.5, peak_rss_bytes=2**20)
    log(folder, f"runs/{runs[0]}", host={"name": "b"})
    log(folder, f"scores/{runs[0]}", host={"name": "b"})
    log(folder, "runs/no-longer-0123abcd")
    for name, text in {"killed": "began\n", "empty": "", "cut": f"{provenance.JOB}{{"}.items():
        (folder / "logs" / f"{name}.log").write_text(text)
    return folder


def log(folder: Path, name: str, **told: object) -> None:
    path = folder / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"something\n{provenance.JOB}{json.dumps({'seconds': 1.0, **PLACE, **told})}\n")


@pytest.fixture
def manifest(results, monkeypatch):
    monkeypatch.setenv(COMMAND, shlex.join(["snakemake", "--config", "only={seeds: [0]}"]))
    return describe(
        fake.experiment(),
        results / "scores/runs.parquet",
        results / "lock.txt",
        results / "logs",
        {"models/absent": results / "no.log"},
    )


def test_command_lock_configuration_and_machine_are_recorded(manifest, results):
    assert manifest["argv"] == ["snakemake", "--config", "only={seeds: [0]}"]
    assert manifest["lock"]["sha256"] == sha256(results / "lock.txt")
    assert manifest["configuration"] == fake.experiment().model_dump(mode="json")
    assert len(manifest["commit"]) == 40
    assert isinstance(manifest["dirty"], bool)
    assert {"name", "processor", "cores", "memory_bytes", "gpus"} <= set(manifest["host"])
    assert manifest["versions"]["python"].startswith("3.")


def test_each_run_has_its_end_its_cost_and_its_environment(manifest, results):
    rows = {row["run"]: row for row in pq.read_table(results / "scores/runs.parquet").to_pylist()}
    assert set(manifest["runs"]) == set(rows)
    for name, run in manifest["runs"].items():
        assert run["status"] == rows[name]["status"]
        assert run["seconds"] == 12.0
        environment = manifest["environments"][run["environment"]]
        assert environment == {
            "versions": {"python": "3.11"},
            "host": {"name": "test"},
            "commit": "0" * 40,
            "dirty": False,
        }
    failed = next(run for run in manifest["runs"].values() if run["status"] == "failed")
    assert failed["message"].startswith("out of memory")


def test_each_job_that_ended_has_its_cost_and_environment_and_no_other_is_listed(manifest, results):
    run = sorted(path.name for path in (results / "runs").iterdir())[0]
    assert set(manifest["jobs"]) == {"iot23/clean", f"runs/{run}", f"scores/{run}"}
    clean = manifest["jobs"]["iot23/clean"]
    assert (clean["seconds"], clean["cpu_seconds"], clean["peak_rss_bytes"]) == (2.0, 1.5, 2**20)
    hosts = {name: manifest["environments"][job["environment"]]["host"] for name, job in manifest["jobs"].items()}
    assert hosts == {"iot23/clean": {"name": "a"}, f"runs/{run}": {"name": "b"}, f"scores/{run}": {"name": "b"}}
    assert len(manifest["environments"]) == 3  # equal ones are written once


@pytest.mark.parametrize(("body", "told"), [("print('x' * 200_000)", True), ("sys.exit(1)", False), ("1 / 0", False)])
def test_the_log_of_a_job_ends_with_its_cost_if_the_job_ended_well(tmp_path, body, told):
    path = tmp_path / "job.log"
    opening = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\nfrom logged import logged\n"
    code = f"{opening}with logged({str(path)!r}):\n    {body}"
    subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    cost = job_cost(path)
    assert (cost is not None) == told
    if cost:
        assert cost["seconds"] > 0
        assert cost["peak_rss_bytes"] > 2**20
        assert cost["versions"] == provenance.versions()


def test_gpus_are_those_of_the_driver_where_torch_is_not_in_use(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert provenance.gpus(tmp_path) == []
    for k, name in enumerate(("NVIDIA A10", "NVIDIA H100 80GB HBM3")):
        (tmp_path / str(k)).mkdir()
        (tmp_path / str(k) / "information").write_text(f"Model: \t\t {name}\nIRQ:   \t\t 1\nBus Type: PCIe\n")
    found = provenance.gpus(tmp_path)
    assert [gpu["name"] for gpu in found] == ["NVIDIA A10", "NVIDIA H100 80GB HBM3"]


def test_a_job_counts_from_its_start():
    assert 5 <= provenance.job(time.monotonic() - 5)["seconds"] < 60
