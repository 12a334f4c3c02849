"""The manifest of an experiment: command, commit, machines, versions, and what every run and job cost."""

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from fedbench import provenance
from fedbench.files import sha256
from fedbench.spec import Experiment

COMMAND = "FEDBENCH_COMMAND"
"""Environment variable in which the workflow tells its jobs the command line that started it."""

_RUN = (
    "status", "message", "commit", "dirty", "started", "finished", "seconds", "peak_rss_bytes", "peak_vram_bytes",
    "bytes_up", "bytes_down",
)  # fmt: skip
_PLACE = ("versions", "host", "commit", "dirty")
_TAIL = 2**16  # bytes of a log that hold its last line


def describe(
    experiment: Experiment, runs: Path, lock: Path, logs: Path, others: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Return the manifest.

    Args:
        experiment: the validated experiment.
        runs: scores/runs.parquet, a row a run.
        lock: the pinned environment, recorded by its SHA-256.
        logs: folder of the jobs' logs; a job is named by its log's path below it.
        others: logs of jobs that experiments share, by the job's name; they need not exist.
    """
    import pyarrow.parquet as pq  # the engine imports this module too, before any job

    rows = pq.read_table(runs).to_pylist()
    environments: dict[str, Any] = {}
    command = os.environ.get(COMMAND, "not recorded")
    return {
        "experiment": experiment.experiment,
        "title": experiment.title,
        "command": command,
        "argv": shlex.split(command),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance.describe(),
        "lock": {"file": lock.as_posix(), "sha256": sha256(lock)},
        "configuration": experiment.model_dump(mode="json"),
        "runs": {row["run"]: _run(row, environments) for row in sorted(rows, key=lambda row: row["run"])},
        "jobs": {
            name: _job(told, environments) for name, told in _jobs(logs, others or {}, {row["run"] for row in rows})
        },
        "environments": environments,  # after those that name them
        "limits": "Seconds and memory are of a machine that may have done other work. Runs and jobs of an earlier "
        "command keep the commit, versions and host of their own time: `environment` names an entry of `environments`. "
        "A job whose log does not end with its cost (failed, under way, of an earlier release) is not listed.",
    }


def resolved(experiment: Experiment) -> str:
    """Return the configuration as YAML with every default filled in."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def job_cost(log: Path) -> dict[str, Any] | None:
    """Return what the last line of a job's log says of its cost and place; None where there is no such line."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _TAIL))
        lines = stream.read().splitlines()
    last = lines[-1].decode(errors="replace") if lines else ""
    if not last.startswith(provenance.JOB):
        return None
    try:
        told = json.loads(last.removeprefix(provenance.JOB))
    except json.JSONDecodeError:
        return None
    return told if isinstance(told, dict) else None


def _run(row: Mapping[str, Any], environments: dict[str, Any]) -> dict[str, Any]:
    told = {key: row.get(key) for key in _RUN}
    if row.get("environment"):
        told["environment"] = _named(
            json.loads(row["environment"]) | {k: row[k] for k in ("commit", "dirty")}, environments
        )
    return told


def _job(told: Mapping[str, Any], environments: dict[str, Any]) -> dict[str, Any]:
    """Return seconds, processor seconds, peak memory in bytes and environment of one job."""
    place = {key: told.get(key) for key in _PLACE}
    return {key: value for key, value in told.items() if key not in _PLACE} | {
        "environment": _named(place, environments)
    }


def _jobs(logs: Path, others: Mapping[str, Path], runs: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (name, what its log says) of each job, leaving out runs that are no longer part of the experiment."""
    found = {log.relative_to(logs).as_posix().removesuffix(".log"): log for log in sorted(logs.rglob("*.log"))}
    for name, log in {**found, **others}.items():
        stage, _, rest = name.rpartition("/")
        if not (stage in ("runs", "scores") and rest not in runs) and log.is_file() and (told := job_cost(log)):
            yield name, told


def _named(environment: Mapping[str, Any], environments: dict[str, Any]) -> str:
    """Add an environment where it is new, and return its name: a digest of it."""
    name = hashlib.sha256(json.dumps(environment, sort_keys=True).encode()).hexdigest()[:8]
    environments.setdefault(name, dict(environment))
    return name
