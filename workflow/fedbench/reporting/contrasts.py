"""Two groups of runs side by side: the difference of their scores, read from its interval, and what a run cost."""

import json
from collections.abc import Sequence
from math import hypot
from typing import Any

import pandas as pd

from fedbench.evaluation import paired
from fedbench.reporting.measures import PEAK_MEMORY
from fedbench.reporting.results import NOT_RUN, Estimate, Group, over_seeds

HIGHER, LOWER, OPEN = "higher", "lower", "undecided"
_MIB = 2**20
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


def difference(mine: Group, theirs: Group, scope: str, other: str, draws: int) -> dict[str, Estimate]:
    """Return, by metric, the mean over seeds of mine less theirs; nothing where there is no pair of finished runs.

    A run whose procedure has a single seed (zero-shot) stands against every seed. The interval adds two sources in
    quadrature: the bootstrap over test rows, averaged over seeds, which share one test set, and Student's over seeds.
    """
    ours, base = (dict(zip(g.finished["seed"], g.finished["run"], strict=True)) for g in (mine, theirs))
    if len(base) == 1:
        base = dict.fromkeys(ours, next(iter(base.values())))
    found: dict[str, list[paired.Interval]] = {}
    for seed in sorted(ours.keys() & base.keys()):
        runs = [mine.results.folder / "runs" / str(side[seed]) for side in (ours, base)]
        answers, others = paired.read(runs[0], scope), paired.read(runs[1], other)
        compared = paired.differences(answers, others, draws, f"{runs[0].name} less {runs[1].name}")
        for metric, interval in compared.items():
            found.setdefault(metric, []).append(interval)
    estimates = {}
    for metric, intervals in found.items():
        frame = pd.DataFrame(intervals, columns=["value", "low", "high"])
        estimates[metric] = _widened(frame)
    return estimates


def _widened(frame: pd.DataFrame) -> Estimate:
    """Return the mean of rows of value, low and high (a row a seed) with an interval over rows and seeds."""
    means, seeds = frame.mean(), over_seeds(frame["value"].tolist())
    assert seeds is not None
    value = float(means["value"])
    half = 0.0 if seeds.high is None else seeds.high - value
    low, high = value - hypot(value - means["low"], half), value + hypot(means["high"] - value, half)
    return Estimate(value, low, high, seeds.sd, len(frame))


def reading(estimate: Estimate | None) -> str:
    """Return whether an interval says that a difference is there."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return NOT_RUN
    if estimate.low <= 0 <= estimate.high:
        return OPEN
    return HIGHER if estimate.value > 0 else LOWER


def costs(group: Group, unit: str) -> dict[str, object]:
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
        "Peak resident memory (MiB)": group.cell(PEAK_MEMORY, unit),
        "Bias of averaging A and B apart": _mean(bias, 4) if bias else "",
        "Epsilon": _epsilon(guarantees),
        "Replies lost": _mean([float((usage.get("replies") or {}).get("lost", 0)) for usage in usages], 0),
    }
    assert list(cells) == list(_COSTS)
    return cells


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
