"""Zeek conn logs, tab-separated or JSON lines, as frames of strings: columns by name, one row a line, nothing lost."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from fedbench.errors import FedbenchError
from fedbench.flows.blocks import blocks
from fedbench.flows.schema import COLUMNS, COUNTS, PORTS, REQUIRED, canonical

Format = Literal["auto", "zeek", "json"]


@dataclass(frozen=True)
class Layout:
    """How the rows of (a part of) a log are written."""

    columns: tuple[str, ...] = ()
    separator: bytes = b"\t"
    unset: str = "-"
    empty: str = "(empty)"
    json: bool = False
    by_position: bool = False


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of one log.

    Attributes:
        rows: every column of `COLUMNS` (null: unset or absent), as strings, or, where a whole block has nothing but
            numbers in them, ports, counts and times as numbers; and `line` (from 1).
        unreadable: (line, reason) of rows that could not be told apart into columns.
        repairs: rows mended while reading, by reason.
    """

    rows: pl.DataFrame
    unreadable: pl.DataFrame
    repairs: Counter[str] = field(default_factory=Counter)


_NUMBERS: dict[str, type[pl.DataType]] = {
    **dict.fromkeys((*PORTS, *COUNTS), pl.Int64),
    **dict.fromkeys(("ts", "duration"), pl.Float64),
}
_UNREADABLE = {"line": pl.Int64, "reason": pl.String}
# Fallback for logs without any header, told by the number of columns; 2014 logs have no local_resp.
_WITHOUT_LOCAL_RESP = tuple(name for name in COLUMNS if name != "local_resp")
_BY_POSITION = {len(names): names for names in (COLUMNS, _WITHOUT_LOCAL_RESP, COLUMNS[:-2], _WITHOUT_LOCAL_RESP[:-2])}
_SPELLINGS = tuple(
    dict.fromkeys(
        spelling
        for name in COLUMNS
        for spelling in (name, name.replace("id.", "id_"), name.replace("_label", "-label"), name.replace("_", ""))
        if canonical(spelling) == name
    )
)


def read(path: Path, format: Format = "auto") -> Iterator[Chunk]:
    """Read a log block by block.

    Columns come from the `#fields` line, else from a plain header line, else (no header at all) from the number of
    columns in published order. The last columns of IoT-23 logs are separated by three spaces instead of a tab.

    Raises:
        FedbenchError: the log is empty, its columns cannot be told, or a required column is absent.
    """
    layout, rows = Layout(json=format == "json"), 0
    for first, block in blocks(path):
        if first == 1:
            block = block.removeprefix(b"\xef\xbb\xbf")
        for line, part, directives in _parts(block, first, json_lines=layout.json):
            for directive in directives:
                layout = _directed(layout, directive, path)
            if not layout.columns and not layout.json and part.strip():
                layout, part, line = _without_directives(layout, part, line, path, format)
            if part:
                chunk = _json_chunk(part, line) if layout.json else _tabular_chunk(part, line, layout)
                rows += chunk.rows.height + chunk.unreadable.height
                yield chunk
    if not rows:
        raise FedbenchError(
            "empty log: no flow in it", where=path, remedy="Fetch the file again, or take it out of the list of logs."
        )


def _parts(block: bytes, first: int, *, json_lines: bool) -> Iterator[tuple[int, bytes, list[bytes]]]:
    """Cut a block at the lines that change the layout: (first line of the part, its bytes, directives before it)."""
    if json_lines or not (block.startswith((b"#", b"ts")) or b"\n#" in block or b"\nts" in block):
        yield first, block, []
        return
    start, line, directives = 0, first, list[bytes]()
    for match in re.finditer(rb"^(?:#(?:separator|unset_field|empty_field|fields)\b|ts[\t|,]uid\b).*\n", block, re.M):
        if match.start() > start:
            yield line, block[start : match.start()], directives
            directives = []
        directives.append(match.group().rstrip(b"\r\n"))
        line += block.count(b"\n", start, match.end())
        start = match.end()
    yield line, block[start:], directives


def _directed(layout: Layout, directive: bytes, path: Path) -> Layout:
    """Apply a `#` directive, or a plain header line, to the layout."""
    if not directive.startswith(b"#"):
        separator = directive[2:3]
        return _named(replace(layout, separator=separator), directive.split(separator), path)
    name, _, value = directive.partition(b" " if directive.startswith(b"#separator") else layout.separator)
    match name:
        case b"#separator":
            return replace(layout, separator=re.sub(rb"\\x([0-9a-fA-F]{2})", lambda m: bytes([int(m[1], 16)]), value))
        case b"#unset_field":
            return replace(layout, unset=value.decode())
        case b"#empty_field":
            return replace(layout, empty=value.decode())
        case _:
            return _named(layout, value.replace(b"   ", layout.separator).split(layout.separator), path)


def _named(layout: Layout, names: list[bytes], path: Path) -> Layout:
    columns = tuple(canonical(name.decode(errors="replace")) for name in names)
    absent = [name for name in REQUIRED if name not in columns]
    if absent:
        raise FedbenchError(f"not a conn log: no column {', '.join(absent)}", where=path)
    if len(set(columns)) < len(columns):
        raise FedbenchError("a column name stands twice in the header", where=path)
    return replace(layout, columns=columns, by_position=False)


def _without_directives(
    layout: Layout, part: bytes, line: int, path: Path, format: Format
) -> tuple[Layout, bytes, int]:
    """Find the layout of a log whose first row comes without `#fields`; returns also what is left of the part."""
    rows = [row for row in part.split(b"\n", 50) if row.strip() and not row.startswith(b"#")]
    if not rows:
        return layout, b"", line
    first = rows[0].strip()
    if first.startswith(b"{") and format != "zeek":
        return replace(layout, json=True), part, line
    names = first.split(layout.separator)
    if b"uid" in names:  # a plain header whose columns stand in another order
        end = part.index(rows[0]) + len(rows[0]) + 1
        return _named(layout, names, path), part[end:], line + part.count(b"\n", 0, end)
    columns = _BY_POSITION.get(len(first.replace(b"   ", layout.separator).split(layout.separator)))
    if columns is None:
        raise FedbenchError(
            "columns unknown: no #fields line, no header line, and the first row is not in Zeek's order",
            where=f"{path}:{line}",
            remedy="Give a Zeek conn log (tab-separated or JSON lines), with its header.",
        )
    return replace(layout, columns=columns, by_position=True), part, line


def _tabular_chunk(part: bytes, first: int, layout: Layout) -> Chunk:
    repairs: Counter[str] = Counter()
    returns = part.count(b"\r\n")
    if returns:
        part = part.replace(b"\r\n", b"\n")
    part = part.replace(b"   ", layout.separator)
    wrong_bytes = np.empty(0, dtype=np.int64)
    try:
        part.decode()
    except UnicodeDecodeError:
        part = part.decode(errors="replace").encode()
        wrong_bytes = np.array([i for i, row in enumerate(part.split(b"\n")) if b"\xef\xbf\xbd" in row])
    while b"\n\n" in part or part.startswith(b"\n"):  # read_csv skips blank lines, which would shift line numbers
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

    if returns:
        repairs["CRLF line end"] = min(returns, int(is_row.sum()))
    following = data[separators + 1]
    blank = separators[(following == layout.separator[0]) | (following == ord("\n"))]
    if blank.size:
        repairs["blank read as unset"] = len(set(np.unique(np.searchsorted(ends, blank))) & set(np.flatnonzero(good)))
    if empties := part.count(layout.empty.encode()):
        repairs[f"{layout.empty} read as unset"] = empties
    if layout.by_position:
        repairs["no header: columns by position"] = int(good.sum())

    try:  # numbers as numbers at once: three times as fast, and most blocks have nothing to mend
        frame = _parsed(part, layout, _NUMBERS)
    except pl.exceptions.ComputeError:
        frame = _parsed(part, layout, {})
    lines = np.arange(first, first + len(ends))
    rows = _complete(frame.with_columns(pl.Series("line", lines, dtype=pl.Int64)))
    if not good.all():
        rows = rows.filter(pl.Series(good))
    bad = is_row & ~good
    return Chunk(rows, pl.DataFrame({"line": lines[bad], "reason": reasons[bad].tolist()}, schema=_UNREADABLE), repairs)


def _parsed(part: bytes, layout: Layout, numbers: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    return pl.read_csv(
        BytesIO(part),
        has_header=False,
        separator=layout.separator.decode(),
        quote_char=None,
        schema={name: numbers.get(name, pl.String) for name in layout.columns},
        null_values=[layout.unset, layout.empty],
        missing_columns="insert",
        extra_columns="ignore",
    )


def _json_chunk(part: bytes, first: int) -> Chunk:
    schema = dict.fromkeys(_SPELLINGS, pl.String)
    numbered = [(first + i, row) for i, row in enumerate(part.split(b"\n")) if row.strip()]
    wrong: list[int] = []
    try:
        frame = pl.read_ndjson(b"\n".join(row for _, row in numbered), schema=schema)
        intact = frame.height == len(numbered)
    except pl.exceptions.PolarsError:
        intact = False
    if not intact:  # some line is not a JSON object: look at each, which only damaged blocks pay for
        parsed = [(line, _object(row)) for line, row in numbered]
        wrong = [line for line, value in parsed if value is None]
        numbered = [(line, row) for (line, row), (_, value) in zip(numbered, parsed, strict=True) if value is not None]
        frame = pl.DataFrame([value for _, value in parsed if value is not None], schema=schema)
    for name in COLUMNS:
        spellings = [spelling for spelling in _SPELLINGS if canonical(spelling) == name]
        frame = frame.with_columns(pl.coalesce(spellings).replace(["-", "(empty)", "[]", ""], None).alias(name))
    frame = frame.with_columns(pl.Series("line", [line for line, _ in numbered], dtype=pl.Int64))
    reasons = ["not a JSON object"] * len(wrong)
    return Chunk(_complete(frame), pl.DataFrame({"line": wrong, "reason": reasons}, schema=_UNREADABLE))


def _object(row: bytes) -> dict[str, str | None] | None:
    """The values of a JSON object as strings, or None where the line is none."""
    try:
        value = json.loads(row)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    texts = {name: value[name] for name in _SPELLINGS if value.get(name) is not None}
    return {name: text if isinstance(text, str) else json.dumps(text) for name, text in texts.items()}


def _complete(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of `COLUMNS` and `line`, absent ones as nulls."""
    absent = [pl.lit(None, pl.String).alias(name) for name in COLUMNS if name not in frame.columns]
    return frame.with_columns(absent).select(*COLUMNS, "line")
