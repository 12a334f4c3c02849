"""Edge-FIT with one thing changed at a time: score, bytes, modelled seconds, memory, and what the change is about."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from fedbench.reporting.edge_fit_gains import difference, read
from fedbench.reporting.measures import PEAK_MEMORY
from fedbench.reporting.results import NOT_RUN, Estimate, Group, Measure, Results
from fedbench.spec import Experiment

_MIB = 2**20


def table(experiment: Experiment, results: Results) -> pd.DataFrame:
    """Return a row a variant and model, the study's own run first; differences are on the same test rows and seeds."""
    assert experiment.edge_fit is not None
    spec = experiment.edge_fit
    rows = []
    for model in spec.models:
        base = results.select("edge-fit", "federated", model=model)
        alike = Group(results, base.runs[base.runs["seed"].isin(spec.variant_seeds)])
        rows.append(
            _row(
                base.first("model_title", model),
                "as published",
                "Edge-FIT",
                alike,
                None,
                spec.variant_seeds,
                experiment,
            )
        )
        for name, variant in spec.variants.items():
            group = results.select("edge-fit", "federated", model=model, variant=name)
            title = base.first("model_title", model)
            rows.append(_row(title, variant.group, variant.title, group, alike, spec.variant_seeds, experiment))
    return pd.DataFrame(rows)


def _row(
    model: str, about: str, title: str, group: Group, base: Group | None, seeds: Sequence[int], experiment: Experiment
) -> dict[str, object]:
    head = {"Model": model, "About": about, "Variant": title, "seeds": len(group.finished)}
    scores = {
        "F1 (macro)": group.cell(Measure("f1_macro"), "record"),
        "Accuracy": group.cell(Measure("accuracy"), "record"),
    }
    against: dict[str, object] = {"F1 less Edge-FIT": "", "Reading": ""}
    if base is not None:
        found = difference(group, base, "central", "central", experiment.report.bootstrap).get("f1_macro")
        against = {"F1 less Edge-FIT": found or NOT_RUN, "Reading": read(found)}
    return {**head, **scores, **against, **_costs(group), "note": group.note(seeds)}


def _costs(group: Group) -> dict[str, object]:
    """Return bytes, modelled seconds, memory, the bias of averaging, epsilon and lost replies; means over seeds."""
    if group.finished.empty:
        return dict.fromkeys(_COSTS, NOT_RUN)
    usages, histories = group.usages(), [history for _, history in group.histories()]
    virtual = [float(history["virtual_seconds"].dropna().iloc[-1]) for history in histories]
    bias = [value for history in histories for value in _reported(history, "averaging-bias")]
    cloud = [usage.get("bytes_cloud") or 0 for usage in usages]
    guarantees = [usage["privacy"] for usage in usages if usage.get("privacy")]
    cells: dict[str, object] = {
        "Uploaded (MiB)": _mean([usage["bytes_up"] / _MIB for usage in usages], 2),
        "Downloaded (MiB)": _mean([usage["bytes_down"] / _MIB for usage in usages], 2),
        "Gateways to cloud and back (MiB)": _mean([size / _MIB for size in cloud], 2) if any(cloud) else "",
        "Seconds (modelled)": _mean(virtual, 1),
        "Peak resident memory (MiB)": group.cell(PEAK_MEMORY, "record"),
        "Bias of averaging A and B apart": _mean(bias, 4) if bias else "",
        "Epsilon": _epsilon(guarantees),
        "Replies lost": _mean([float((usage.get("replies") or {}).get("lost", 0)) for usage in usages], 0),
    }
    assert list(cells) == list(_COSTS)
    return cells


_COSTS = (
    "Uploaded (MiB)",
    "Downloaded (MiB)",
    "Gateways to cloud and back (MiB)",
    "Seconds (modelled)",
    "Peak resident memory (MiB)",
    "Bias of averaging A and B apart",
    "Epsilon",
    "Replies lost",
)


def _reported(history: pd.DataFrame, key: str) -> list[float]:
    """Return a figure of the server's metrics, a value a round that has it."""
    told = history[(history["client"] == -1) & history["metrics"].notna()]["metrics"]
    return [float(metrics[key]) for metrics in map(json.loads, told) if metrics.get(key) is not None]


def _epsilon(guarantees: list[dict[str, Any]]) -> str:
    if not guarantees:
        return ""
    worst = max(guarantees, key=lambda one: one["epsilon"] or float("inf"))
    if worst["epsilon"] is None:
        return "no noise, no guarantee"
    return f"{worst['epsilon']:.1f} (client level, delta {worst['delta']:g})"


def _mean(values: Sequence[float], digits: int) -> Estimate:
    return Estimate(float(pd.Series(values, dtype=float).mean()), digits=digits, seeds=len(values))
