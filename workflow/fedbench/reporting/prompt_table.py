"""Prompt management: what each way of writing a flow costs in tokens and time, and scores (GSFS III-A, module 3)."""

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
    used = sorted(set(group.finished["template"].dropna()))
    return f"{template} ({', '.join(used)})" if template == "budget" and used else template


def _costs(group: Group) -> dict[str, object]:
    return {
        "Tokens a flow": _mean(group.finished["prompt_tokens"], 1),
        "Texts cut": _mean(group.finished["truncated_texts"], 0),
    }


def _mean(values: "pd.Series[float]", digits: int) -> Estimate | str:
    known = values.dropna()
    return Estimate(float(known.mean()), digits=digits) if len(known) else NOT_RUN
