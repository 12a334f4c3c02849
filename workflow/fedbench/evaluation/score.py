"""From a run's predictions and usage to tidy scores with bootstrap intervals."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from fedbench.errors import FedbenchError
from fedbench.evaluation.resampling import METRICS, Codes, bootstrap, generator
from fedbench.files import atomic, read_json, read_parquet
from fedbench.spec import RunSpec

SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("study", pa.string()),
        ("procedure", pa.string()),
        ("model", pa.string()),
        ("strategy", pa.string()),
        ("seed", pa.int64()),
        ("synthetic", pa.bool_()),
        ("scope", pa.string()),
        ("client", pa.int32()),
        ("unit", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
    ]
)
Row = dict[str, Any]
UNPARSED = "\0unparsed"  # no label can be spelt like this


def score(run_folder: Path, out: Path, bootstrap: int) -> None:
    """Score one run and write `out`, a Parquet file of `SCHEMA`; a failed run leaves no row.

    An unparsed answer is wrong. GSFS runs are scored per flow and per distinct text, Edge-FIT runs per record.

    Args:
        run_folder: folder with predictions.parquet, usage.json and manifest.json.
        out: file to write.
        bootstrap: resamples of the test rows for the 95 % percentile intervals.

    Raises:
        FedbenchError: predictions without rows in a run that succeeded, or scopes over different test rows.
    """
    manifest = read_json(run_folder / "manifest.json")
    run = RunSpec.model_validate(manifest["run"])
    rows: list[Row] = []
    if manifest["status"] == "ok":
        source = run_folder / "predictions.parquet"
        for unit, predictions in _units(read_parquet(source), run.study):
            rows += _quality(predictions, unit, bootstrap, f"{run_folder.name}/{unit}", source)
        rows += _usage(read_json(run_folder / "usage.json"), "record" if run.study == "edge-fit" else "flow")
    identity = {
        "run": run_folder.name,
        "study": run.study,
        "procedure": run.procedure,
        "model": model_name(run),
        "strategy": run.strategy.name if run.strategy else "",
        "seed": run.seed,
        "synthetic": run.synthetic,
    }
    write_table([identity | row for row in rows], SCHEMA, out)


def collate(parts: Sequence[Path], out: Path) -> None:
    """Put the scores of many runs into one file, in the order given."""
    tables = [pq.read_table(part, schema=SCHEMA) for part in parts]
    with atomic(out) as partial:
        pq.write_table(pa.concat_tables(tables) if tables else SCHEMA.empty_table(), partial)


def model_name(run: RunSpec) -> str:
    """Return the name of the model or classical baseline of a run."""
    return run.model.name if run.model else run.baseline or ""


def write_table(rows: Sequence[Row], schema: pa.Schema, out: Path) -> None:
    """Write rows as a Parquet file of the given schema."""
    with atomic(out) as partial:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), partial)


def _units(predictions: pd.DataFrame, study: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (unit, predictions): GSFS counts each flow, then each distinct text once (its first flow stands for it)."""
    predictions = predictions.sort_values(["scope", "client", "row_id"], kind="stable")
    if study == "edge-fit":
        yield "record", predictions
        return
    yield "flow", predictions
    yield "text", predictions.drop_duplicates(["scope", "client", "text_id"])


def _quality(predictions: pd.DataFrame, unit: str, draws: int, name: str, source: Path) -> list[Row]:
    """Return the quality metrics of the central model, of each client, and of the mean over clients."""
    groups = [
        (str(part["scope"].iloc[0]), int(part["client"].iloc[0]), part)
        for _, part in predictions.groupby(["scope", "client"], sort=True)
    ]
    if not groups:
        raise FedbenchError("no predictions in a run that succeeded", where=source, remedy="Run it again.")
    first = groups[0][2]
    for scope, client, part in groups:
        if not np.array_equal(part["row_id"], first["row_id"]):
            raise FedbenchError(f"{scope} {client} was not asked the same test rows as the others", where=source)

    truth = first["truth"].astype(str).to_numpy(dtype=object)
    answers = [part["predicted"].fillna(UNPARSED).to_numpy(dtype=object) for _, _, part in groups]
    labels = sorted(set(truth).union(*answers) - {UNPARSED})
    code = {label: index for index, label in enumerate([*labels, UNPARSED])}
    encode = np.vectorize(code.__getitem__, otypes=[np.int64])
    exact = np.array([points(truth, answer) for answer in answers])
    codes: Codes = np.stack([encode(answer) for answer in answers])
    drawn = bootstrap(encode(truth), codes, len(labels), draws, generator(name))

    scopes = [(scope, client, [index]) for index, (scope, client, _) in enumerate(groups)]
    clients = [index for index, (scope, _, _) in enumerate(groups) if scope == "client"]
    if clients:
        scopes.append(("client", -1, clients))
    rows: list[Row] = []
    for scope, client, members in scopes:
        values = exact[members].mean(axis=0)
        low, high = np.quantile(drawn[:, members].mean(axis=1), [0.025, 0.975], axis=0)
        place = {"scope": scope, "client": client, "unit": unit, "n": len(truth)}
        rows += [
            {**place, "metric": metric, "value": float(values[k]), "low": float(low[k]), "high": float(high[k])}
            for k, metric in enumerate(METRICS)
        ]
    return rows


def points(truth: Any, answer: Any) -> list[float]:
    """Return the metrics of one scope in the order of `METRICS`; a class never predicted has precision 0.

    Macro means are over the classes that the test rows hold or the scope predicts.
    """
    labels = sorted({*truth, *answer} - {UNPARSED})
    averages: tuple[Literal["macro", "weighted"], ...] = ("macro", "weighted")
    means = [
        float(value)
        for average in averages
        for value in precision_recall_fscore_support(truth, answer, labels=labels, average=average, zero_division=0)[:3]
    ]
    return [float(accuracy_score(truth, answer)), *means, float(np.mean(answer == UNPARSED))]


def _usage(usage: dict[str, Any], unit: str) -> list[Row]:
    """Return the usage figures that the run has, without intervals."""
    latency, virtual = usage.get("latency_ms") or {}, usage.get("virtual") or {}
    median, requests = latency.get("median"), latency.get("requests", 1)
    versions = usage.get("versions") or 1
    figures: list[tuple[str, str, float | None, int]] = [
        ("latency_ms", "central", median, requests),
        ("latency_p95_ms", "central", latency.get("p95"), requests),
        ("requests_per_minute", "central", 60_000 / median if median else None, requests),
        ("bytes_up", "central", usage.get("bytes_up"), 1),
        ("bytes_down", "central", usage.get("bytes_down"), 1),
        ("central_seconds", "central", virtual.get("central_seconds"), versions),
        ("client_seconds", "client", virtual.get("client_seconds"), versions),
        ("peak_rss_bytes", "central", usage.get("peak_rss_bytes"), 1),
        ("train_seconds", "central", (usage.get("seconds") or {}).get("train"), 1),
    ]
    return [
        {"scope": scope, "client": -1, "unit": unit, "metric": metric, "value": float(value), "n": n}
        for metric, scope, value, n in figures
        if value is not None
    ]
