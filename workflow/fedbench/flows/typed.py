"""Rows of a log made into typed flows, with a reason for every row that cannot be and a count of every repair."""

from collections import Counter

import polars as pl

from fedbench.flows.chunk import TEXT, TEXTS
from fedbench.flows.schema import COLUMNS, COUNTS, DETAILED_LABELS, FLAGS, PORTS, REQUIRED

_LATEST = 4_102_444_800  # 2100-01-01, in seconds: a later time is a damaged number
_DETAILED = {name.lower(): name for name in DETAILED_LABELS}
_ADDRESS = r"^[0-9A-Fa-f:.]*[:.][0-9A-Fa-f:.%\w]*$"
_FLAG = {"t": True, "true": True, "f": False, "false": False}

Problems = list[tuple[str, pl.Series]]


def typed(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, Counter[str]]:
    """Type the rows of a `Chunk`.

    Returns:
        Flows (`COLUMNS` typed as in `schema.FLOWS` but `TEXTS` as `TEXT`, and `line`), rejected rows (`line`,
        `reason`), and the number of rows repaired, by reason. Every row is in exactly one of the two frames.
    """
    repairs: Counter[str] = Counter()
    problems: Problems = [(f"{name} is unset", rows[name].is_null()) for name in REQUIRED if rows[name].null_count()]
    out = {"ts": _time(rows["ts"], problems, repairs)}
    for name in ("id.orig_h", "id.resp_h"):
        if not rows[name].unique().str.contains(_ADDRESS).all():
            problems.append((f"{name} is not an address", ~rows[name].str.contains(_ADDRESS)))
    out |= _integers(rows, problems, repairs)
    out["duration"] = _seconds(rows["duration"], problems)
    for name in FLAGS:
        out[name] = _flag(rows[name], problems)
    label, detailed = rows["label"], rows["detailed_label"]
    if not _as_published(label, detailed):
        label, detailed = _labels(label.cast(pl.String), detailed.cast(pl.String), problems, repairs)
    out["label"], out["detailed_label"] = label, detailed
    if any(name != name.lower() for name in rows["proto"].drop_nulls().unique()):
        out["proto"] = rows["proto"].cast(pl.String).str.to_lowercase()

    for name in TEXTS:
        out[name] = out.get(name, rows[name]).cast(TEXT)
    flows = pl.DataFrame([out.get(name, rows[name]).alias(name) for name in COLUMNS] + [rows["line"]])
    found = [(reason, mask.fill_null(False)) for reason, mask in problems if mask.any()]
    rejected = pl.DataFrame(schema={"line": pl.Int64, "reason": pl.String})
    if found:
        reason = pl.coalesce(pl.when(mask).then(pl.lit(text)) for text, mask in found)
        marked = flows.select("line", reason.alias("reason"))
        rejected = marked.filter(pl.col("reason").is_not_null())
        flows = flows.filter(marked["reason"].is_null())
    return flows, rejected, +repairs


def _lost(raw: pl.Series, value: pl.Series) -> pl.Series:
    return raw.is_not_null() & value.is_null()


def _time(raw: pl.Series, problems: Problems, repairs: Counter[str]) -> pl.Series:
    """Epoch seconds, or ISO 8601 as Zeek's JSON writer may be told to write, as UTC microseconds."""
    seconds = raw.cast(pl.Float64, strict=False)
    if not _within(seconds, 0, _LATEST):
        seconds = seconds.set(~seconds.is_between(0, _LATEST).fill_null(True), None)
    time = (seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
    if time.null_count():
        if raw.dtype == pl.String:
            iso = raw.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
            repairs["time written as ISO 8601"] += int((_lost(raw, seconds) & iso.is_not_null()).sum())
            time = time.fill_null(iso)
        problems.append(("ts is not a time", _lost(raw, time)))
    return time


def _integers(rows: pl.DataFrame, problems: Problems, repairs: Counter[str]) -> dict[str, pl.Series]:
    out = {}
    as_float = pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    for name in (*PORTS, *COUNTS):
        raw, (kind, limit) = rows[name], ("a port", 65_535) if name in PORTS else ("a count", 2**62)
        whole = raw.cast(pl.Int64, strict=False) if raw.dtype == pl.String else raw
        lost = _lost(raw, whole)
        if lost.any():  # third-party conversions write counts as floats (48.0)
            number = raw.cast(pl.Float64, strict=False)
            mendable = (lost & (number == number.floor()) & (number.abs() < 2**53)).fill_null(False)
            whole = whole.fill_null(number.set(~mendable, None).cast(pl.Int64, strict=False))
            as_float |= mendable
            problems.append((f"{name} is not {kind}", _lost(raw, whole)))
        if not _within(whole, 0, limit):
            problems.append((f"{name} is not {kind}", ~whole.is_between(0, limit)))
        out[name] = whole.cast(pl.Int32, strict=False) if name in PORTS else whole
    repairs["count written as a float"] += int(as_float.sum())
    return out


def _seconds(raw: pl.Series, problems: Problems) -> pl.Series:
    seconds = raw.cast(pl.Float64, strict=False)
    if raw.dtype == pl.String or not _within(seconds, 0, 1e12):
        problems.append(("duration is not seconds", _lost(raw, seconds) | ~seconds.is_between(0, 1e12)))
    return seconds


def _flag(raw: pl.Series, problems: Problems) -> pl.Series:
    if raw.null_count() == len(raw):
        return pl.repeat(None, len(raw), dtype=pl.Boolean, eager=True)
    lower = raw.cast(pl.String).str.to_lowercase()
    flag = lower.replace_strict(_FLAG, default=None, return_dtype=pl.Boolean)
    problems.append((f"{raw.name} is not T or F", _lost(raw, flag)))
    return flag


def _within(values: pl.Series, low: float, high: float) -> bool:
    """Whether all values that are set lie between the bounds; a NaN does not."""
    least, most = values.min(), values.max()
    if least is None or most is None:
        return True
    return bool(low <= least and most <= high) and not (values.dtype.is_float() and values.is_nan().any())


def _as_published(label: pl.Series, detailed: pl.Series) -> bool:
    """Whether the labels that are set are spelt as published, so that nothing is to be mended: the usual case."""
    known = {"Benign", "Malicious"}.issuperset(label.drop_nulls().unique())
    return known and all(
        name == _DETAILED.get(name.strip().lower(), name.strip()) for name in detailed.drop_nulls().unique()
    )


def _labels(
    raw: pl.Series, raw_detailed: pl.Series, problems: Problems, repairs: Counter[str]
) -> tuple[pl.Series, pl.Series]:
    """Normalise the two label columns."""
    lower = raw.str.strip_chars().str.to_lowercase()
    label = lower.replace_strict({"benign": "Benign", "malicious": "Malicious"}, default=None, return_dtype=pl.String)
    stripped = raw_detailed.str.strip_chars()
    detailed = stripped.str.to_lowercase().replace_strict(_DETAILED, default=stripped, return_dtype=pl.String)
    misplaced = lower.is_in(list(_DETAILED)) & stripped.is_null()
    if misplaced.any():
        detailed = detailed.fill_null(lower.set(~misplaced.fill_null(False), None).replace(_DETAILED))
        label = label.set(misplaced.fill_null(False), "Malicious")
        repairs["detailed label in the label column"] += int(misplaced.sum())
    repairs["label spelling"] += int(((label != raw) & ~misplaced.fill_null(False)).sum())
    repairs["detailed label spelling"] += int((detailed != raw_detailed).sum())
    problems.append(("unknown label", _lost(raw, label)))
    return label, detailed
