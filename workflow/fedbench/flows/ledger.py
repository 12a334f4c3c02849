"""The account of a data stage: how many rows of each class every step took in and left."""

from collections.abc import Mapping
from typing import Any

import polars as pl


def class_counts(classes: pl.Series) -> dict[str, int]:
    """Count each value of `classes`, most frequent first, ties by name."""
    counts = classes.alias("class").value_counts().sort(["count", "class"], descending=[True, False])
    return dict(counts.iter_rows())


def step(name: str, before: Mapping[str, int], after: Mapping[str, int], reason: str) -> dict[str, Any]:
    """Return one entry of a ledger's `steps`; row counts are the sums of the class counts."""
    return {
        "step": name,
        "rows_before": sum(before.values()),
        "rows_after": sum(after.values()),
        "reason": reason,
        "labels_before": dict(before),
        "labels_after": dict(after),
    }


def account(steps: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Return the ledger of a stage that quarantines nothing, from its steps in order."""
    first, last = steps[0], steps[-1]
    return {
        "rows_read": first["rows_before"],
        "rows_kept": last["rows_after"],
        "labels": {"read": first["labels_before"], "kept": last["labels_after"]},
        "steps": steps,
        **more,
    }
