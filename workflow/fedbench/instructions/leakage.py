"""How far a score on the held-out records can be believed: how near each is to what was trained on."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fedbench.files import atomic
from fedbench.instructions.rouge import NearCopies

SCORED = "closed-label"
"""The part of the test set whose answers are scored."""
LIMITS = {"rouge_50": 0.5, "rouge_70": 0.7}


def leakage(dataset: Path, out: Path) -> pl.DataFrame:
    """Write, and return, one row a part of the test set: its sources, then the closed-label records that are scored.

    Columns: part; train_rows, test_rows; rouge_median (of ROUGE-L between a test instruction and the training
    instruction nearest to it, by that measure), rouge_50 and rouge_70 (share of test instructions for which it is at
    least 0.5 and 0.7); and for the closed-label records nearest (accuracy of the label of the nearest training record
    that offers the same label set) and majority (accuracy of its most frequent training label). A label set that no
    training record offers gives a wrong answer.

    Args:
        dataset: `dataset.parquet`, of `dataset.build`.
        out: CSV.
    """
    frame = pl.read_parquet(dataset)
    train, test = (frame.filter(pl.col("split") == name) for name in ("train", "test"))
    index = NearCopies(1.0, train["instruction"])
    scores = [index.nearest(text)[1] for text in test["instruction"]]
    test = test.with_columns(pl.Series("rouge", scores, dtype=pl.Float64))
    rows = [_row(source, train, part) for (source,), part in sorted(test.partition_by("source", as_dict=True).items())]
    scored = test.drop_nulls("label")
    if scored.height:
        rows.append(_row(SCORED, train, scored) | _memory(train.drop_nulls("label"), scored))
    table = pl.DataFrame(rows, schema=_COLUMNS)
    with atomic(out) as partial:
        table.write_csv(partial, float_precision=6)
    return table


_COLUMNS = {
    "part": pl.String(),
    "train_rows": pl.Int64(),
    "test_rows": pl.Int64(),
    "rouge_median": pl.Float64(),
    **dict.fromkeys(LIMITS, pl.Float64()),
    "nearest": pl.Float64(),
    "majority": pl.Float64(),
}


def _row(part: str, train: pl.DataFrame, test: pl.DataFrame) -> dict[str, Any]:
    scores = test["rouge"].to_numpy()
    return {
        "part": part,
        "train_rows": train.height,
        "test_rows": test.height,
        "rouge_median": float(np.median(scores)),
        **{name: float(np.mean(scores >= limit)) for name, limit in LIMITS.items()},
        "nearest": None,
        "majority": None,
    }


def _memory(train: pl.DataFrame, test: pl.DataFrame) -> dict[str, float]:
    """Return the accuracy of two answers that need no understanding: the nearest record's, and the most frequent."""
    texts: defaultdict[frozenset[str], NearCopies] = defaultdict(lambda: NearCopies(1.0))
    known: defaultdict[frozenset[str], list[str]] = defaultdict(list)
    for instruction, label, labels in train["instruction", "label", "labels"].iter_rows():
        texts[frozenset(labels)].add(instruction)
        known[frozenset(labels)].append(label)
    nearest, majority = [], []
    for instruction, label, labels in test["instruction", "label", "labels"].iter_rows():
        offered = known.get(frozenset(labels), [])
        nearest.append(bool(offered) and offered[texts[frozenset(labels)].nearest(instruction)[0]] == label)
        majority.append(bool(offered) and _most_frequent(offered) == label)
    return {"nearest": float(np.mean(nearest)), "majority": float(np.mean(majority))}


def _most_frequent(labels: Sequence[str]) -> str:
    return min(set(labels), key=lambda label: (-labels.count(label), label))
