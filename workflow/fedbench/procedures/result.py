"""What a procedure is given and what it returns, with the schemas of a run's tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fedbench.files import atomic
from fedbench.progress import Bar

PREDICTIONS = pa.schema(
    [
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("text_id", pa.int64(), nullable=False),
        pa.field("truth", pa.string(), nullable=False),
        pa.field("predicted", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("scope", pa.string(), nullable=False),
        pa.field("client", pa.int32(), nullable=False),
    ]
)

HISTORY = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("round", pa.int32(), nullable=False),
        pa.field("client", pa.int32(), nullable=False),
        pa.field("phase", pa.string(), nullable=False),
        pa.field("loss", pa.float64()),
        pa.field("accuracy", pa.float64()),
        pa.field("examples", pa.int64()),
        pa.field("seconds", pa.float64()),
        pa.field("bytes_up", pa.int64()),
        pa.field("bytes_down", pa.int64()),
        pa.field("uploaded", pa.bool_()),
        pa.field("trigger", pa.string()),
        pa.field("virtual_seconds", pa.float64()),
        pa.field("metrics", pa.string()),
    ]
)


@dataclass
class Result:
    """What a procedure returns; `execute` turns it into files.

    Attributes:
        usage: entries of usage.json that the procedure knows.
    """

    adapter: dict[str, np.ndarray] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class Inputs:
    """What a procedure is given: the data set, who holds what, the base model, and where to keep its state.

    Attributes:
        grid: makes the grid on which a federated run's clients are reached, once the server knows what they hold; None
            leaves it to the run.
        teacher: adapter and snapshot of the model that teaches this run.
    """

    dataset: pl.DataFrame
    clients: pl.DataFrame
    snapshot: Path | None
    checkpoints: Path
    bar: Bar
    grid: Callable[[Any], Any] | None = None
    teacher: tuple[Path, Path] | None = None


def write_table(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet with exactly `schema`, whole or not at all."""
    table = pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in rows], schema=schema)
    with atomic(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def predictions(
    test: pl.DataFrame,
    truth: Sequence[str],
    predicted: Sequence[str | None],
    *,
    scope: str = "central",
    client: int = -1,
    answers: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Return rows of predictions.parquet for one model over the whole test set."""
    ids = test["row_id"].to_list()
    texts = test["text_id"].to_list() if "text_id" in test.columns else ids
    raw: Sequence[str | None] = answers or [None] * len(ids)
    return [
        {"row_id": i, "text_id": t, "truth": y, "predicted": p, "answer": a, "scope": scope, "client": client}
        for i, t, y, p, a in zip(ids, texts, truth, predicted, raw, strict=True)
    ]
