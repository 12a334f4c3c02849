"""The histories of all runs in one file, a row group a run, so that tables and figures depend on one file and not on
thousands, and each reads no more than it shows."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fedbench.files import atomic

_RUNS = b"fedbench.runs"


def collate(folders: Sequence[Path], out: Path) -> None:
    """Put history.parquet of many run folders into one file; a run without a row is left out."""
    known = {folder.name: folder / "history.parquet" for folder in folders}
    filled = {name: path for name, path in known.items() if pq.read_metadata(path).num_rows}
    first = next(iter(known.values()), None)
    schema = pq.read_schema(first) if first else pa.schema([])
    with (
        atomic(out) as partial,
        pq.ParquetWriter(partial, schema.with_metadata({_RUNS: json.dumps(list(filled))})) as writer,
    ):
        for path in filled.values():
            rows = pq.read_table(path, schema=schema).replace_schema_metadata(writer.schema.metadata)
            writer.write_table(rows, row_group_size=max(1, len(rows)))


class Histories:
    """What `collate` left, read a run at a time."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        self._places = {run: k for k, run in enumerate(json.loads(self._file.schema_arrow.metadata[_RUNS]))}

    def of(self, run: str) -> pd.DataFrame:
        """Return the history of a run, empty if it left none."""
        if run not in self._places:
            return pd.DataFrame()
        found: pd.DataFrame = self._file.read_row_group(self._places[run]).to_pandas()
        return found
