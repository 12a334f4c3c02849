"""The manifest of an experiment: command, commit, machine, versions, and what every run and job cost."""

import csv
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from fedbench import provenance
from fedbench.files import read_json, sha256
from fedbench.spec import Experiment

COMMAND = "FEDBENCH_COMMAND"
"""Environment variable in which the workflow tells its jobs the command line that started it."""


def describe(experiment: Experiment, runs: Sequence[Path], lock: Path, benchmarks: Path) -> dict[str, Any]:
    """Return the manifest.

    Args:
        experiment: the validated experiment.
        runs: run folders; their manifest.json and usage.json are read.
        lock: the pinned environment, recorded by its SHA-256.
        benchmarks: folder of the engine's benchmark files, one a job.
    """
    return {
        "experiment": experiment.experiment,
        "title": experiment.title,
        "command": os.environ.get(COMMAND, "not recorded"),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance.describe(),
        "lock": {"file": lock.as_posix(), "sha256": sha256(lock)},
        "configuration": experiment.model_dump(mode="json"),
        "runs": {folder.name: _run(folder) for folder in sorted(runs)},
        "jobs": {name: _job(path) for name, path in _jobs(benchmarks, runs).items()},
        "limits": "Seconds and memory are of a machine that may have done other work; runs made by an earlier command "
        "keep the commit and versions of their own manifest.",
    }


def resolved(experiment: Experiment) -> str:
    """Return the configuration as YAML with every default filled in."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def _run(folder: Path) -> dict[str, Any]:
    manifest, usage = read_json(folder / "manifest.json"), read_json(folder / "usage.json")
    return {
        **{key: manifest.get(key) for key in ("status", "message", "commit", "dirty", "started", "finished")},
        "seconds": usage["seconds"]["total"],
        "peak_rss_bytes": usage["peak_rss_bytes"],
        "bytes_up": usage["bytes_up"],
        "bytes_down": usage["bytes_down"],
    }


def _jobs(folder: Path, runs: Sequence[Path]) -> dict[str, Path]:
    """Return the benchmark file of each job, leaving out runs that are no longer part of the experiment."""
    named = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.tsv"))}
    current = {f"runs/{run.name}" for run in runs}
    return {name: path for name, path in named.items() if name in current or not name.startswith("runs/")}


def _job(path: Path) -> dict[str, float | None]:
    """Return wall seconds, CPU seconds and peak resident memory in bytes of one job, None where it was too short."""
    with path.open(encoding="utf-8") as stream:
        row = next(csv.DictReader(stream, delimiter="\t"), {})
    memory = _number(row.get("max_rss"))  # mebibytes
    return {
        "seconds": _number(row.get("s")),
        "cpu_seconds": _number(row.get("cpu_time")),
        "peak_rss_bytes": None if memory is None else round(memory * 2**20),
    }


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None  # the engine writes NA or - for a job that ended before it was first sampled
