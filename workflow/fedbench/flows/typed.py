"""Rows of a log made into typed flows, with a reason for every row that cannot be and a count of every repair."""

from collections import Counter

import polars as pl

from fedbench.flows.chunk import TEXT, TEXTS
from fedbench.flows.schema import COLUMNS, COUNTS, DETAILED_LABELS, FLAGS, PORTS, REQUIRED

_LATEST = 4_102_444_800  # 2100-01-01, in seconds: a later time is a damaged number
_LONGEST = 1e12  # seconds
_LARGEST_PORT = 65_535
_LARGEST_COUNT = 2**62
_DETAILED = {name.lower(): name for name in DETAILED_LABELS}
_IPV4 = r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_ADDRESS = rf"^(?:{_IPV4}|[0-9A-Fa-f]{{0,4}}(?::[0-9A-Fa-f]{{0,4}}){{2,7}}(?::{_IPV4})?(?:%[\w.-]+)?)$"
_FLAG = {"t": True, "true": True, "f": False, "false": False}


def _distinct(name: str) -> pl.Expr:
    return pl.col(name).unique().cast(pl.String)


_CHECKS = [
    *(pl.col(name).null_count() == 0 for name in REQUIRED),
    *(pl.col(name).min() >= 0 for name in (*PORTS, *COUNTS)),
    *(pl.col(name).max() <= _LARGEST_PORT for name in PORTS),
    *(pl.col(name).max() <= _LARGEST_COUNT for name in COUNTS),
    pl.col("ts").is_between(0, _LATEST).all(),
    pl.col("duration").is_between(0, _LONGEST).all(),
    *(_distinct(name).str.contains(_ADDRESS).all() for name in ("id.orig_h", "id.resp_h")),
    *(_distinct(name).is_in(["T", "F"]).all() for name in FLAGS),
    (_distinct("proto") == _distinct("proto").str.to_lowercase()).all(),
]
_SOUND = [check.fill_null(True).alias(str(number)) for number, check in enumerate(_CHECKS)]  # null: nothing is set

Problems = list[tuple[str, pl.Series]]


def typed(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, Counter[str]]:
    """Type the rows of a `Chunk`.

    Returns:
        Flows (`COLUMNS` typed as in `schema.FLOWS` but `TEXTS` as `TEXT`, and `line`), rejected rows (`line`,
        `reason`), and the number of rows repaired, by reason. Every row is in exactly one of the two frames.
    """
    repairs: Counter[str] = Counter()
    problems: Problems = []
    if _sound(rows):  # one look at all, where a look at each value would find nothing
        out = {"ts": _microseconds(rows["ts"]), **{name: _is_true(rows[name]) for name in FLAGS}}
    else:
        out = _row_by_row(rows, problems, repairs)
    label, detailed = rows["label"], rows["detailed_label"]
    if not _as_published(label, detailed):
        label, detailed = _labels(label.cast(pl.String), detailed.cast(pl.String), problems, repairs)
    out |= {"label": label, "detailed_label": detailed}
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


def _sound(rows: pl.DataFrame) -> bool:
    """Whether columns are typed already and all their values are what they should be; labels are another matter."""
    if rows.schema["ts"] == pl.String:
        return False

    return all(rows.select(_SOUND).row(0))


def _row_by_row(rows: pl.DataFrame, problems: Problems, repairs: Counter[str]) -> dict[str, pl.Series]:
    """Type all columns but the labels."""
    problems += [(f"{name} is unset", rows[name].is_null()) for name in REQUIRED]
    out = {"ts": _time(rows["ts"], problems, repairs)}
    for name in ("id.orig_h", "id.resp_h"):
        problems.append((f"{name} is not an address", ~rows[name].str.contains(_ADDRESS)))
    as_float = pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    for name in (*PORTS, *COUNTS):
        whole = rows[name].cast(pl.Int64, strict=False)
        lost = _lost(rows[name], whole)
        if lost.any():  # third-party conversions write counts as floats (48.0)
            number = rows[name].cast(pl.Float64, strict=False)
            mendable = (lost & (number == number.floor()) & (number.abs() < 2**53)).fill_null(False)
            whole = whole.fill_null(number.set(~mendable, None).cast(pl.Int64, strict=False))
            as_float |= mendable
        kind, limit = ("a port", _LARGEST_PORT) if name in PORTS else ("a count", _LARGEST_COUNT)
        problems.append((f"{name} is not {kind}", _lost(rows[name], whole) | ~whole.is_between(0, limit)))
        out[name] = whole.cast(pl.Int32, strict=False) if name in PORTS else whole
    repairs["count written as a float"] += int(as_float.sum())
    out["duration"] = rows["duration"].cast(pl.Float64, strict=False)
    unlikely = _lost(rows["duration"], out["duration"]) | ~out["duration"].is_between(0, _LONGEST)
    problems.append(("duration is not seconds", unlikely))
    for name in FLAGS:
        text = rows[name].cast(pl.String).str.to_lowercase()
        out[name] = text.replace_strict(_FLAG, default=None, return_dtype=pl.Boolean)
        problems.append((f"{name} is not T or F", _lost(rows[name], out[name])))
    out["proto"] = rows["proto"].cast(pl.String).str.to_lowercase()
    return out


def _lost(raw: pl.Series, value: pl.Series) -> pl.Series:
    return raw.is_not_null() & value.is_null()


def _time(raw: pl.Series, problems: Problems, repairs: Counter[str]) -> pl.Series:
    """Epoch seconds, or ISO 8601 as Zeek's JSON writer may be told to write, as UTC microseconds."""
    seconds = raw.cast(pl.Float64, strict=False)
    seconds = seconds.set(~seconds.is_between(0, _LATEST).fill_null(True), None)
    time, lost = _microseconds(seconds), _lost(raw, seconds)
    if raw.dtype == pl.String and lost.any():
        iso = raw.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
        repairs["time written as ISO 8601"] += int((lost & iso.is_not_null()).sum())
        time = time.fill_null(iso)
    problems.append(("ts is not a time", _lost(raw, time)))
    return time


def _microseconds(seconds: pl.Series) -> pl.Series:
    return (seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC"))


def _is_true(flag: pl.Series) -> pl.Series:
    return flag.cast(pl.String) == "T"


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
