"""What federation gains and what it costs in F1: Edge-FIT beside the other procedures, row by row of the test set."""

from collections.abc import Iterator

import pandas as pd

from fedbench.reporting.contrasts import HIGHER, LOWER, OPEN, difference, reading
from fedbench.reporting.edge_fit_tables import scope_of, seeds_of
from fedbench.reporting.results import NOT_RUN, Estimate, Group, Results
from fedbench.spec import Experiment

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
            row["Reading"] = reading(f1)
            row["note"] = "" if found else "; ".join(_missing(experiment, groups, (mine, theirs)))
            rows.append(row)
            findings.append(f"{title}: {_sentence(question, f1)}")
    frame = pd.DataFrame(rows)
    frame.attrs["findings"] = findings
    return frame


def _sentence(question: str, estimate: Estimate | None) -> str:
    if estimate is None:
        return f"{question}: {NOT_RUN}."
    kind, _, other = question.rpartition(" ")
    place = {HIGHER: "lies above", LOWER: "lies below", OPEN: "is not shown to differ from"}[reading(estimate)]
    return f"the federated F1 {place} {other} ({kind.split()[0]} {estimate.mean} {estimate.interval})."


def _missing(experiment: Experiment, groups: dict[str, Group], needed: tuple[str, str]) -> Iterator[str]:
    for procedure in needed:
        note = groups[procedure].note(seeds_of(experiment, procedure))
        if note:
            yield f"{procedure}: {note}"
