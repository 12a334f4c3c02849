"""Rows on their way from a log's text to typed flows."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from fedbench.flows.schema import COLUMNS, COUNTS

TEXT: Final = pl.Categorical(pl.Categories("fedbench.flows"))
"""Columns with few distinct values are kept as numbers of those values: a quarter of the bytes to sort and to store."""

TEXTS: Final = ("proto", "service", "conn_state", "history", "tunnel_parents", "label", "detailed_label")

_ALIVE: Final = pl.Series([], dtype=TEXT)  # polars forgets the values when no column uses them, as between two files

UNREADABLE: Final = {"line": pl.Int64, "reason": pl.String}


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of one log.

    Attributes:
        rows: every column of `COLUMNS` (null: unset or absent) and `line` (from 1). Columns are strings, except where
            a whole block reads as it should: there ports, counts and times are numbers, `TEXTS` and flags `TEXT`.
        unreadable: (line, reason) of rows that could not be told apart into columns.
        repairs: rows mended while reading, by reason.
    """

    rows: pl.DataFrame
    unreadable: pl.DataFrame
    repairs: Counter[str] = field(default_factory=Counter)


_NUMBERS: Final = {**dict.fromkeys(COUNTS, pl.Int64), "duration": pl.Float64}


def complete(columns: Mapping[str, pl.Series], lines: pl.Series) -> pl.DataFrame:
    """Return the columns of `COLUMNS`, absent ones as nulls, and `line`."""

    def unset(name: str) -> pl.Series:
        return pl.repeat(None, len(lines), dtype=_NUMBERS.get(name, pl.String), eager=True)

    found = {name: columns[name] if name in columns else unset(name) for name in COLUMNS}
    return pl.DataFrame(found | {"line": lines})
