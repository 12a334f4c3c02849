"""Zeek logs to one Parquet file of typed flows, sorted by time within a scenario, with a ledger that adds up."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from fedbench.errors import FedbenchError
from fedbench.files import atomic, scratch, write_json
from fedbench.flows import output
from fedbench.flows.blocks import raw_lines
from fedbench.flows.chunk import TEXTS
from fedbench.flows.encoded import Encoded, encode, joined
from fedbench.flows.encoded import texts as known_texts
from fedbench.flows.ledger import step
from fedbench.flows.schema import CONNECTION, QUARANTINE, UNLABELLED
from fedbench.flows.stage import Stage, Window
from fedbench.flows.typed import typed
from fedbench.flows.uids import Booleans, Uids
from fedbench.flows.zeek import Format, Part, not_conn, parts

RUN_ROWS = 300_000  # rows sorted at once while reading ...
WINDOW_ROWS = 200_000  # ... and while writing, which is the row group of the output: both bound memory
DUPLICATE = "duplicate uid"
UNREADABLE = "unreadable"
_THREADS = 2  # that read: polars has its own for each step, but there is much between the steps

Logs = Sequence[tuple[str, Path]]
T = TypeVar("T")
U = TypeVar("U")


def clean(
    logs: Logs,
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
    the rows lie beside `flows`, in about the bytes of the logs (unpacked).

    Raises:
        FedbenchError: a log is absent, empty or not a conn log, too many rows are unreadable, or an output cannot be
            written, or is a log or another output.
    """
    if not logs:
        raise FedbenchError("no logs to read", remedy="Name at least one conn.log.labeled.")
    _check_outputs([flows, ledger, *([quarantine] if quarantine else [])], logs)
    try:
        return _clean(logs, flows, ledger, quarantine, format, max_quarantined)
    except OSError as error:
        raise FedbenchError(
            f"cannot be written: {error.strerror or error}",
            where=flows.parent,
            remedy="Make room (about the bytes of the logs, unpacked), or correct the folder's permissions.",
        ) from error


def _clean(
    logs: Logs, flows: Path, ledger: Path, quarantine: Path | None, format: Format, max_quarantined: float
) -> dict[str, Any]:
    repairs: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    rejected: list[pl.DataFrame] = []  # line, reason, log (index)
    flows.parent.mkdir(parents=True, exist_ok=True)
    with scratch(flows.parent, ".clean.") as folder, ExitStack() as outputs:
        uids = outputs.enter_context(Uids(folder))
        stages = {scenario: Stage(folder / str(at)) for at, scenario in enumerate(dict(logs))}
        codes = {name: set[int]() for name in TEXTS}
        for log, (scenario, path) in enumerate(logs):
            told = False  # of any flow of the log, what only a conn log tells
            for rows in _joined(_mapped(_read, parts(path, format))):
                repairs += rows.repairs
                classes += rows.classes + Counter({UNREADABLE: rows.rejected.height})
                rejected.append(rows.rejected.with_columns(log=pl.lit(log, pl.Int32)))
                uids.add(rows.flows.hashes, rows.flows.numbers["line"], log)
                stages[scenario].add(rows.flows, log)
                for name in TEXTS:
                    codes[name] |= rows.codes[name]
                told = told or rows.told or not len(rows.flows)
            if not told:
                raise not_conn(f"no row has a {', '.join(CONNECTION)}", path)
        _check_share(classes, max_quarantined, rejected, logs)

        repeated = uids.repeated()
        kept_classes = classes - Counter({UNREADABLE: classes[UNREADABLE]})

        def kept() -> Iterator[tuple[str, Window]]:
            for scenario, stage in stages.items():
                for window in stage.windows(WINDOW_ROWS):
                    again = repeated.among(window["log"], window["line"])
                    if again.any():
                        taken = pl.DataFrame({"line": window["line"][again], "log": window["log"][again]})
                        rejected.append(
                            taken.select(pl.col("line").cast(pl.Int64), reason=pl.lit(DUPLICATE), log="log")
                        )
                        kept_classes.subtract(_coded_classes(window, again))
                        window.leave_out(again)
                    yield scenario, window

        output.write(kept(), codes, [str(path) for _, path in logs], outputs.enter_context(atomic(flows)))
        quarantined = pl.concat(rejected)
        account = _ledger(repairs, quarantined["reason"], classes, kept_classes, logs)
        if quarantine is not None:
            _write_quarantine(quarantined, logs, outputs.enter_context(atomic(quarantine)))
        write_json(outputs.enter_context(atomic(ledger)), account)
    return account


@dataclass(frozen=True)
class _Rows:
    """What a stretch of a log gave; `codes` of `TEXTS`; `told` whether a flow has what only a conn log tells."""

    flows: Encoded
    rejected: pl.DataFrame
    repairs: Counter[str]
    classes: Counter[str]
    codes: dict[str, set[int]]
    told: bool


def _read(part: Part) -> _Rows:
    chunk = part.parse()
    flows, wrong, mended = typed(chunk.rows)
    return _Rows(
        encode(flows),
        pl.concat([chunk.unreadable, wrong]),
        chunk.repairs + mended,
        _classes(flows),
        {name: set(flows[name].drop_nulls().to_physical().unique()) for name in TEXTS},
        any(flows[name].count() for name in CONNECTION),
    )


def _joined(parts: Iterable[_Rows]) -> Iterator[_Rows]:
    """Join parts into stretches of `RUN_ROWS` flows, which are then sorted and written at once."""
    held: list[_Rows] = []

    def together() -> _Rows:
        return _Rows(
            joined([rows.flows for rows in held]),
            pl.concat(rows.rejected for rows in held),
            sum((rows.repairs for rows in held), Counter()),
            sum((rows.classes for rows in held), Counter()),
            {name: set[int]().union(*(rows.codes[name] for rows in held)) for name in TEXTS},
            any(rows.told for rows in held),
        )

    for rows in parts:
        held.append(rows)
        if sum(len(rows.flows) for rows in held) >= RUN_ROWS:
            yield together()
            held.clear()
    if held:
        yield together()


def _mapped(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """Map in threads, in order, a few items ahead of what is used."""
    with ThreadPoolExecutor(_THREADS) as pool:
        pending: deque[Future[U]] = deque()
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > 2 * _THREADS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _classes(flows: pl.DataFrame) -> Counter[str]:
    counts: Counter[str] = Counter()
    for label, detailed, count in flows.group_by("label", "detailed_label").len().iter_rows():
        counts[detailed or label or UNLABELLED] += count
    return counts


def _coded_classes(window: Window, rows: Booleans) -> Counter[str]:
    coded = pl.DataFrame({name: window[name][rows].astype(np.int64) for name in ("label", "detailed_label")})
    texts = pl.Series(known_texts(), dtype=pl.String)
    return _classes(
        coded.with_columns(texts.gather(coded[name].replace(-1, None)).alias(name) for name in coded.columns)
    )


def _check_outputs(outputs: Sequence[Path], logs: Logs) -> None:
    taken = {path.resolve() for _, path in logs}
    for path in outputs:
        if path.resolve() in taken:
            raise FedbenchError("named for two things: logs and outputs must all differ", where=path)
        if path.is_dir():
            raise FedbenchError("is a folder; name a file", where=path)
        taken.add(path.resolve())


def _check_share(classes: Counter[str], limit: float, rejected: list[pl.DataFrame], logs: Logs) -> None:
    unreadable, rows = classes[UNREADABLE], classes.total()
    if unreadable <= limit * rows:
        return
    worst = next(frame for frame in rejected if frame.height).row(0, named=True)
    raise FedbenchError(
        f"{unreadable} of {rows} rows cannot be read, more than max_quarantined = {limit:g}; "
        f"the first: {worst['reason']}",
        where=f"{logs[worst['log']][1]}:{worst['line']}",
        remedy="Mend the log, or raise max_quarantined to go on without these rows.",
    )


def _write_quarantine(quarantined: pl.DataFrame, logs: Logs, path: Path) -> None:
    with pq.ParquetWriter(path, QUARANTINE, compression="zstd") as writer:
        for index, (_, log) in enumerate(logs):
            rows, done = quarantined.filter(pl.col("log") == index).sort("line"), 0
            for texts in raw_lines(log, rows["line"].to_numpy()):
                part = rows.slice(done, len(texts)).select("line", "reason", file=pl.lit(str(log)), text=texts)
                done += len(texts)
                table = part.select(QUARANTINE.names).to_arrow(compat_level=pl.CompatLevel.oldest())
                writer.write_table(table.cast(QUARANTINE))


def _ledger(
    repairs: Counter[str], reasons: pl.Series, read_classes: Counter[str], kept_classes: Counter[str], logs: Logs
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
