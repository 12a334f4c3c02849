"""Strings of a log made into typed flows, with a reason for every row that cannot be and a count of every repair."""

from collections import Counter

import polars as pl

from fedbench.flows.schema import COLUMNS, COUNTS, DETAILED_LABELS, FLAGS, PORTS, REQUIRED

_LATEST = 4_102_444_800  # 2100-01-01, in seconds: a later time is a damaged number
_DETAILED = {name.lower(): name for name in DETAILED_LABELS}


def typed(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, Counter[str]]:
    """Type the rows of a `zeek.Chunk`.

    Returns:
        Flows (`COLUMNS` typed as in `schema.FLOWS`, and `line`), rejected rows (`line`, `reason`), and the number of
        rows repaired, by reason. Every row is in exactly one of the two frames.
    """
    repairs: Counter[str] = Counter()
    problems: list[tuple[str, pl.Series]] = []
    out: dict[str, pl.Series] = {}

    for name in REQUIRED:
        problems.append((f"{name} is unset", rows[name].is_null()))
    out["ts"] = _time(rows["ts"], repairs)
    problems.append(("ts is not a time", _lost(rows["ts"], out["ts"])))
    for name in ("id.orig_h", "id.resp_h"):
        problems.append(
            (f"{name} is not an address", ~rows[name].str.contains(r"^[0-9A-Fa-f:.]*[:.][0-9A-Fa-f:.%\w]*$"))
        )
    as_float = pl.repeat(False, rows.height, eager=True)
    for name in (*PORTS, *COUNTS):
        whole = rows[name].cast(pl.Int64, strict=False)
        lost = _lost(rows[name], whole)
        if lost.any():  # third-party conversions write counts as floats (48.0)
            number = rows[name].cast(pl.Float64, strict=False)
            mendable = lost & (number == number.floor()) & (number.abs() < 2**53)
            whole = whole.fill_null(number.set(~mendable.fill_null(False), None).cast(pl.Int64, strict=False))
            as_float |= mendable.fill_null(False)
        limit = 65_535 if name in PORTS else 2**62
        out[name] = whole.cast(pl.Int32, strict=False) if name in PORTS else whole
        kind = "a port" if name in PORTS else "a count"
        problems.append((f"{name} is not {kind}", _lost(rows[name], whole) | ~whole.is_between(0, limit)))
    duration = rows["duration"].cast(pl.Float64, strict=False)
    out["duration"] = duration
    problems.append(("duration is not seconds", _lost(rows["duration"], duration) | ~duration.is_between(0, 1e12)))
    for name in FLAGS:
        flag = (
            rows[name]
            .str.to_lowercase()
            .replace_strict(
                {"t": True, "true": True, "f": False, "false": False}, default=None, return_dtype=pl.Boolean
            )
        )
        out[name] = flag
        problems.append((f"{name} is not T or F", _lost(rows[name], flag)))
    label, detailed, bad_label = _labels(rows["label"], rows["detailed_label"], repairs)
    out["label"], out["detailed_label"] = label, detailed
    problems.append(("unknown label", bad_label))
    out["proto"] = rows["proto"].str.to_lowercase()

    repairs["count written as a float"] += int(as_float.sum())
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


def _time(raw: pl.Series, repairs: Counter[str]) -> pl.Series:
    """Epoch seconds, or ISO 8601 as Zeek's JSON writer may be told to write, as UTC microseconds."""
    seconds = raw.cast(pl.Float64, strict=False)
    seconds = seconds.set(~seconds.is_between(0, _LATEST).fill_null(True), None)
    time = (seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
    lost = _lost(raw, seconds)
    if lost.any():
        iso = raw.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
        repairs["time written as ISO 8601"] += int((lost & iso.is_not_null()).sum())
        time = time.fill_null(iso)
    return time


def _labels(raw: pl.Series, raw_detailed: pl.Series, repairs: Counter[str]) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Normalise the two label columns; returns label, detailed label, and where the label is unknown."""
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
    return label, detailed, _lost(raw, label)
