"""Zeek logs to one Parquet file of typed flows, sorted by time within a scenario, with a ledger that adds up."""

import base64
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

from fedbench.errors import FedbenchError
from fedbench.files import atomic, write_json
from fedbench.flows.blocks import Integers, raw_lines
from fedbench.flows.chunk import TEXT
from fedbench.flows.ledger import step
from fedbench.flows.schema import FLOWS, QUARANTINE, UNLABELLED
from fedbench.flows.stage import Run, windows
from fedbench.flows.typed import typed
from fedbench.flows.uids import Uids
from fedbench.flows.zeek import Format, Part, parts

WINDOW_ROWS = 100_000  # rows sorted and written at once: bounds memory, and the row group of the output
DUPLICATE = "duplicate uid"
UNREADABLE = "unreadable"
_AHEAD = 2  # parts parsed at the same time
_LOG = 40  # a row's key: the index of its log, then this many bits for its line

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class _Read:
    """What one part of a log gave."""

    run: Run | None
    uids: pl.Series
    lines: pl.Series
    classes: Counter[str]
    rejected: pl.DataFrame
    repairs: Counter[str]


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
    rows read). uids are compared by a 64-bit hash. Outputs appear together, at the end, or not at all. Until then
    flows lie beside `flows`, in about 1.6 times the bytes of the logs.

    Raises:
        FedbenchError: a log is absent, empty or not a conn log, or too many rows are unreadable.
    """
    if not logs:
        raise FedbenchError("no logs to read", remedy="Name at least one conn.log.labeled.")
    repairs: Counter[str] = Counter()
    read_classes: Counter[str] = Counter()
    rejected: list[pl.DataFrame] = []  # line, reason, log (index)
    flows.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".clean.", dir=flows.parent) as scratch, ExitStack() as outputs:
        uids = outputs.enter_context(Uids(Path(scratch)))
        runs: dict[str, list[Run]] = {scenario: [] for scenario, _ in logs}

        def read(job: tuple[int, int, Part]) -> _Read:
            log, number, part = job
            return _read(part, Path(scratch) / f"{log}-{number}.arrow", log)

        for log, (scenario, path) in enumerate(logs):
            jobs = ((log, number, part) for number, part in enumerate(parts(path, format)))
            for result in _ahead(read, jobs):
                repairs += result.repairs
                read_classes += result.classes
                rejected.append(result.rejected)
                if result.run:
                    runs[scenario].append(result.run)
                    uids.add(result.uids, (log << _LOG) + result.lines.to_numpy())
        _check_share(read_classes, max_quarantined, rejected, logs)

        repeated = uids.repeated()
        kept_classes = read_classes - Counter({UNREADABLE: read_classes[UNREADABLE]})

        def kept() -> Iterator[pl.DataFrame]:
            row = 0
            for scenario, own in runs.items():
                for window in windows(own, WINDOW_ROWS):
                    if repeated.size:
                        again = _contains(repeated, (window["log"].to_numpy().astype(np.int64) << _LOG) + window["line"].to_numpy())
                        if again.any():
                            taken = window.filter(again)
                            rejected.append(taken.select("line", pl.lit(DUPLICATE).alias("reason"), "log"))
                            kept_classes.subtract(_classes(taken))
                            window = window.filter(~again)
                    yield _finished(window, scenario, row, logs)
                    row += window.height

        _sink(kept(), outputs.enter_context(atomic(flows)))
        quarantined = pl.concat(rejected)
        account = _ledger(repairs, quarantined["reason"], read_classes, kept_classes, logs)
        if quarantine is not None:
            _write_quarantine(quarantined, logs, outputs.enter_context(atomic(quarantine)))
        write_json(outputs.enter_context(atomic(ledger)), account)
    return account


def _ahead(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """Map in threads: results in order, `_AHEAD` of them in the making while one is used."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        pending: deque[Future[U]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > _AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _read(part: Part, path: Path, log: int) -> _Read:
    chunk = part.parse()
    flows, wrong, mended = typed(chunk.rows)
    rejected = pl.concat([chunk.unreadable, wrong])
    classes = _classes(flows) + Counter({UNREADABLE: rejected.height})
    return _Read(
        Run.write(flows, path, log) if flows.height else None,
        flows["uid"],
        flows["line"],
        classes,
        rejected.with_columns(log=pl.lit(log, pl.Int32)),
        chunk.repairs + mended,
    )


def _classes(flows: pl.DataFrame) -> Counter[str]:
    counts: Counter[str] = Counter()
    for label, detailed, count in flows.group_by("label", "detailed_label").len().iter_rows():
        counts[detailed or label or UNLABELLED] += count
    return counts


def _contains(ascending: Integers, keys: Integers) -> pl.Series:
    at = np.searchsorted(ascending, keys)
    return pl.Series(ascending[np.minimum(at, len(ascending) - 1)] == keys)


def _finished(window: pl.DataFrame, scenario: str, row: int, logs: Sequence[tuple[str, Path]]) -> pl.DataFrame:
    files = pl.Series([str(path) for _, path in logs])
    return window.with_columns(
        pl.col(TEXT).cast(pl.String),
        row_id=pl.int_range(row, row + window.height, dtype=pl.Int64),
        scenario=pl.lit(scenario),
        file=files.gather(window["log"]),
    ).select(FLOWS.names)


def _sink(frames: Iterator[pl.DataFrame], path: Path) -> None:
    """Write frames as one Parquet file that any reader finds to have the schema `FLOWS`, nullability included."""
    views = [field.with_type(pa.string_view()) if field.type == pa.string() else field for field in FLOWS]
    source = register_io_source(lambda *_: frames, schema=pl.Schema(FLOWS))
    source.sink_parquet(
        path,
        compression_level=1,
        row_group_size=WINDOW_ROWS,
        arrow_schema=pa.schema(views),
        metadata={"ARROW:schema": base64.b64encode(FLOWS.serialize()).decode()},
    )


def _check_share(
    read: Counter[str], limit: float, rejected: list[pl.DataFrame], logs: Sequence[tuple[str, Path]]
) -> None:
    unreadable, rows = read[UNREADABLE], read.total()
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
            rows, done = quarantined.filter(pl.col("log") == index).sort("line"), 0
            for texts in raw_lines(log, rows["line"].to_numpy()):
                part = rows.slice(done, len(texts)).select("line", "reason", file=pl.lit(str(log)), text=texts)
                done += len(texts)
                table = part.select(QUARANTINE.names).to_arrow(compat_level=pl.CompatLevel.oldest())
                writer.write_table(table.cast(QUARANTINE))


def _ledger(
    repairs: Counter[str],
    reasons: pl.Series,
    read_classes: Counter[str],
    kept_classes: Counter[str],
    logs: Sequence[tuple[str, Path]],
) -> dict[str, Any]:
    before, kept = _largest_first(read_classes), _largest_first(kept_classes)
    parsed = {name: count for name, count in before.items() if name != UNREADABLE}
    return {
        "rows_read": sum(before.values()),
        "rows_kept": sum(kept.values()),
        "rows_quarantined": len(reasons),
        "repairs": dict(sorted(repairs.items())),
        "quarantine_reasons": dict(reasons.value_counts().sort("reason").iter_rows()),
        "labels": {"read": before, "kept": kept},
        "steps": [
            step("parse", before, parsed, "rows that are not a flow are quarantined"),
            step("deduplicate", parsed, kept, "a uid is kept where it is read first"),
        ],
        "logs": [{"scenario": scenario, "path": str(path)} for scenario, path in logs],
    }


def _largest_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(((name, count) for name, count in counts.items() if count), key=lambda one: (-one[1], one[0])))
