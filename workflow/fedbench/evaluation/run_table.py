"""One row a run, failed ones among them: what it was, how it ended, what it cost."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fedbench.evaluation.score import model_name, write_table
from fedbench.files import read_json
from fedbench.spec import RunSpec

SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("label", pa.string()),
        ("study", pa.string()),
        ("procedure", pa.string()),
        ("model", pa.string()),
        ("model_title", pa.string()),
        ("model_published", pa.string()),
        ("strategy", pa.string()),
        ("strategy_title", pa.string()),
        ("strategy_published", pa.string()),
        ("partition", pa.string()),
        ("variant", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("message", pa.string()),
        ("synthetic", pa.bool_()),
        ("tier", pa.string()),
        ("client_tier", pa.string()),
        ("quantisation", pa.string()),
        ("template", pa.string()),
        ("prompt_tokens", pa.float64()),
        ("truncated_texts", pa.int64()),
        ("bytes_up", pa.int64()),
        ("bytes_down", pa.int64()),
        ("bytes_cloud", pa.int64()),
        ("clients", pa.int64()),
        ("rounds", pa.int64()),
        ("versions", pa.int64()),
        ("seconds", pa.float64()),
        ("train_seconds", pa.float64()),
        ("peak_rss_bytes", pa.int64()),
        ("peak_vram_bytes", pa.int64()),
        ("trainable_parameters", pa.int64()),
        ("total_parameters", pa.int64()),
        ("adapter_bytes", pa.int64()),
        ("started", pa.string()),
        ("finished", pa.string()),
        ("commit", pa.string()),
        ("dirty", pa.bool_()),
        ("environment", pa.string()),
    ]
)
_BASELINES = {"hist-gradient-boosting": "Gradient boosting (raw columns)", "majority": "Majority class"}


def write_runs(
    folders: Sequence[Path], out: Path, *, missing: Sequence[RunSpec] = (), logs: Path = Path("logs")
) -> None:
    """Write `out` (scores/runs.parquet), one row a run folder, from its manifest.json and usage.json.

    Args:
        folders: the runs that have their five files.
        out: file to write.
        missing: runs that have not: a row each, that says so and has no figures.
        logs: folder with the log of each run that has begun.
    """
    rows = [_row(folder) for folder in folders] + [_missing(run, logs / f"{run.folder}.log") for run in missing]
    write_table(rows, SCHEMA, out)


def _row(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / "manifest.json")
    run = RunSpec.model_validate(manifest["run"])
    usage = read_json(folder / "usage.json") if (folder / "usage.json").is_file() else {}
    seconds = usage.get("seconds") or {}
    return {
        **_identity(run),
        "run": folder.name,
        "status": manifest["status"],
        "message": manifest.get("message") or "",
        "seconds": seconds.get("total"),
        "train_seconds": seconds.get("train"),
        **{key: usage.get(key) for key in _USAGE},
        **{key: manifest.get(key) for key in ("started", "finished", "commit", "dirty")},
        "environment": json.dumps({key: manifest.get(key) for key in ("versions", "host")}, sort_keys=True),
    }


def _missing(run: RunSpec, log: Path) -> dict[str, Any]:
    message = f"it began and did not end: see {log}" if log.is_file() else "it has not begun"
    return {**_identity(run), "status": "not run", "message": message}


def _identity(run: RunSpec) -> dict[str, Any]:
    """Return what is known of a run before it has run."""
    return {
        "run": run.folder,
        "label": run.label,
        "study": run.study,
        "procedure": run.procedure,
        "model": model_name(run),
        "model_title": run.model.title if run.model else _BASELINES.get(run.baseline or "", run.baseline),
        "model_published": run.model.published.get(run.study) if run.model else None,
        "strategy": run.strategy.name if run.strategy else "",
        "strategy_title": run.strategy.title if run.strategy else "",
        "strategy_published": run.strategy.published if run.strategy else None,
        "partition": run.partition if run.strategy else "",
        "variant": run.variant or "",
        "seed": run.seed,
        "synthetic": run.synthetic,
        "tier": run.tier,
        "client_tier": run.client_tier.title if run.client_tier else None,
        "quantisation": run.training.quantisation,
        "clients": run.clients,
    }


_USAGE = (
    "template",
    "prompt_tokens",
    "truncated_texts",
    "bytes_up",
    "bytes_down",
    "bytes_cloud",
    "rounds",
    "versions",
    "peak_rss_bytes",
    "peak_vram_bytes",
    "trainable_parameters",
    "total_parameters",
    "adapter_bytes",
)
