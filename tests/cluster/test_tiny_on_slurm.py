"""Every procedure and strategy, the whole tiny experiment, through the slurm profile: too long for `make test`."""

import json
from pathlib import Path

import conftest
import pytest

TINY = Path(__file__).resolve().parents[1] / "workflow" / "tiny.yaml"


@pytest.mark.slow
def test_the_tiny_experiment_comes_through_on_slurm(slurm, tmp_path):
    folder = conftest.checkout(tmp_path / "checkout")
    here = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", 1, "--latency-wait", 10]
    conftest.Engine(
        folder, "workflow/profiles/slurm", "--configfile", TINY, *here, environment=slurm.environment
    ).finish()
    results = folder / "results/tiny"
    statuses = {run.name: json.loads((run / "manifest.json").read_text()) for run in (results / "runs").iterdir()}
    assert len(statuses) >= 11
    assert {name: said["message"] for name, said in statuses.items() if said["status"] != "ok"} == {}
    assert (results / "summary.html").is_file()
    # 11 runs and more, but a few jobs of Slurm for everything else.
    jobs = [job for job in slurm.all_jobs() if "Comment" in job]
    assert len([job for job in jobs if "rule_run_" in job["Comment"]]) == len(statuses)
    assert len(jobs) <= len(statuses) + 7
