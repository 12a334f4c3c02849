"""Rows of a log written as JSON lines."""

import json

import polars as pl

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


def parse(part: bytes, first: int) -> Chunk:
    """Parse a part of a log, whose first line has the number `first`."""
    numbered = [(first + i, row) for i, row in enumerate(part.split(b"\n")) if row.strip()]
    wrong: list[int] = []
    try:
        frame = pl.read_ndjson(b"\n".join(row for _, row in numbered), schema=_SCHEMA)
        intact = frame.height == len(numbered)
    except pl.exceptions.PolarsError:
        intact = False
    if not intact:  # some line is not a JSON object: look at each, which only damaged blocks pay for
        parsed = [(line, _object(row)) for line, row in numbered]
        wrong = [line for line, value in parsed if value is None]
        numbered = [(line, row) for (line, row), (_, value) in zip(numbered, parsed, strict=True) if value is not None]
        frame = pl.DataFrame([value for _, value in parsed if value is not None], schema=_SCHEMA)
    frame = frame.select(
        pl.coalesce(spellings).replace(["-", "(empty)", "[]", ""], None).alias(name)
        for name, spellings in _SPELLINGS.items()
    )
    lines = pl.Series([line for line, _ in numbered], dtype=pl.Int64)
    reasons = ["not a JSON object"] * len(wrong)
    return Chunk(complete(frame.to_dict(), lines), pl.DataFrame({"line": wrong, "reason": reasons}, schema=UNREADABLE))


def _object(row: bytes) -> dict[str, str | None] | None:
    """The values of a JSON object as strings, or None where the line is none."""
    try:
        value = json.loads(row)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    texts = {name: value[name] for name in _SCHEMA if value.get(name) is not None}
    return {name: text if isinstance(text, str) else json.dumps(text) for name, text in texts.items()}
