"""Groups of strategies beside a base one: the ablations of GSFS, the modules of the paper's Figure 1."""

from dataclasses import replace

import pandas as pd

from fedbench.reporting.contrasts import costs, difference, reading
from fedbench.reporting.measures import first_partition, gsfs
from fedbench.reporting.results import NOT_RUN, Estimate, Group, Measure, Results, over_seeds
from fedbench.spec import Experiment

_CENTRAL, _CLIENT, _F1 = Measure("accuracy"), Measure("accuracy", "client"), Measure("f1_macro")


def table(experiment: Experiment, results: Results) -> pd.DataFrame:
    """Return a row a strategy, the base of its group first; the difference is of the global model's accuracy."""
    spec = gsfs(experiment)
    seeds, partition = spec.group_seeds or spec.seeds, first_partition(spec)
    rows = []
    for about in spec.groups.values():
        base = results.select("gsfs", "federated", strategy=about.base, partition=partition).of_seeds(seeds)
        for name in (about.base, *about.strategies):
            group = results.select("gsfs", "federated", strategy=name, partition=partition).of_seeds(seeds)
            against: dict[str, object] = {"Accuracy less the base": "", "Reading": ""}
            if name != about.base:
                found = difference(group, base, "central", "central", experiment.report.bootstrap).get("accuracy")
                against = {"Accuracy less the base": found or NOT_RUN, "Reading": reading(found)}
            rows.append(
                {
                    "About": about.title,
                    "Strategy": group.first("strategy_title", name),
                    "seeds": len(group.finished),
                    "Accuracy, central": group.cell(_CENTRAL, "flow"),
                    **against,
                    "Accuracy, validation": _validation(group, "accuracy"),
                    "Loss, validation": _validation(group, "loss"),
                    "Accuracy, client": group.cell(_CLIENT, "flow"),
                    "F1 (macro), central": group.cell(_F1, "flow"),
                    **costs(group, "flow"),
                    "note": group.note(seeds),
                }
            )
    return pd.DataFrame(rows)


def _validation(group: Group, column: str) -> Estimate | str:
    """Return what the last global version reached on the server's validation set, by which a setting may be chosen."""
    found = []
    for _, history in group.histories():
        server = history[(history["client"] == -1) & history[column].notna()].sort_values("round", kind="stable")
        found += server[column].tolist()[-1:]
    mean = over_seeds(found)
    return NOT_RUN if mean is None else replace(mean, low=None, high=None)  # the table's brackets are over test rows
