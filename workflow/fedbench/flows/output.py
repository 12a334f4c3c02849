"""Typed flows as one Parquet file of the declared schema."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from fedbench.flows.chunk import TEXT
from fedbench.flows.schema import FLOWS


def write(frames: Iterator[pl.DataFrame], values: Mapping[str, Iterable[str]], path: Path, group: int) -> None:
    """Write frames, one after another, in row groups of `group` rows; adds `row_id`.

    values: for each column of type `TEXT`, at least the values that it has. It is written from the numbers of those
    values, which saves the writer to find them; in the file, as to any reader, it is a string like the others.
    """
    enums = {name: pl.Enum(sorted(values[name])) for name in values}
    for enum in enums.values():
        enum.categories.cast(TEXT)  # all have their codes from here on
    known = pl.Series(list(TEXT.categories), dtype=pl.String)
    by_code = {name: known.cast(enum, strict=False) for name, enum in enums.items()}
    schema = pl.Schema({name: enums.get(name, dtype) for name, dtype in pl.Schema(FLOWS).items()})

    def numbered() -> Iterator[pl.DataFrame]:
        row = 0
        for frame in frames:
            ids = pl.int_range(row, row + frame.height, dtype=pl.Int64, eager=True)
            coded = [by_code[name].gather(frame[name].to_physical()).alias(name) for name in enums]
            yield frame.with_columns(*coded, ids.alias("row_id")).select(FLOWS.names)
            row += frame.height

    # The types as polars writes them, nullability as declared; then the declared types, for those who read.
    arrow = pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.newest()).schema
    register_io_source(lambda *_: numbered(), schema=schema).sink_parquet(
        path,
        compression="zstd",
        compression_level=1,
        row_group_size=group,
        arrow_schema=pa.schema([field.with_type(arrow.field(field.name).type) for field in FLOWS]),
        metadata={"ARROW:schema": base64.b64encode(FLOWS.serialize()).decode()},
    )
