"""Flows of one scenario on disk, sorted piece by piece as they are read, and given back in order of time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from fedbench.flows.blocks import Integers
from fedbench.flows.chunk import TEXT, TEXTS

_EVERY = 64  # one time in so many is kept in memory, to cut the whole into windows


@dataclass(frozen=True)
class Run:
    """Flows in order of time (ties: reading order), in a file that is mapped into memory only while it is read."""

    path: Path
    log: int
    rows: int
    times: Integers  # microseconds, every `_EVERY`th and the last

    @classmethod
    def write(cls, flows: pl.DataFrame, path: Path, log: int) -> "Run":
        """Sort flows of the log with index `log` and write them."""
        times = flows["ts"].to_physical().to_numpy()
        order = np.argsort(times, kind="stable")
        # Read in place, a stretch at a time: not compressed, and strings laid out in the order of the rows.
        flows[order].with_columns(pl.col(TEXTS).to_physical()).write_ipc(
            path, compression="uncompressed", compat_level=pl.CompatLevel.oldest()
        )
        return cls(path, log, len(times), times[np.append(order[::_EVERY], order[-1:])])

    def between(self, low: int, high: int) -> pl.DataFrame:
        """Return the flows of low <= time < high."""
        with pa.memory_map(str(self.path)) as mapped:
            table = pa.ipc.open_file(mapped).read_all()
            times = table["ts"].combine_chunks().view(pa.int64()).to_numpy()
            start, end = np.searchsorted(times, [low, high])
            piece = pl.DataFrame(table.slice(start, end - start))
        return piece.with_columns(log=pl.lit(self.log, pl.Int32))


def windows(runs: list[Run], rows: int) -> Iterator[pl.DataFrame]:
    """Yield the flows of runs, given in reading order, in order of time (ties: reading order), about `rows` at a time."""
    if not runs:
        return
    times = np.sort(np.concatenate([run.times for run in runs]))
    parts = -(-sum(run.rows for run in runs) // rows)
    cuts = {int(times[len(times) * part // parts]) for part in range(parts)}
    for low, high in pairwise([*sorted(cuts), int(times[-1]) + 1]):
        touched = [run for run in runs if run.times[0] < high and run.times[-1] >= low]
        window = pl.concat([run.between(low, high) for run in touched], rechunk=True)
        order = np.argsort(window["ts"].to_physical().to_numpy(), kind="stable")
        yield window[order].with_columns(pl.col(TEXTS).cat.to(TEXT))
