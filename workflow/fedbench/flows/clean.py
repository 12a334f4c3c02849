"""Zeek logs to one Parquet file of typed flows, sorted by time within a scenario, with a ledger that adds up."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fedbench.errors import FedbenchError
from fedbench.files import atomic, write_json
from fedbench.flows.blocks import raw_lines
from fedbench.flows.ledger import class_counts, step
from fedbench.flows.schema import FLOWS, QUARANTINE, flow_class
from fedbench.flows.typed import typed
from fedbench.flows.zeek import Format, read

WINDOW_ROWS = 100_000  # rows sorted and written at once: bounds memory, and the row group of the output
DUPLICATE = "duplicate uid"
UNREADABLE = "unreadable"


class _Stage:
    """Flows of one scenario, typed but not yet sorted, one Parquet file a block, in reading order."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, list[Path]()
        self.rows, self.times = 0, list[np.ndarray[Any, np.dtype[np.int64]]]()  # times: every 64th of each block

    def add(self, flows: pl.DataFrame) -> None:
        path = self.folder / f"{len(self.files):06d}.parquet"
        # Sorted blocks with small row groups let a window read only the row groups it needs.
        flows = flows.sort("ts", maintain_order=True)
        flows.write_parquet(path, compression="lz4", row_group_size=16_384)
        self.files.append(path)
        self.times.append(flows["ts"].to_physical().gather_every(64).to_numpy())
        self.rows += flows.height

    def windows(self) -> Iterator[pl.DataFrame]:
        """Yield all flows in order of time (ties: reading order), at most about `WINDOW_ROWS` at a time."""
        if not self.files:
            return
        times = np.sort(np.concatenate(self.times))
        parts = -(-self.rows // WINDOW_ROWS)
        cuts = sorted({int(times[len(times) * part // parts]) for part in range(1, parts)})
        bounds = [None, *cuts, None]
        staged = pl.scan_parquet(self.files)
        for low, high in pairwise(bounds):
            window = staged
            if low is not None:
                window = window.filter(pl.col("ts") >= _instant(low))
            if high is not None:
                window = window.filter(pl.col("ts") < _instant(high))
            yield window.sort("ts", "order").collect()


def _instant(microseconds: int) -> pl.Expr:
    return pl.lit(microseconds, pl.Int64).cast(pl.Datetime("us", "UTC"))


def clean(
    logs: Sequence[tuple[str, Path]],
    flows: Path,
    ledger: Path,
    quarantine: Path | None = None,
    *,
    format: Format = "auto",
    max_quarantined: float = 0.01,
) -> dict[str, Any]:
    """Read logs, given as (scenario, path), into `flows` (schema `FLOWS`) and return the ledger that is written.

    A uid is kept where it is read first; its later rows are quarantined as `duplicate uid`, so that rows read are
    always rows kept plus rows quarantined, but only unreadable rows count towards `max_quarantined` (a share of the
    rows read). uids are compared by a 64-bit hash. Outputs appear together, at the end, or not at all.

    Raises:
        FedbenchError: a log is absent, empty or not a conn log, or too many rows are unreadable.
    """
    if not logs:
        raise FedbenchError("no logs to read", remedy="Name at least one conn.log.labeled.")
    repairs: Counter[str] = Counter()
    read_classes: Counter[str] = Counter()
    rejected: list[pl.DataFrame] = []  # line, reason, log (index)
    hashes: list[np.ndarray[Any, np.dtype[np.uint64]]] = []
    order = 0
    flows.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".clean.", dir=flows.parent) as folder, ExitStack() as outputs:
        stages: dict[str, _Stage] = {}
        for index, (scenario, path) in enumerate(logs):
            if scenario not in stages:
                (Path(folder) / f"{len(stages)}").mkdir()
                stages[scenario] = _Stage(Path(folder) / f"{len(stages)}")
            for chunk in read(path, format):
                frame, wrong, mended = typed(chunk.rows)
                repairs += chunk.repairs + mended
                wrong = pl.concat([chunk.unreadable, wrong])
                rejected.append(wrong.with_columns(log=pl.lit(index, pl.Int32)))
                read_classes += Counter(class_counts(frame.select(c=flow_class())["c"]))
                read_classes[UNREADABLE] += wrong.height
                hashes.append(frame["uid"].hash(seed=0).to_numpy())
                numbered = pl.int_range(order, order + frame.height, dtype=pl.Int64, eager=True)
                order += frame.height
                if frame.height:
                    stages[scenario].add(frame.with_columns(numbered.alias("order"), log=pl.lit(index, pl.Int32)))
        unreadable = sum(frame.height for frame in rejected)
        _check_share(unreadable, order + unreadable, max_quarantined, rejected, logs)

        first = _first_of_each(np.concatenate(hashes))
        hashes.clear()
        files = pl.Series([str(path) for _, path in logs])
        kept_classes: Counter[str] = Counter()
        partial = outputs.enter_context(atomic(flows))
        rows_kept = 0
        with pq.ParquetWriter(partial, FLOWS, compression="zstd") as writer:
            for scenario, stage in stages.items():
                for window in stage.windows():
                    new = pl.Series(first[window["order"].to_numpy()])
                    if not new.all():
                        again = window.filter(~new).select("line", pl.lit(DUPLICATE).alias("reason"), "log")
                        rejected.append(again)
                        window = window.filter(new)
                    kept_classes += Counter(class_counts(window.select(c=flow_class())["c"]))
                    writer.write_table(_flows_table(window, scenario, files, rows_kept), row_group_size=WINDOW_ROWS)
                    rows_kept += window.height
        quarantined = pl.concat(rejected)
        account = _ledger(repairs, quarantined["reason"], read_classes, kept_classes, logs)
        if quarantine is not None:
            _write_quarantine(quarantined, logs, outputs.enter_context(atomic(quarantine)))
        write_json(outputs.enter_context(atomic(ledger)), account)
    return account


def _flows_table(window: pl.DataFrame, scenario: str, files: pl.Series, first_row: int) -> pa.Table:
    whole = window.with_columns(
        row_id=pl.int_range(first_row, first_row + window.height, dtype=pl.Int64),
        scenario=pl.lit(scenario),
        file=files.gather(window["log"].cast(pl.UInt32)),
    )
    return whole.select(FLOWS.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(FLOWS)


def _first_of_each(hashes: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mark the first occurrence of each value; sorts a sixteenth of the values at a time, to bound memory."""
    first = np.zeros(len(hashes), dtype=bool)
    for part in range(16):
        at = np.flatnonzero(hashes >> np.uint64(60) == part)
        first[at[np.unique(hashes[at], return_index=True)[1]]] = True
    return first


def _check_share(
    unreadable: int, rows: int, limit: float, rejected: list[pl.DataFrame], logs: Sequence[tuple[str, Path]]
) -> None:
    if unreadable <= limit * rows:
        return
    worst = next(frame for frame in rejected if frame.height).row(0, named=True)
    raise FedbenchError(
        f"{unreadable} of {rows} rows cannot be read, more than max_quarantined = {limit:g}; "
        f"the first: {worst['reason']}",
        where=f"{logs[worst['log']][1]}:{worst['line']}",
        remedy="Mend the log, or raise max_quarantined to go on without these rows.",
    )


def _write_quarantine(quarantined: pl.DataFrame, logs: Sequence[tuple[str, Path]], path: Path) -> None:
    with pq.ParquetWriter(path, QUARANTINE, compression="zstd") as writer:
        for index, (_, log) in enumerate(logs):
            rows = quarantined.filter(pl.col("log") == index).sort("line")
            for part in rows.iter_slices(500_000):
                texts = raw_lines(log, set(part["line"]))
                table = part.select(
                    "line",
                    "reason",
                    file=pl.lit(str(log)),
                    text=pl.Series([texts[n] for n in part["line"]], dtype=pl.String),
                ).select(QUARANTINE.names)
                writer.write_table(table.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(QUARANTINE))


def _ledger(
    repairs: Counter[str],
    reasons: pl.Series,
    read_classes: Counter[str],
    kept_classes: Counter[str],
    logs: Sequence[tuple[str, Path]],
) -> dict[str, Any]:
    before = {name: count for name, count in read_classes.most_common() if count}
    parsed = {name: count for name, count in before.items() if name != UNREADABLE}
    kept = dict(kept_classes.most_common())
    return {
        "rows_read": sum(before.values()),
        "rows_kept": sum(kept.values()),
        "rows_quarantined": len(reasons),
        "repairs": dict(sorted(repairs.items())),
        "quarantine_reasons": dict(sorted(Counter(reasons.to_list()).items())),
        "labels": {"read": before, "kept": kept},
        "steps": [
            step("parse", before, parsed, "rows that are not a flow are quarantined"),
            step("deduplicate", parsed, kept, "a uid is kept where it is read first"),
        ],
        "logs": [{"scenario": scenario, "path": str(path)} for scenario, path in logs],
    }
