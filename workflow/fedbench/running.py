"""Execute one run from its specification and leave its five files: adapter, history, predictions, usage, manifest."""

import logging
import os
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from fedbench import provenance
from fedbench.errors import FedbenchError
from fedbench.files import atomic, read_json, write_json
from fedbench.models import unavailable
from fedbench.procedures.result import HISTORY, PREDICTIONS, Inputs, Result, write_table
from fedbench.progress import Bar
from fedbench.spec import RunSpec

LOG = logging.getLogger(__name__)

FILES = ("adapter.safetensors", "history.parquet", "predictions.parquet", "usage.json", "manifest.json")


def execute(
    run: RunSpec,
    dataset: Path,
    clients: Path,
    snapshot: Path | None,
    out: Path,
    checkpoints: Path,
    grid: Callable[[Any], Any] | None = None,
    teacher: tuple[Path, Path] | None = None,
) -> None:
    """Execute a run and write its five files into `out`; for `grid` (of a deployment) and `teacher` see `Inputs`.

    A fault of the run itself (out of memory, divergence) is a result: status `failed` with its message, empty tables.
    So is a base model that is not to be had: status `unavailable`. Anything else is raised, so that the engine can
    retry it.
    """
    begun, started = time.perf_counter(), datetime.now(UTC)
    with Bar(run.label) as bar:
        tables = pl.read_parquet(dataset), pl.read_parquet(clients)
        inputs = Inputs(*tables, snapshot, checkpoints / run.folder, bar, grid, teacher)
        status, result = "ok", Result()
        try:
            if snapshot:
                unavailable.require(snapshot)
            result = _procedure(run, inputs)
        except unavailable.UnavailableError as fault:
            status, result.message = "unavailable", str(fault)
        except FedbenchError as fault:
            status, result.message = "failed", str(fault)
        except MemoryError:
            status, result.message = "failed", "out of memory"
        except RuntimeError as fault:
            if "out of memory" not in str(fault).lower():
                raise
            status, result.message = "failed", f"out of memory: {str(fault).splitlines()[0]}"
    if status != "ok":
        LOG.error("%s %s: %s", run.label, status, result.message)
    _write(run, result, out, status, started, time.perf_counter() - begun)


def give_up(run: RunSpec, out: Path, message: str) -> None:
    """Leave the five files of a run that is not tried (again): status `failed` with its message, empty tables."""
    LOG.error("%s failed: %s", run.label, message)
    _write(run, Result(message=message), out, "failed", datetime.now(UTC), 0.0)


def out_of_memory(out: Path) -> bool:
    """Say whether the run whose five files are in `out` failed for want of memory."""
    manifest = read_json(out / "manifest.json")
    return manifest["status"] == "failed" and str(manifest["message"]).startswith("out of memory")


def _procedure(run: RunSpec, inputs: Inputs) -> Result:
    # torch is imported only by the runs that need it.
    if run.procedure == "baseline":
        from fedbench.procedures import baseline

        return baseline.execute(run, inputs)
    if run.study == "gsfs":
        from fedbench.procedures import classify

        return classify.execute(run, inputs)
    from fedbench.procedures import instruct

    return instruct.execute(run, inputs)


def _write(run: RunSpec, result: Result, out: Path, status: str, started: datetime, seconds: float) -> None:
    from safetensors.numpy import save_file

    out.mkdir(parents=True, exist_ok=True)
    with atomic(out / "adapter.safetensors") as partial:
        save_file(result.adapter, partial, metadata={"run": run.folder})
    write_table(out / "history.parquet", result.history, HISTORY)
    write_table(out / "predictions.parquet", result.predictions, PREDICTIONS)
    usage: dict[str, Any] = {
        "seconds": {"total": seconds, "train": None, "evaluate": None, "load": None},
        "bytes_up": 0,
        "bytes_down": 0,
        "rounds": 0,
        "versions": 0,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "trainable_parameters": None,
        "total_parameters": None,
        "adapter_bytes": sum(value.nbytes for value in result.adapter.values()),
        "tokens": None,
        "padding_share": None,
        "truncated_texts": None,
        "latency_ms": None,
        "virtual": None,
        "joules": None,
        "joules_reason": "no energy counter is readable here",
    }
    usage["seconds"] |= result.usage.pop("seconds", {})
    write_json(out / "usage.json", usage | result.usage)
    write_json(
        out / "manifest.json",
        {
            "status": status,
            "message": result.message,
            "run": run.model_dump(mode="json"),
            **provenance.describe(),
            "started": started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "pid": os.getpid(),
        },
    )
