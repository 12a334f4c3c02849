"""What federation gains and what it costs in F1: Edge-FIT beside the other procedures, row by row of the test set."""

from collections.abc import Iterator

import pandas as pd

from fedbench.evaluation import paired
from fedbench.reporting.edge_fit_tables import scope_of, seeds_of
from fedbench.reporting.results import NOT_RUN, Estimate, Group, Results
from fedbench.spec import Experiment

HIGHER, LOWER, OPEN = "higher", "lower", "undecided"
SHOWN = {"f1_macro": "F1 (macro)", "accuracy": "Accuracy"}
_QUESTIONS = (
    ("gain over zero-shot", "federated", "zero-shot"),
    ("gain over local-only", "federated", "local-only"),
    ("gap to centralised", "federated", "centralised"),
)


def table(experiment: Experiment, results: Results) -> pd.DataFrame:
    """Return a row a model and question; `attrs["findings"]` answers them in sentences."""
    assert experiment.edge_fit is not None
    rows, findings = [], []
    for name in experiment.edge_fit.models:
        groups = {
            p: results.select("edge-fit", p, model=name)
            for p in ("federated", "zero-shot", "local-only", "centralised")
        }
        title = groups["federated"].first("model_title", name)
        for question, mine, theirs in _QUESTIONS:
            found = difference(
                groups[mine], groups[theirs], scope_of(mine), scope_of(theirs), experiment.report.bootstrap
            )
            row: dict[str, object] = {"Model": title, "Edge-FIT": question}
            for metric, column in SHOWN.items():
                row[f"{column}, difference"] = found.get(metric, NOT_RUN)
            f1 = found.get("f1_macro")
            row["Reading"] = read(f1)
            row["note"] = "" if found else "; ".join(_missing(experiment, groups, (mine, theirs)))
            rows.append(row)
            findings.append(f"{title}: {_sentence(question, f1)}")
    frame = pd.DataFrame(rows)
    frame.attrs["findings"] = findings
    return frame


def difference(mine: Group, theirs: Group, scope: str, other: str, draws: int) -> dict[str, Estimate]:
    """Return, by metric, the mean over seeds of mine less theirs; nothing where there is no pair of finished runs.

    A run whose procedure has a single seed (zero-shot) stands against every seed. The ends of the interval are the
    bootstrap's over test rows, each averaged over seeds, which share one test set.
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
        sd = float(frame["value"].std(ddof=1)) if len(frame) > 1 else None
        ends = float(frame["low"].mean()), float(frame["high"].mean())
        estimates[metric] = Estimate(float(frame["value"].mean()), *ends, sd, len(frame))
    return estimates


def read(estimate: Estimate | None) -> str:
    """Return whether an interval says that a difference is there."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return NOT_RUN
    if estimate.low <= 0 <= estimate.high:
        return OPEN
    return HIGHER if estimate.value > 0 else LOWER


def _sentence(question: str, estimate: Estimate | None) -> str:
    if estimate is None:
        return f"{question}: {NOT_RUN}."
    kind, _, other = question.rpartition(" ")
    place = {HIGHER: "above", LOWER: "below", OPEN: "not shown to differ from"}[read(estimate)]
    return f"the federated F1 lies {place} {other} ({kind.split()[0]} {estimate.mean} {estimate.interval})."


def _missing(experiment: Experiment, groups: dict[str, Group], needed: tuple[str, str]) -> Iterator[str]:
    for procedure in needed:
        note = groups[procedure].note(seeds_of(experiment, procedure))
        if note:
            yield f"{procedure}: {note}"
