"""What was parsed of each capture, beside what its publisher says it holds."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from fedbench.files import atomic, read_json
from fedbench.flows.clean import DUPLICATE, UNREADABLE
from fedbench.flows.schema import DETAILED_LABELS, flow_class
from fedbench.spec import CaptureSpec

ALL = "all flows"
EQUAL, DIFFERS, NOT_PUBLISHED = "equal", "differs", "not published"
_SCHEMA = {
    "capture": pl.String,
    "device": pl.String,
    "class": pl.String,
    "published": pl.Int64,
    "parsed": pl.Int64,
    "verdict": pl.String,
}


def compare(
    captures: Mapping[str, CaptureSpec], flows: Path, quarantine: Path, sources: Path, out: Path
) -> pl.DataFrame:
    """Write, and return, one row a capture and one a class of it: published and parsed flows, and a verdict.

    Parsed are the rows that were read as flows, before a uid that was read twice is dropped. Rows that could not be
    read are the class `unreadable`, of which nothing is published. A scenario that is no capture has one row.

    Args:
        captures: by name; a scenario of the same name is compared with it.
        flows: flows.parquet of `clean`.
        quarantine: quarantine.parquet of `clean`.
        sources: the logs in reading order, as listed by `fetch`.
        out: CSV file.
    """
    logs = {entry["path"]: entry["scenario"] for entry in read_json(sources)}
    parsed = _parsed(flows, quarantine, logs)
    rows = [row for scenario in dict.fromkeys(logs.values()) for row in _rows(scenario, captures, parsed[scenario])]
    table = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    with atomic(out) as partial:
        table.write_csv(partial)
    return table


def _rows(
    scenario: str, captures: Mapping[str, CaptureSpec], parsed: Counter[str]
) -> list[tuple[str, str, str, int | None, int, str]]:
    capture = captures.get(scenario)
    readable = parsed.total() - parsed[UNREADABLE]
    first = (ALL, capture.flows if capture else None, readable)
    labels = (capture.labels if capture else None) or {}
    found = sorted({*labels, *parsed}, key=lambda name: (-max(labels.get(name, 0), parsed[name]), name))
    # Where labels are published, a class that is not among them is published as none at all.
    published = {name: labels.get(name, 0) if labels else None for name in found}
    classes = [(name, published[name], parsed[name]) for name in found] if capture else []
    device = capture.device if capture else ""
    return [(scenario, device, name, theirs, ours, _verdict(theirs, ours)) for name, theirs, ours in (first, *classes)]


def _verdict(published: int | None, parsed: int) -> str:
    if published is None:
        return NOT_PUBLISHED
    return EQUAL if published == parsed else DIFFERS


def _parsed(flows: Path, quarantine: Path, logs: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Rows read of each scenario, by class: kept, dropped as duplicates, and unreadable."""
    counts = {scenario: Counter[str]() for scenario in logs.values()}
    kept = pl.scan_parquet(flows).group_by("scenario", flow_class().alias("class")).len().collect(engine="streaming")
    for scenario, name, rows in kept.iter_rows():
        counts[scenario][name] += rows
    again = pl.col("reason") == DUPLICATE
    name = pl.when(again).then(_class_in_text()).otherwise(pl.lit(UNREADABLE)).alias("class")
    left = pl.scan_parquet(quarantine).group_by("file", name).len().collect(engine="streaming")
    for file, name, rows in left.iter_rows():
        counts[logs[file]][name] += rows
    return counts


def _class_in_text() -> pl.Expr:
    """The class of a row of a capture's log as text, whose last two columns are label and detailed label.

    A row that is not like that (another format) keeps `duplicate uid`: not a class, so it shows as a difference.
    """
    cells = pl.col("text").str.strip_chars_end("\r\n").str.replace_all("   ", "\t").str.split("\t")
    label, detailed = (cells.list.get(at, null_on_oob=True).str.strip_chars() for at in (-2, -1))
    known = {name.lower(): name for name in ("Benign", "Malicious", *DETAILED_LABELS)}
    label = label.str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.String)
    named = detailed.str.to_lowercase().replace_strict(known, default=detailed, return_dtype=pl.String)
    unset = detailed.is_in(["-", "(empty)", ""])
    return pl.when(label.is_null()).then(pl.lit(DUPLICATE)).when(unset).then(label).otherwise(named)
