"""Prompt management: what each way of writing a flow costs in tokens and time, and scores (GSFS III-A, module 3)."""

from collections.abc import Sequence

import pandas as pd

from fedbench.reporting.measures import LATENCY, QUALITY, UNITS, gsfs, row
from fedbench.reporting.results import NOT_RUN, Estimate, Group, Results
from fedbench.spec import Experiment


def table(experiment: Experiment, results: Results) -> pd.DataFrame:
    """Return a row a template and unit: tokens a flow, texts that were cut, latency and scores."""
    spec = gsfs(experiment)
    runs = results.select("gsfs", "prompt").runs
    rows = []
    for template in spec.prompts:
        group = Group(results, runs[runs["label"].str.startswith(f"gsfs-prompt-{template}-")])
        for unit in UNITS:
            head = {"Template": _title(template, group), "per": UNITS[unit]}
            cells = row(head, group, {**LATENCY, **QUALITY}, unit, spec.central_seeds)
            costs = _costs(group) if unit == "flow" else {"Tokens a flow": "", "Texts cut": ""}
            seeds = cells.pop("seeds")
            rows.append({**{key: cells.pop(key) for key in head}, "seeds": seeds, **costs, **cells})
    return pd.DataFrame(rows)


def _title(template: str, group: Group) -> str:
    """Return the template, and which one `budget` came down to."""
    used = group.finished["template"].dropna().unique() if "template" in group.finished else []
    return f"{template} ({', '.join(used)})" if template == "budget" and len(used) else template


def _costs(group: Group) -> dict[str, object]:
    return {
        "Tokens a flow": _mean(group.finished.get("prompt_tokens"), 1),
        "Texts cut": _mean(group.finished.get("truncated_texts"), 0),
    }


def _mean(values: Sequence[float] | None, digits: int) -> object:
    known = [] if values is None else [float(value) for value in values if value == value]
    return Estimate(sum(known) / len(known), digits=digits) if known else NOT_RUN
