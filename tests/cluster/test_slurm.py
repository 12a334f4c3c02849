"""The small experiment through the slurm profile as it is shipped: where each job went, and what came of it."""

import csv
import re
from pathlib import Path

import polars as pl
import pytest
from safetensors.numpy import load_file

PLACES = {"edge": "orin", "client": "rtx3080ti", "gateway": "a10", "central": "a100"}
RUNS = {
    "gsfs-majority": "local",
    "gsfs-centralised-tiny-bert": "central",
    "gsfs-fedavg-tiny-bert": "client",
    "edge-fit-centralised-tiny-llama": "gateway",
    "edge-fit-tiny-llama": "edge",
}
# What is measured, or modelled from a measured step, differs from run to run.
MEASURED = re.compile("latency|percentile|a minute|memory|seconds|energy", re.IGNORECASE)
WITH_MEASURED = {
    "edge-fit-table4",
    "edge-fit-table4-verdict",
    "gsfs-budget",
    "gsfs-table2",
    "gsfs-table2-verdict",
    "gsfs-table3",
    "gsfs-table3-verdict",
    "runs",
}


@pytest.fixture(scope="module")
def jobs(slurm, submitted) -> list[dict[str, str]]:
    return [job for job in slurm.all_jobs() if "Comment" in job]  # by the plugin; other tests submit without it


def test_every_job_came_to_its_end(jobs):
    assert [job["Comment"] for job in jobs if job["JobState"] != "COMPLETED"] == []


@pytest.mark.parametrize(("label", "tier"), RUNS.items())
def test_a_run_is_in_the_partition_of_its_tier_with_its_memory_time_and_gpu(jobs, submitted, label, tier):
    (job,) = [job for job in jobs if f"_wildcards_{label}-" in job["Comment"]]
    assert job["Partition"] == ("client" if tier == "local" else tier)
    assert job["JOB_GRES"] == ("(null)" if tier == "local" else f"gpu:{PLACES[tier]}:1")
    assert job["Features"] == ("(null)" if tier == "local" else tier)
    model = re.search(r"tiny-\w+", label)
    folder = next((submitted / "results/models").glob(f"{model[0]}-*")) if model else None
    weights = sum(file.stat().st_size for file in folder.iterdir()) if folder else 0
    assert job["Mem"] == str(1000 + 4 * weights // 2**20)
    assert job["TimeLimit"] == "00:20:00"
    assert job["Requeue"] == "0"


def test_small_jobs_are_bundled_and_hold_no_gpu(jobs):
    others = [job for job in jobs if "rule_run_" not in job["Comment"]]
    assert len(others) <= 7, [job["Comment"] for job in others]
    for job in others:
        assert (job["Partition"], job["JOB_GRES"]) == ("client", "(null)")


def unmeasured(path: Path) -> list[list[str]]:
    """Return the cells of a table whose row and column name nothing that is measured; a verdict names it in its row."""
    with path.open(encoding="utf-8", newline="") as stream:
        head, *rows = csv.reader(stream)
    kept = [place for place, name in enumerate(head) if not MEASURED.search(name)]
    return [[row[place] for place in kept] for row in [head, *rows] if not MEASURED.search(" ".join(row[:2]))]


def test_the_tables_are_those_of_a_local_run_byte_for_byte_but_for_what_is_measured(submitted, local):
    there, here = submitted / "results/small/tables", local / "results/small/tables"
    tables = sorted(here.iterdir())
    assert [table.name for table in tables] == sorted(table.name for table in there.iterdir())
    exact = [table for table in tables if table.stem not in WITH_MEASURED]
    assert len(exact) >= 40
    for table in exact:
        assert (there / table.name).read_bytes() == table.read_bytes(), table.name
    for name in WITH_MEASURED:
        if (here / f"{name}.csv").exists():
            cells = unmeasured(here / f"{name}.csv")
            assert len(cells[0]) > 1
            assert unmeasured(there / f"{name}.csv") == cells, name


def test_data_weights_and_answers_are_those_of_a_local_run(submitted, local):
    there, here = submitted / "results/small", local / "results/small"
    for file in sorted(here.glob("data/**/*.parquet")):
        assert pl.read_parquet(there / file.relative_to(here)).equals(pl.read_parquet(file)), file.name
    runs = sorted(folder.name for folder in (here / "runs").iterdir())
    assert runs == sorted(folder.name for folder in (there / "runs").iterdir())
    for run in runs:
        ours, theirs = (load_file(place / "runs" / run / "adapter.safetensors") for place in (here, there))
        assert {name: array.tobytes() for name, array in ours.items()} == {
            name: array.tobytes() for name, array in theirs.items()
        }
        ours, theirs = (pl.read_parquet(place / "runs" / run / "predictions.parquet") for place in (here, there))
        assert ours.equals(theirs)


def test_no_attempt_is_remembered_once_all_is_well(submitted):
    assert not list(submitted.glob("results/small/checkpoints/*"))
