"""Published values beside ours, with a verdict on each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from fedbench.errors import FedbenchError
from fedbench.reporting.results import Estimate

Verdict = Literal["reproduced", "close", "differs", "not comparable", "not run"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "close", "differs", "not comparable", "not run")
COLUMNS = ("paper", "table", "row", "column", "value", "unit")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One published value and what stands beside it.

    Attributes:
        row, column: the cell of the paper's table.
        measure: what ours is, in the words of our table.
        published: the printed value, with the printed digits.
        ours: our estimate, None where nothing ran.
        obstacle: why the two cannot be compared; empty when they can.
        missing: why nothing ran.
        decimals: when given, the two are equal or differ, after ours is rounded to so many decimals (counts, shares).
    """

    row: str
    column: str
    measure: str
    published: Estimate
    ours: Estimate | None
    obstacle: str = ""
    missing: str = ""
    decimals: int | None = None


def verdict(comparison: Comparison, tolerance: float) -> tuple[Verdict, str]:
    """Return the verdict on one value and its reason.

    not run: there is no value of ours. not comparable: something stands in the way. reproduced: our interval covers the
    published value, or the exact comparison holds. close: the absolute difference is within `tolerance`. Else: differs.
    """
    ours = comparison.ours
    if ours is None:
        return "not run", comparison.missing or "no run in this result set"
    published = comparison.published.value
    if comparison.obstacle:
        return "not comparable", comparison.obstacle
    if comparison.decimals is not None:
        equal = round(ours.value, comparison.decimals) == published
        return ("reproduced", "equal") if equal else ("differs", "not equal")
    low = ours.value if ours.low is None else ours.low
    high = ours.value if ours.high is None else ours.high
    if low <= published <= high:
        return "reproduced", "our interval covers it"
    if abs(ours.value - published) <= tolerance + 1e-12:  # 0.91 - 0.89 is a little more than 0.02 in floating point
        return "close", f"outside our interval, within {tolerance:g} of our mean"
    return "differs", f"outside our interval, more than {tolerance:g} from our mean"


def judge(comparisons: Iterator[Comparison], tolerance: float) -> pd.DataFrame:
    """Return one row a comparison: published value, ours with its interval, difference, verdict and reason."""
    rows = []
    for item in comparisons:
        outcome, reason = verdict(item, tolerance)
        ours = item.ours
        rows.append(
            {
                "row": item.row,
                "column": item.column,
                "published": item.published,
                "measure": item.measure,
                "ours": ours or "not run",
                "difference": Estimate(ours.value - item.published.value, digits=ours.digits) if ours else "",
                "verdict": outcome,
                "reason": reason,
            }
        )
    return pd.DataFrame(rows)


def read_published(folder: Path, paper: str) -> pd.DataFrame:
    """Read `<folder>/<paper>.csv`: paper, table, row, column, value, unit; `digits` are the decimals printed.

    Raises:
        FedbenchError: the file is missing, lacks a column, holds a value that is no number, or a cell twice.
    """
    path = folder / f"{paper}.csv"
    if not path.is_file():
        raise FedbenchError("no such file", where=path, remedy="It holds the paper's printed values; restore it.")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if tuple(frame.columns) != COLUMNS:
        raise FedbenchError(f"columns are {list(frame.columns)}", where=path, remedy=f"They must be {list(COLUMNS)}.")
    values = pd.to_numeric(frame["value"], errors="coerce")
    if values.isna().any():
        line = int(values.isna().to_numpy().argmax()) + 2
        raise FedbenchError(f"value {frame['value'].iloc[line - 2]!r} is not a number", where=f"{path}:{line}")
    twice = frame.duplicated(["table", "row", "column"])
    if twice.any():
        raise FedbenchError("this cell is given twice", where=f"{path}:{int(twice.to_numpy().argmax()) + 2}")
    return frame.assign(value=values, digits=frame["value"].str.partition(".")[2].str.len())


def tally(verdicts: pd.DataFrame) -> dict[str, int]:
    """Return how many values of a verdict table met each verdict."""
    counts = verdicts["verdict"].value_counts()
    return {name: int(counts.get(name, 0)) for name in VERDICTS}
