"""Tab-separated rows of a log: a whole part at once where every line is as it should be, else line by line."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from fedbench.flows.blocks import PIECE, pieces
from fedbench.flows.chunk import TEXT, TEXTS, UNREADABLE, Chunk, complete
from fedbench.flows.schema import COUNTS, FLAGS, PORTS

_NUMBERS: dict[str, Any] = {
    **dict.fromkeys(PORTS, pl.Int32),
    **dict.fromkeys(COUNTS, pl.Int64),
    **dict.fromkeys(("ts", "duration"), pl.Float64),
}
_REGULAR = _NUMBERS | dict.fromkeys((*TEXTS, *FLAGS), TEXT)
_GAP = "   "  # between the last columns of IoT-23's logs, instead of the separator


@dataclass(frozen=True)
class Layout:
    """How the rows of (a part of) a log are written."""

    columns: tuple[str, ...] = ()
    separator: bytes = b"\t"
    unset: str = "-"
    empty: str = "(empty)"
    json: bool = False
    by_position: bool = False


def parse(part: bytes, first: int, layout: Layout) -> Chunk:
    """Parse a part of a log, whose first line has the number `first`."""
    repairs: Counter[str] = Counter()
    part, first = _without_comments(part, first)
    returns = part.count(b"\r\n") if b"\r" in part else 0
    if returns:
        returns -= len(re.findall(rb"^#.*\r\n", part, re.M)) if b"#" in part else 0
        part = part.replace(b"\r\n", b"\n")
    empties = _empties(part, layout)
    if empties:
        repairs[f"{layout.empty} read as unset"] = empties
    if not part:
        return Chunk(complete({}, pl.Series([], dtype=pl.Int64)), pl.DataFrame(schema=UNREADABLE), repairs)
    columns = _regular(part, layout, empties)
    if columns is not None:
        rows = good = len(columns["ts"])
        lines = pl.int_range(first, first + rows, dtype=pl.Int64, eager=True)
        chunk = Chunk(complete(columns, lines), pl.DataFrame(schema=UNREADABLE), repairs)
    else:
        chunk, rows = _irregular(part, first, layout, repairs)
        good = chunk.rows.height
    if returns:
        repairs["CRLF line end"] = min(returns, rows)
    if layout.by_position:
        repairs["no header: columns by position"] = good
    return chunk


def _empties(part: bytes, layout: Layout) -> int:
    """Count the fields that are empty by their mark."""
    mark = layout.empty.encode()
    if not mark or mark[:1] not in part:
        return 0
    if mark == b"(empty)":  # stands in no other text, so that it need not be looked at what is beside it
        return part.count(mark)
    ends = b"|".join([re.escape(layout.separator), _GAP.encode()])
    return len(re.findall(rb"(?:^|%s)%s(?=%s|$)" % (ends, re.escape(mark), ends), part, re.M))


def _without_comments(part: bytes, first: int) -> tuple[bytes, int]:
    """Take comment lines off both ends, where logs have them."""
    start, end = 0, len(part)
    while part.startswith(b"#", start):
        start = part.index(b"\n", start) + 1
        first += 1
    while end > start and part.startswith(b"#", last := part.rfind(b"\n", start, end - 1) + 1 or start):
        end = last
    return part[start:end], first


def _regular(part: bytes, layout: Layout, empties: int) -> dict[str, pl.Series] | None:
    """Parse a part in which each line is a row with all its columns, none blank, all numbers; None if it is not so.

    The reader itself refuses numbers that are none, bytes that are not UTF-8 and lines with too many columns; a line
    with too few has no last column. What it would let pass is counted here.
    """
    columns, line = layout.columns, part[: part.find(b"\n")]
    joined = len(columns) - 1 - line.count(layout.separator)  # columns that the last field holds, but for one
    if joined < 0 or line.count(_GAP.encode()) != joined or b"#" in part:
        return None
    fields = columns[: len(columns) - 1 - joined]
    last = pl.Categorical(pl.Categories.random())
    try:
        frame = pl.read_csv(
            part,
            has_header=False,
            separator=layout.separator.decode(),
            quote_char=None,
            schema={**{name: _REGULAR.get(name, pl.String) for name in fields}, "last": last},
            null_values=dict.fromkeys(fields, layout.unset),
            empty_string_is_null=False,
            missing_columns="insert",
            extra_columns="raise",
        )
    except pl.exceptions.ComputeError:
        return None
    lines, spaces, blanks = _shape(part, layout.separator)
    if frame["last"].null_count() or blanks or lines != frame.height or spaces != joined * len(_GAP) * lines:
        return None
    codes = frame["last"].to_physical()
    distinct = pl.Series(list(last.categories), dtype=pl.String).str.split(_GAP)
    if not distinct.list.len().eq(joined + 1).all() or distinct.list.contains("").any():
        return None
    if empties and distinct.list.count_matches(layout.empty).gather(codes).sum() != empties:
        return None
    found = {name: frame[name] for name in fields}
    for at, name in enumerate(columns[len(fields) :]):
        values = distinct.list.get(at).replace([layout.unset, layout.empty], None).cast(_REGULAR.get(name, pl.String))
        found[name] = values.gather(codes)
    return found


def _shape(part: bytes, separator: bytes) -> tuple[int, int, bool]:
    """Count lines and spaces, and tell whether any field or line is empty: one separator or line end after another."""
    lines, spaces, blanks = 0, 0, part.startswith((separator, b"\n"))
    for piece in pieces(part):
        line_ends = piece == ord("\n")
        lines += int(np.count_nonzero(line_ends[:PIECE]))
        spaces += int(np.count_nonzero(piece[:PIECE] == ord(" ")))
        line_ends |= piece == separator[0]
        blanks = blanks or bool((line_ends[1:] & line_ends[:-1]).any())
    return lines, spaces, blanks


def _irregular(part: bytes, first: int, layout: Layout, repairs: Counter[str]) -> tuple[Chunk, int]:
    """Parse a part line by line; returns also the number of its rows, good and bad. Counts what it mends."""
    part = part.replace(_GAP.encode(), layout.separator)
    wrong_bytes = np.empty(0, dtype=np.int64)
    try:
        part.decode()
    except UnicodeDecodeError:
        part = part.decode(errors="replace").encode()
        wrong_bytes = np.array([i for i, row in enumerate(part.split(b"\n")) if b"\xef\xbf\xbd" in row])
    while b"\n\n" in part or part.startswith(b"\n"):  # a comment is no row, and keeps the number of its line
        part = part.replace(b"\n\n", b"\n#\n")
        part = b"#" + part if part.startswith(b"\n") else part

    data = np.frombuffer(part, dtype=np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    separators = np.flatnonzero(data == layout.separator[0])
    starts = np.concatenate([[0], ends[:-1] + 1])
    is_row = data[starts] != ord("#")
    upto = np.searchsorted(separators, ends)
    fields = np.diff(upto, prepend=0) + 1
    reasons = np.where(fields == len(layout.columns), "", "wrong number of columns")
    reasons[wrong_bytes] = "not UTF-8"
    good = is_row & (reasons == "")

    following = data[separators + 1]
    blank = separators[(following == layout.separator[0]) | (following == ord("\n"))]
    if blank.size:
        repairs["blank read as unset"] = len(set(np.unique(np.searchsorted(ends, blank))) & set(np.flatnonzero(good)))
    try:  # numbers as numbers at once: three times as fast, and most blocks have nothing to mend
        frame = _lenient(part, layout, _NUMBERS)
    except pl.exceptions.ComputeError:
        frame = _lenient(part, layout, {})
    lines = np.arange(first, first + len(ends))
    rows = complete(frame.to_dict(), pl.Series(lines, dtype=pl.Int64))
    if not good.all():
        rows = rows.filter(pl.Series(good))
    bad = is_row & ~good
    unreadable = pl.DataFrame({"line": lines[bad], "reason": reasons[bad].tolist()}, schema=UNREADABLE)
    return Chunk(rows, unreadable, repairs), int(is_row.sum())


def _lenient(part: bytes, layout: Layout, numbers: Mapping[str, Any]) -> pl.DataFrame:
    return pl.read_csv(
        part,
        has_header=False,
        separator=layout.separator.decode(),
        quote_char=None,
        schema={name: numbers.get(name, pl.String) for name in layout.columns},
        null_values=[layout.unset, layout.empty],
        missing_columns="insert",
        extra_columns="ignore",
    )
