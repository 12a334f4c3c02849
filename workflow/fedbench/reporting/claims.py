"""What a paper's text says of its own numbers: claims as data, each with the rule that computes it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from fedbench.errors import FedbenchError
from fedbench.reporting.checks import Cell, Cells, Check, Function, check

COLUMNS = ("paper", "where", "claim", "value", "unit", "rule", "cells")
RULES = {
    "points": "Difference, in points",
    "reduction": "Reduction, in %",
    "sum": "Sum",
    "share": "Share, in %",
    "equals": "Equal to the cell",
    "highest": "Highest of its column",
    "lowest": "Lowest of its column",
    "better": "Columns in which it is better",
}
_ARITHMETIC: dict[str, tuple[str, Function]] = {
    "points": ("100 × ({} − {})", lambda v: 100 * (v[0] - v[1])),
    "reduction": ("100 × (1 − {} / {})", lambda v: 100 * (1 - v[0] / v[1])),
    "sum": ("", sum),
    "share": ("100 × {} / {}", lambda v: 100 * v[0] / v[1]),
    "equals": ("{}", sum),
}


def read(folder: Path, paper: str) -> pd.DataFrame:
    """Read `<folder>/claims.csv`, the rows of one paper; `digits` are the decimals printed, `line` is where it stands.

    `cells` names the published cells that the rule takes, "table | row | column", with ";" between them.

    Raises:
        FedbenchError: the file is missing, lacks a column, names an unknown rule or holds a value that is no number.
    """
    path = folder / "claims.csv"
    if not path.is_file():
        raise FedbenchError("no such file", where=path, remedy="It holds what the papers claim; restore it.")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if tuple(frame.columns) != COLUMNS:
        raise FedbenchError(f"columns are {list(frame.columns)}", where=path, remedy=f"They must be {list(COLUMNS)}.")
    values = pd.to_numeric(frame["value"], errors="coerce")
    for line, (value, number, rule) in enumerate(zip(frame["value"], values, frame["rule"], strict=True), start=2):
        if pd.isna(number):
            raise FedbenchError(f"value {value!r} is not a number", where=f"{path}:{line}")
        if rule not in RULES:
            remedy = f"Use one of: {', '.join(RULES)}."
            raise FedbenchError(f"no rule {rule!r}", where=f"{path}:{line}", remedy=remedy)
    digits = frame["value"].str.partition(".")[2].str.len()
    frame = frame.assign(value=values, digits=digits, line=range(2, len(frame) + 2))
    return frame[frame["paper"] == paper]


def verify(claim: Mapping[str, str | float], cells: Cells, times: set[str]) -> Check:
    """Return the check of one claim.

    Args:
        claim: a row of `read`.
        cells: the published cells.
        times: columns in which less is better.

    Raises:
        FedbenchError: the claim names a cell that is not published.
    """
    rule = str(claim["rule"])
    keys = [tuple(part.strip() for part in cell.split("|")) for cell in str(claim["cells"]).split(";")]
    printed = Cell(float(claim["value"]), int(claim["digits"]))
    head = RULES[rule], str(claim["claim"]), str(claim["where"])
    known = {key[: len(keys[0])] for key in cells}
    unknown = [" | ".join(key) for key in keys if key not in known]
    if unknown:
        remedy = "Correct `cells`, or add the cell's value."
        raise FedbenchError(f"no published cell {unknown[0]!r}", where=f"claims.csv:{claim['line']}", remedy=remedy)
    if rule == "better":
        return _better(head, keys, printed, cells, times)
    given = [cells[table, row, column] for table, row, column in keys]
    if rule in ("highest", "lowest"):
        table, _, column = keys[0]
        beside = [cell for (t, _, c), cell in cells.items() if (t, c) == (table, column)]
        best = (max if rule == "highest" else min)(beside, key=lambda cell: cell.value)
        return check(*head, f"{rule} of {len(beside)}", [best], printed, sum)
    source, function = _ARITHMETIC[rule]
    return check(*head, source or " + ".join("{}" for _ in given), given, printed, function)


def _better(
    head: tuple[str, str, str], keys: Sequence[Sequence[str]], printed: Cell, cells: Cells, times: set[str]
) -> Check:
    """Return in how many columns of a table one row is better than another: less in a time, more in anything else."""
    (table, ours), (_, theirs) = keys
    columns = [column for (t, row, column) in cells if (t, row) == (table, ours)]
    pairs = [(cells[table, ours, column].value, cells[table, theirs, column].value, column) for column in columns]
    count = float(sum(mine < other if column in times else mine > other for mine, other, column in pairs))
    return Check(*head, f"{len(columns)} pairs of cells", count, count, count, printed)
