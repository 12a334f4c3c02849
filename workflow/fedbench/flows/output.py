"""Typed flows as one Parquet file of the declared schema."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fedbench.flows.chunk import TEXTS
from fedbench.flows.encoded import STRINGS, Array, texts
from fedbench.flows.schema import COUNTS, FLAGS, FLOWS, PORTS
from fedbench.flows.stage import Window

_CODED = ("scenario", *TEXTS, "file")
_ADDRESSES = ("id.orig_h", "id.resp_h")
_RISING = ("row_id", "ts", "line")  # written as differences
_PLAIN = ("uid", "duration", *_RISING)  # hardly a value twice: not worth to look for it
_TYPE = pa.dictionary(pa.int32(), pa.string())


def write(
    windows: Iterator[tuple[str, Window]],
    codes: Mapping[str, Iterable[int]],
    files: Sequence[str],
    path: Path,
) -> None:
    """Write windows, each of a scenario, one after another: a row group each.

    A column of few values is written from the numbers of those values, which saves the writer to find them; in the
    file, as to any reader, it is a string like the others.

    Args:
        windows: (scenario, flows).
        codes: for each of `TEXTS` at least those that it has.
        files: paths of the logs, by their index.
    """
    known = texts()
    coders = {name: _Coder(known, codes[name]) for name in TEXTS}
    names = list(dict.fromkeys(files))
    file_codes = np.array([names.index(file) for file in files], np.int32)

    def table(scenario: str, window: Window, first: int) -> pa.Table:
        columns: dict[str, pa.Array] = {
            "row_id": pa.array(np.arange(first, first + len(window))),
            "scenario": _coded(np.zeros(len(window), np.int32), [scenario]),
            "ts": pa.array(window["ts"]).view(FLOWS.field("ts").type),
            "duration": pa.array(window["duration"], from_pandas=True),
            "line": pa.array(window["line"].astype(np.int64)),
            "file": _coded(file_codes[window["log"]], names),
        }
        columns |= {name: window.strings(name) for name in STRINGS}
        columns |= {name: _by_dictionary(columns[name]) for name in _ADDRESSES}
        columns |= {name: coders[name](window[name]) for name in TEXTS}
        columns |= {name: _numbers(window[name], np.int32) for name in PORTS}
        columns |= {name: _numbers(window[name], np.int64) for name in COUNTS}
        columns |= {name: _numbers(window[name], np.int8).cast(pa.bool_()) for name in FLAGS}
        return pa.table([columns[name] for name in FLOWS.names], schema=written)

    types = {"uid": pa.large_string()} | dict.fromkeys((*_CODED, *_ADDRESSES), _TYPE)
    written = pa.schema(
        [field.with_type(types.get(field.name, field.type)) for field in FLOWS],
        metadata={"ARROW:schema": base64.b64encode(FLOWS.serialize())},  # the declared types, for those who read
    )
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": 1,
        "store_schema": False,
        "use_dictionary": [name for name in FLOWS.names if name not in _PLAIN],
        "column_encoding": dict.fromkeys(_RISING, "DELTA_BINARY_PACKED"),
    }
    rows = 0
    with pq.ParquetWriter(path, written, **options) as writer, ThreadPoolExecutor(1) as pool:
        writing: Future[None] | None = None
        for scenario, window in windows:
            if len(window):
                made = table(scenario, window, rows)
                rows += len(window)
                if writing:
                    writing.result()
                writing = pool.submit(writer.write_table, made, row_group_size=len(made))
        if writing:
            writing.result()


class _Coder:
    """From the codes of `TEXT` to a column of strings."""

    def __init__(self, known: list[str], used: Iterable[int]) -> None:
        ordered = sorted(used, key=known.__getitem__)
        self._values = [known[code] for code in ordered]
        self._places = np.full(len(known) + 1, -1, np.int32)  # -1, the last: unset
        self._places[ordered] = np.arange(len(ordered))

    def __call__(self, codes: Array) -> pa.DictionaryArray:
        return _coded(self._places.take(codes, mode="wrap"), self._values)


def _coded(codes: Array, values: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(_numbers(codes, np.int32), pa.array(values, pa.string()))


def _by_dictionary(strings: pa.Array) -> pa.DictionaryArray:
    return strings if pa.types.is_dictionary(strings.type) else strings.cast(pa.string()).dictionary_encode()


def _numbers(numbers: Array, dtype: Any) -> pa.Array:
    unset = numbers < 0
    return pa.array(numbers.astype(dtype, copy=False), mask=unset if unset.any() else None)
