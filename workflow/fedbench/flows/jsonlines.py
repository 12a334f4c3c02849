"""Rows of a log written as JSON lines."""

import json
import re

import polars as pl

from fedbench.flows.blocks import count
from fedbench.flows.chunk import UNREADABLE, Chunk, complete
from fedbench.flows.schema import COLUMNS, canonical

_SPELLINGS = {
    name: [
        spelling
        for spelling in dict.fromkeys(
            (name, name.replace("id.", "id_"), name.replace("_label", "-label"), name.replace("_", ""))
        )
        if canonical(spelling) == name
    ]
    for name in COLUMNS
}
_SCHEMA = {spelling: pl.String for spellings in _SPELLINGS.values() for spelling in spellings}


_UNSET = ["-", "(empty)", "[]", ""]
_BLANK = re.compile(rb"\n\s*\n")


def parse(part: bytes, first: int) -> Chunk:
    """Parse a part of a log, whose first line has the number `first`."""
    wrong: list[int] = []
    if part[:1].isspace() or _BLANK.search(part):
        numbered = [(first + i, row) for i, row in enumerate(part.split(b"\n")) if row.strip()]
        lines = pl.Series([line for line, _ in numbered], dtype=pl.Int64)
        text = b"\n".join(row for _, row in numbered)
    else:
        lines, text = pl.int_range(first, first + count(part, b"\n"), dtype=pl.Int64, eager=True), part
    try:
        frame = pl.read_ndjson(text, schema=_SCHEMA)
        intact = frame.height == len(lines)
    except pl.exceptions.PolarsError:
        intact = False
    if not intact:  # some line is not a JSON object: look at each, which only damaged blocks pay for
        parsed = [(line, _object(row)) for line, row in zip(lines, text.removesuffix(b"\n").split(b"\n"), strict=True)]
        wrong = [line for line, value in parsed if value is None]
        lines = pl.Series([line for line, value in parsed if value is not None], dtype=pl.Int64)
        frame = pl.DataFrame([value for _, value in parsed if value is not None], schema=_SCHEMA)
    frame = frame.select(pl.coalesce(spellings).alias(name) for name, spellings in _SPELLINGS.items())
    short = frame.select((pl.all().str.len_bytes() < 2).any())  # rarely any: only then it is worth to look at all
    unset = {"tunnel_parents", *(name for name in short.columns if short[name].item())}
    if b"(" in part and b"(empty)" in part:
        unset |= set(frame.columns)
    frame = frame.with_columns(pl.col(*unset).replace(_UNSET, None))
    reasons = ["not a JSON object"] * len(wrong)
    return Chunk(complete(frame.to_dict(), lines), pl.DataFrame({"line": wrong, "reason": reasons}, schema=UNREADABLE))


def _object(row: bytes) -> dict[str, str | None] | None:
    """The values of a JSON object as strings, or None where the line is none."""
    try:
        value = json.loads(row)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    texts = {name: value[name] for name in _SCHEMA if value.get(name) is not None}
    return {name: text if isinstance(text, str) else json.dumps(text) for name, text in texts.items()}
