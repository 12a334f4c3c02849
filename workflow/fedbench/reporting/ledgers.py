"""Tables about the data and the runs: what each step did, how far a memoriser gets, what ran and what did not."""

from pathlib import Path
from typing import Any

import pandas as pd

from fedbench.files import read_json
from fedbench.reporting.results import NOT_RUN, Estimate, Results

STAGES = {
    "iot23": ("clean", "sample", "split"),
    "dolly": ("filter", "augment", "split"),
}
_RUNS = ("Run", "Study", "Procedure", "Model", "Strategy", "Seed", "Status", "Seconds", "Peak memory (MiB)")


def data_ledger(results: Results, data_set: str) -> pd.DataFrame:
    """Return one row a step of a data set's ledgers: rows before and after, and the rows left of each class.

    Args:
        results: the experiment's results.
        data_set: "iot23" or "dolly"; ledgers are data/<data_set>/*ledger.json.
    """
    folder = results.folder / "data" / data_set
    ledgers = sorted(folder.glob("*ledger.json"), key=lambda path: _stage_order(path, data_set))
    rows = [row for path in ledgers for row in _ledger_rows(path)]
    if not rows:
        return pd.DataFrame([{"Stage": data_set, "Step": NOT_RUN, "note": "no ledger: the data set was not built"}])
    frame = pd.DataFrame(rows)
    classes = [column for column in frame.columns if column not in ("Stage", "Step", "Before", "After", "note")]
    last = frame[classes].map(lambda cell: cell.value if isinstance(cell, Estimate) else 0.0).max()
    ordered = sorted(classes, key=lambda name: (-last[name], name))
    return frame[["Stage", "Step", "Before", "After", *ordered, "note"]].astype(object).where(frame.notna(), "")


def _stage_order(path: Path, data_set: str) -> tuple[int, str]:
    name = path.name
    stages = STAGES[data_set]
    return next((k for k, stage in enumerate(stages) if name.startswith(stage[:6])), len(stages)), name


def _ledger_rows(path: Path) -> list[dict[str, Any]]:
    ledger = read_json(path)
    stage = path.stem.removesuffix("ledger").rstrip("-_.") or path.parent.name
    labels = ledger.get("labels") or {}
    rows = []
    if "rows_read" in ledger:
        read = labels.get("read") or {}
        kept = labels.get("kept") or {}
        rows.append(_step(stage, "read", None, ledger["rows_read"], read, ""))
        rows += [
            _step(stage, "repair", None, None, {}, f"{n:,} × {r}") for r, n in (ledger.get("repairs") or {}).items()
        ]
        rows += [
            _step(stage, "quarantine", None, None, {}, f"{n:,} × {reason}")
            for reason, n in (ledger.get("quarantine_reasons") or {}).items()
        ]
        if not ledger.get("steps"):
            rows.append(_step(stage, "keep", ledger["rows_read"], ledger.get("rows_kept"), kept, ""))
    for step in ledger.get("steps") or []:
        after = step.get("labels_after") or {}
        rows.append(
            _step(stage, step["step"], step["rows_before"], step["rows_after"], after, step.get("reason") or "")
        )
    return rows


def _step(
    stage: str, step: str, before: int | None, after: int | None, labels: dict[str, int], note: str
) -> dict[str, Any]:
    counts = {"Before": before, "After": after, **{str(label): count for label, count in labels.items()}}
    cells = {key: "" if n is None else Estimate(float(n), digits=0) for key, n in counts.items()}
    return {"Stage": stage, "Step": step, **cells, "note": note}


def captures(results: Results) -> pd.DataFrame:
    """Return data/iot23/captures.csv with readable headings: published and parsed flows of each capture, by class."""
    path = results.folder / "data" / "iot23" / "captures.csv"
    if not path.is_file():
        return pd.DataFrame([{"Capture": NOT_RUN, "note": "no comparison: the data set was not built"}])
    frame = pd.read_csv(path)
    for column in ("published", "parsed"):
        frame[column] = frame[column].map(lambda n: "" if pd.isna(n) else Estimate(float(n), digits=0)).astype(object)
    frame["device"] = frame["device"].fillna("")
    frame.columns = ["Capture", "Malware or device", "Class", "Published", "Parsed", "Verdict"]
    return frame


def leakage(results: Results) -> pd.DataFrame:
    """Return data/*/leakage.csv with readable headings: how near test rows are to training rows, and what a memoriser
    scores, by split protocol (IoT-23) and part of the test set (Dolly).
    """
    paths = {"IoT-23": "iot23", "Dolly": "dolly"}
    found = {title: results.folder / "data" / folder / "leakage.csv" for title, folder in paths.items()}
    frames = [_leakage(path, title) for title, path in found.items() if path.is_file()]
    if not frames:
        return pd.DataFrame([{"Data set": NOT_RUN, "note": "no leakage report: the data set was not built"}])
    table = pd.concat(frames, ignore_index=True)
    return table.astype(object).where(table.notna(), "")


def _leakage(path: Path, title: str) -> pd.DataFrame:
    frame = pd.read_csv(path)
    for column in frame.columns:
        if pd.api.types.is_float_dtype(frame[column]):
            frame[column] = frame[column].map(lambda v: "" if pd.isna(v) else Estimate(float(v))).astype(object)
        elif pd.api.types.is_integer_dtype(frame[column]):
            frame[column] = frame[column].map(lambda v: Estimate(float(v), digits=0)).astype(object)
        else:
            frame[column] = frame[column].fillna("")
    frame.columns = [str(column).replace("_", " ").capitalize() for column in frame.columns]
    frame.insert(0, "Data set", title)
    return frame.rename(
        columns={
            "Note": "note",
            "Protocol": "Protocol or part",
            "Part": "Protocol or part",
            "Rouge median": "Nearest: median ROUGE-L",
            "Rouge 50": "ROUGE-L ≥ 0.5",
            "Rouge 70": "ROUGE-L ≥ 0.7",
        }
    )


def runs(results: Results) -> pd.DataFrame:
    """Return one row a run: what it was, how it ended, seconds and peak memory; a failed run says why."""
    rows = []
    for run in results.runs.sort_values(["study", "procedure", "model", "strategy", "seed"]).to_dict("records"):
        seconds, memory = run["seconds"], run["peak_rss_bytes"]
        cells: list[Any] = [
            run["label"],
            run["study"],
            run["procedure"],
            run["model_title"],
            run["strategy_title"] or "",
            str(run["seed"]),
            run["status"],
            "" if pd.isna(seconds) else Estimate(float(seconds), digits=1),
            "" if pd.isna(memory) else Estimate(float(memory) / 2**20, digits=0),
        ]
        rows.append({**dict(zip(_RUNS, cells, strict=True)), "note": run["message"] or ""})
    return pd.DataFrame(rows, columns=[*_RUNS, "note"])
