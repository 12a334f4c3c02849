"""Edge-FIT with one thing changed at a time: score, bytes, modelled seconds, memory, and what the change is about."""

from collections.abc import Sequence

import pandas as pd

from fedbench.reporting.contrasts import costs, difference, reading
from fedbench.reporting.results import NOT_RUN, Group, Measure, Results
from fedbench.spec import Experiment


def table(experiment: Experiment, results: Results) -> pd.DataFrame:
    """Return a row a variant and model, the study's own run first; differences are on the same test rows and seeds."""
    assert experiment.edge_fit is not None
    spec = experiment.edge_fit
    rows = []
    for model in spec.models:
        base = results.select("edge-fit", "federated", model=model)
        alike = base.of_seeds(spec.variant_seeds)
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
        against = {"F1 less Edge-FIT": found or NOT_RUN, "Reading": reading(found)}
    return {**head, **scores, **against, **costs(group, "record"), "note": group.note(seeds)}
