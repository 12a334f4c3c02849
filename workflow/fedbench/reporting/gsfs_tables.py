"""Tables I to III of the GSFS paper, from scores."""

from collections.abc import Sequence

import pandas as pd
import pyarrow.parquet as pq

from fedbench.reporting.measures import (
    BASELINE_TITLES,
    LATENCY,
    QUALITY,
    SPLITS,
    STRATEGY,
    UNITS,
    gsfs,
    partitions,
    row,
)
from fedbench.reporting.results import NOT_MEASURED, NOT_RUN, Estimate, Group, Results
from fedbench.spec import Experiment

_WORST, _SPREAD = "Accuracy, worst client", "Accuracy, deviation over clients"
_VERSIONS, _JOULES = "Global versions", "Energy (J a run)"


def split_sizes(results: Results) -> pd.DataFrame:
    """Return rows, distinct texts and classes of each split of the IoT-23 data set; empty where it was not built."""
    path = results.folder / "data" / "iot23" / "dataset.parquet"
    if not path.is_file():
        return pd.DataFrame(columns=["rows", "texts", "classes"])
    frame: pd.DataFrame = pq.read_table(path, columns=["split", "text_id", "label"]).to_pandas()
    by_split = frame.groupby("split", observed=True)
    return by_split.agg(rows=("label", "size"), texts=("text_id", "nunique"), classes=("label", "nunique"))


def table1(experiment: Experiment, results: Results) -> pd.DataFrame:
    """GSFS Table I: the parts of the data set."""
    sizes = split_sizes(results)
    columns = ("Percentage", "Number of samples", "Distinct texts", "Classes")
    rows = []
    for split, title in SPLITS.items():
        if split in sizes.index:
            share = Estimate(100 * float(sizes["rows"][split]) / float(sizes["rows"].sum()), digits=2)
            counts = [Estimate(float(sizes[key][split]), digits=0) for key in ("rows", "texts", "classes")]
            rows.append({"Dataset part": title, **dict(zip(columns, [share, *counts], strict=True)), "note": ""})
        else:
            note = f"{NOT_RUN}: the split holds no rows" if len(sizes) else f"{NOT_RUN}: the data set was not built"
            rows.append({"Dataset part": title, **dict.fromkeys(columns, NOT_RUN), "note": note})
    if len(sizes):
        total = {
            "Percentage": Estimate(100, digits=2),
            "Number of samples": Estimate(float(sizes["rows"].sum()), digits=0),
        }
        rows.append({"Dataset part": "Total", **dict.fromkeys(columns, ""), **total, "note": ""})
    return pd.DataFrame(rows)


def table2(experiment: Experiment, results: Results) -> pd.DataFrame:
    """GSFS Table II: models fine-tuned centrally, classical baselines on the raw columns beside them."""
    spec = gsfs(experiment)
    rows = []
    for procedure, names in (("centralised", spec.models), ("baseline", spec.baselines)):
        for name in names:
            group = results.select("gsfs", procedure, model=name)
            title = group.first("model_title", BASELINE_TITLES.get(name, name))
            for unit in UNITS:
                head = {"Model": title, "per": UNITS[unit]}
                rows.append(row(head, group, {**QUALITY, **LATENCY}, unit, spec.central_seeds))
    return pd.DataFrame(rows)


def table3(experiment: Experiment, results: Results) -> pd.DataFrame:
    """GSFS Table III: strategies on one model, a row a strategy and partition, with what the run cost in full.

    Beside the paper's columns stand fairness (the client with the worst model, the deviation over clients), bytes both
    ways, global versions and joules. Times come from the virtual clock and are modelled.
    """
    spec = gsfs(experiment)
    rows = []
    for partition, clients in partitions(spec).items():
        for name in spec.strategies:
            group = results.select("gsfs", "federated", strategy=name, partition=partition)
            for unit in UNITS:
                head = {"Strategy": group.first("strategy_title", name), "Clients": clients, "per": UNITS[unit]}
                cells = row(head, group, STRATEGY, unit, spec.seeds)
                rows.append(_completed(cells, group, unit))
    return pd.DataFrame(rows)


def _completed(cells: dict[str, object], group: Group, unit: str) -> dict[str, object]:
    """Add what is no measure of the scores: fairness over clients, global versions and joules."""
    notes = [str(cells.pop("note"))]
    accuracy = group.over_clients("accuracy", unit)
    fairness: dict[str, object] = {
        _WORST: _seeds(accuracy.min(axis=1).tolist(), 4) or "",
        _SPREAD: _seeds(accuracy.std(axis=1, ddof=0).tolist(), 4) or "",
    }
    cost: dict[str, object] = {_VERSIONS: "", _JOULES: ""}
    usages = group.usages() if unit == "flow" else []
    if usages:
        joules = [float(usage["joules"]) for usage in usages if usage.get("joules") is not None]
        versions = _seeds([float(usage.get("versions") or 0) for usage in usages], 1)
        cost = {_VERSIONS: versions or "", _JOULES: _seeds(joules, 1) or NOT_MEASURED}
        if not joules:
            reasons = {str(usage.get("joules_reason") or "no reason recorded") for usage in usages}
            notes.append(f"energy {NOT_MEASURED}: {', '.join(sorted(reasons))}")
    if group.finished.empty:
        fairness, cost = dict.fromkeys(fairness, NOT_RUN), dict.fromkeys(cost, NOT_RUN)
    ordered: dict[str, object] = {}
    for column, cell in cells.items():
        ordered[column] = cell
        if column == "Accuracy, client":  # beside the mean that they qualify
            ordered |= fairness
    return {**ordered, **cost, "note": "; ".join(filter(None, notes))}


def _seeds(values: Sequence[float], digits: int) -> Estimate | None:
    """Return the mean and standard deviation over seeds, without an interval; None of nothing."""
    if not values:
        return None
    series = pd.Series(values)
    sd = float(series.std(ddof=1)) if len(values) > 1 else None
    return Estimate(float(series.mean()), sd=sd, seeds=len(values), digits=digits)
