"""Flows of one scenario on disk, sorted piece by piece as they are read, and given back in order of time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pyarrow as pa

from fedbench.flows.blocks import Integers
from fedbench.flows.chunk import TEXT, TEXTS
from fedbench.flows.schema import COUNTS

_EVERY = 64  # one time in so many is kept in memory, to cut the whole into windows


@dataclass(frozen=True)
class _Run:
    """Flows of one log in order of time (ties: reading order), in a file that is mapped only while it is read."""

    path: Path
    log: int
    rows: int
    times: Integers  # microseconds, every `_EVERY`th and the last
    values: Mapping[str, frozenset[str]]  # of each of `TEXTS`


class Stage:
    """The flows of a scenario: first all are added, then they can be read."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._runs: list[_Run] = []

    def add(self, flows: pl.DataFrame, log: int) -> None:
        """Sort and write flows (as `typed` gives them) of the log with index `log`, in reading order."""
        if not flows.height:
            return
        times = flows["ts"].to_physical().to_numpy()
        order = np.argsort(times, kind="stable")
        values = {name: frozenset(flows[name].drop_nulls().unique()) for name in TEXTS}
        path = self._folder / f"{len(self._runs)}.arrow"
        # Read in place, a stretch at a time: not compressed, strings laid out in the order of the rows, integers short.
        short = [flows[name].to_physical().shrink_dtype() for name in (*TEXTS, *COUNTS, "line")]
        flows.with_columns(short)[order].write_ipc(
            path, compression="uncompressed", compat_level=pl.CompatLevel.oldest()
        )
        self._runs.append(_Run(path, log, len(times), times[np.append(order[::_EVERY], order[-1:])], values))

    def values(self, name: str) -> frozenset[str]:
        """Return the distinct values of one of `TEXTS`."""
        return frozenset[str]().union(*(run.values[name] for run in self._runs))

    def windows(self, rows: int) -> Iterator[pl.DataFrame]:
        """Yield all flows, with `log`, in order of time (ties: reading order), about `rows` at a time."""
        if not self._runs:
            return
        times = np.sort(np.concatenate([run.times for run in self._runs]))
        parts = -(-sum(run.rows for run in self._runs) // rows)
        cuts = {int(times[len(times) * part // parts]) for part in range(parts)}
        for low, high in pairwise([*sorted(cuts), int(times[-1]) + 1]):
            touched = [run for run in self._runs if run.times[0] < high and run.times[-1] >= low]
            window = pl.concat([_between(run, low, high) for run in touched], how="vertical_relaxed")
            window = window[np.argsort(window["ts"].to_physical().to_numpy(), kind="stable")]
            yield window.with_columns(
                pl.col(TEXTS).cast(pl.UInt32).cat.to(TEXT), pl.col(*COUNTS, "line").cast(pl.Int64)
            )


def _between(run: _Run, low: int, high: int) -> pl.DataFrame:
    """Return the flows of low <= time < high."""
    first, last = np.searchsorted(run.times, [low, high])
    start, end = max(0, first - 1) * _EVERY, min(run.rows, last * _EVERY)  # so much, and no more, is touched
    with pa.memory_map(str(run.path)) as mapped:
        table = pa.ipc.open_file(mapped).read_all().slice(start, end - start)
    flows = cast(pl.DataFrame, pl.from_arrow(table))
    start, end = np.searchsorted(flows["ts"].to_physical().to_numpy(), [low, high])
    return flows.slice(start, end - start).with_columns(log=pl.lit(run.log, pl.Int32))
