"""Tables III and IV of the Edge-FIT paper, from scores."""

import pandas as pd

from fedbench.reporting.measures import PEAK_MEMORY, PROCEDURES, QUALITY, row
from fedbench.reporting.results import NOT_RUN, Estimate, Group, Measure, Results
from fedbench.spec import Experiment


def table3(experiment: Experiment, results: Results) -> pd.DataFrame:
    """Edge-FIT Table III: the four procedures for each model."""
    assert experiment.edge_fit is not None, "this table needs `edge_fit`"
    spec = experiment.edge_fit
    rows = []
    for name in spec.models:
        for procedure in spec.procedures:
            group = results.select("edge-fit", procedure, model=name)
            scope = scope_of(procedure)
            measures = {key: Measure(m.metric, scope, m.digits) for key, m in QUALITY.items()}
            measures = {"Accuracy": measures.pop("Accuracy"), **measures, "Unparsed": Measure("unparsed", scope)}
            variant, method = PROCEDURES[procedure]
            head = {"Model": group.first("model_title", name), "Model variant": variant, "Training method": method}
            rows.append(row(head, group, measures, "record", seeds_of(experiment, procedure)))
    return pd.DataFrame(rows)


def table4(experiment: Experiment, results: Results) -> pd.DataFrame:
    """Edge-FIT Table IV: client memory beside F1; GPU memory reads "not run" where no run had a GPU."""
    assert experiment.edge_fit is not None, "this table needs `edge_fit`"
    rows = []
    for name in experiment.edge_fit.models:
        groups = {p: results.select("edge-fit", p, model=name) for p in ("zero-shot", "centralised", "federated")}
        federated = groups["federated"]
        notes = [f"{p}: {note}" for p, group in groups.items() if (note := group.note(seeds_of(experiment, p)))]
        vram = client_vram(federated)
        if vram is None:
            notes.append("GPU memory: not run: no federated run on a GPU")
        rows.append(
            {
                "Model": federated.first("model_title", groups["zero-shot"].first("model_title", name)),
                "Quantisation": federated.first("quantisation", NOT_RUN),
                "Client VRAM (GiB)": vram or NOT_RUN,
                "Peak resident memory, whole process (MiB)": federated.cell(PEAK_MEMORY, "record"),
                "Base F1 (zero-shot)": groups["zero-shot"].cell(Measure("f1_macro"), "record"),
                "Centralised F1": groups["centralised"].cell(Measure("f1_macro"), "record"),
                "Edge-FIT F1": federated.cell(Measure("f1_macro"), "record"),
                "note": "; ".join(notes),
            }
        )
    return pd.DataFrame(rows)


def client_vram(group: Group) -> Estimate | None:
    """Return the peak GPU memory of the runs in GiB, None where none had a GPU."""
    peaks = group.finished["peak_vram_bytes"].dropna()
    return Estimate(float(peaks.mean()) / 2**30, seeds=len(peaks), digits=1) if len(peaks) else None


def scope_of(procedure: str) -> str:
    """Return the scope that a procedure is judged by: local-only is the mean over the clients' own models."""
    return "client" if procedure == "local-only" else "central"


def seeds_of(experiment: Experiment, procedure: str) -> list[int]:
    """Return the seeds that a procedure runs; zero-shot trains nothing and runs the first only."""
    assert experiment.edge_fit is not None
    return experiment.edge_fit.seeds[:1] if procedure == "zero-shot" else experiment.edge_fit.seeds
