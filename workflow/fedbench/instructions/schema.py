"""The columns of the instruction files, declared once, and how they are written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from fedbench.files import atomic

RECORD: dict[str, pl.DataType] = {
    "row_id": pl.Int64(),
    "instruction": pl.String(),
    "context": pl.String(),
    "response": pl.String(),
    "category": pl.String(),
    "source": pl.String(),
}
"""What every stage carries; source is "dolly", "synthetic" or "self-instruct"."""

FILTERED = RECORD | {"strict_match": pl.Boolean(), "similarity": pl.Float64()}
"""`filtered.parquet`: row_id is the record's place in the source; why each record was kept."""

AUGMENTED = RECORD | {
    "teacher": pl.String(),
    "seed_tasks": pl.List(pl.Int64()),
    "attempt": pl.Int64(),
    "label": pl.String(),
    "labels": pl.List(pl.String()),
}
"""`augmented.parquet`: provenance of a self-instruct row, and the right answer of a closed-label one."""

DATASET = AUGMENTED | {"split": pl.String()}
"""`dataset.parquet`: sorted by row_id; split is "train", "validation" or "test"."""


def table(rows: Sequence[dict[str, Any]], schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """Return `rows` as a frame of exactly `schema`; a column that a row lacks is null."""
    columns = {name: [row.get(name) for row in rows] for name in schema}
    return pl.DataFrame(columns, schema=schema, strict=True)


def write(frame: pl.DataFrame, path: Path) -> None:
    """Write `frame` as Parquet, whole or not at all; equal frames give equal bytes."""
    with atomic(path) as partial:
        frame.write_parquet(partial, compression="zstd", statistics=True)


def counts(frame: pl.DataFrame, column: str = "category") -> dict[str, int]:
    """Return rows per value of `column`, in the values' order; nulls are left out."""
    grouped = frame.drop_nulls(column).group_by(column).len().sort(column)
    return dict(zip(grouped[column].to_list(), grouped["len"].to_list(), strict=True))
