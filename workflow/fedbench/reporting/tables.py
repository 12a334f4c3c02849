"""The tables of both papers from scores: one function a table, cells are estimates, text or "not run"."""

from collections.abc import Callable, Mapping

import pandas as pd
import pyarrow.parquet as pq

from fedbench.reporting.results import NOT_RUN, Estimate, Group, Measure, Results
from fedbench.reporting.writing import write
from fedbench.spec import Experiment, GsfsSpec

SPLITS = {"train": "Training set", "validation": "Validation set", "test": "Testing set"}
UNITS = {"flow": "flow", "text": "distinct text"}
BASELINE_TITLES = {
    "hist-gradient-boosting": "Gradient boosting (raw columns)",
    "majority": "Majority class",
}
PROCEDURES = {
    "zero-shot": ("Base model", "none (zero-shot)"),
    "local-only": ("Local only (mean over clients)", "each client alone"),
    "centralised": ("Centralised fine-tuning", "all data, one model"),
    "federated": ("Edge-FIT", "FedAvg on LoRA adapters"),
}
EDGE_FIT_ROWS = {  # rows of Edge-FIT Table III
    "Base Llama 2 (7B)": "zero-shot",
    "Local-Only (Avg.)": "local-only",
    "Centralized Fine-Tuning": "centralised",
    "Edge-FIT (Proposed)": "federated",
}

QUALITY = {
    "Precision (macro)": Measure("precision_macro"),
    "Recall (macro)": Measure("recall_macro"),
    "F1 (macro)": Measure("f1_macro"),
    "Precision (weighted)": Measure("precision_weighted"),
    "Recall (weighted)": Measure("recall_weighted"),
    "F1 (weighted)": Measure("f1_weighted"),
    "Accuracy": Measure("accuracy"),
}
LATENCY = {
    "Response latency (ms)": Measure("latency_ms", digits=2),
    "95th percentile (ms)": Measure("latency_p95_ms", digits=2),
    "Requests a minute": Measure("requests_per_minute", digits=1),
}


def _per_minute(seconds: float) -> float:
    return 60 / seconds


def _mebibytes(size: float) -> float:
    return size / 2**20


STRATEGY = {
    "Accuracy, central": Measure("accuracy"),
    "Accuracy, client": Measure("accuracy", "client"),
    "F1 (macro), central": Measure("f1_macro"),
    "F1 (macro), client": Measure("f1_macro", "client"),
    "F1 (weighted), central": Measure("f1_weighted"),
    "F1 (weighted), client": Measure("f1_weighted", "client"),
    "Latency, central (s, modelled)": Measure("central_seconds", digits=2),
    "Latency, client (s, modelled)": Measure("client_seconds", "client", digits=2),
    "Requests a minute, central (modelled)": Measure("central_seconds", digits=2, convert=_per_minute),
    "Requests a minute, client (modelled)": Measure("client_seconds", "client", digits=2, convert=_per_minute),
    "Uploaded (MiB)": Measure("bytes_up", digits=2, convert=_mebibytes),
}
PEAK_MEMORY = Measure("peak_rss_bytes", digits=0, convert=_mebibytes)


def gsfs(experiment: Experiment) -> GsfsSpec:
    """Return the GSFS part of an experiment that has one."""
    assert experiment.gsfs is not None, "this table needs `gsfs`"
    return experiment.gsfs


def split_sizes(results: Results) -> pd.DataFrame:
    """Return rows, distinct texts and classes of each split of the IoT-23 data set; empty where it was not built."""
    path = results.folder / "data" / "iot23" / "dataset.parquet"
    if not path.is_file():
        return pd.DataFrame(columns=["rows", "texts", "classes"])
    frame: pd.DataFrame = pq.read_table(path, columns=["split", "text_id", "label"]).to_pandas()
    by_split = frame.groupby("split", observed=True)
    return by_split.agg(rows=("label", "size"), texts=("text_id", "nunique"), classes=("label", "nunique"))


def gsfs_table1(experiment: Experiment, results: Results) -> pd.DataFrame:
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


def gsfs_table2(experiment: Experiment, results: Results) -> pd.DataFrame:
    """GSFS Table II: models fine-tuned centrally, classical baselines on the raw columns beside them."""
    spec = gsfs(experiment)
    rows = []
    for procedure, names in (("centralised", spec.models), ("baseline", spec.baselines)):
        for name in names:
            group = results.select("gsfs", procedure, model=name)
            title = group.first("model_title", BASELINE_TITLES.get(name, name))
            for unit in UNITS:
                rows.append(
                    _row({"Model": title, "per": UNITS[unit]}, group, {**QUALITY, **LATENCY}, unit, spec.central_seeds)
                )
    return pd.DataFrame(rows)


def gsfs_table3(experiment: Experiment, results: Results) -> pd.DataFrame:
    """GSFS Table III: strategies on one model; times come from the virtual clock and are modelled."""
    spec = gsfs(experiment)
    rows = []
    for name in spec.strategies:
        group = results.select("gsfs", "federated", strategy=name)
        for unit in UNITS:
            head = {"Strategy": group.first("strategy_title", name), "per": UNITS[unit]}
            rows.append(_row(head, group, STRATEGY, unit, spec.seeds))
    return pd.DataFrame(rows)


def edge_fit_table3(experiment: Experiment, results: Results) -> pd.DataFrame:
    """Edge-FIT Table III: the four procedures for each model."""
    assert experiment.edge_fit is not None, "this table needs `edge_fit`"
    spec = experiment.edge_fit
    rows = []
    for name in spec.models:
        for procedure in spec.procedures:
            group = results.select("edge-fit", procedure, model=name)
            scope = edge_fit_scope(procedure)
            measures = {key: Measure(m.metric, scope, m.digits) for key, m in QUALITY.items()}
            measures = {"Accuracy": measures.pop("Accuracy"), **measures, "Unparsed": Measure("unparsed", scope)}
            variant, method = PROCEDURES[procedure]
            head = {"Model": group.first("model_title", name), "Model variant": variant, "Training method": method}
            rows.append(_row(head, group, measures, "record", edge_fit_seeds(experiment, procedure)))
    return pd.DataFrame(rows)


def edge_fit_table4(experiment: Experiment, results: Results) -> pd.DataFrame:
    """Edge-FIT Table IV: client memory beside F1; GPU memory reads "not run" where no run had a GPU."""
    assert experiment.edge_fit is not None, "this table needs `edge_fit`"
    rows = []
    for name in experiment.edge_fit.models:
        groups = {p: results.select("edge-fit", p, model=name) for p in ("zero-shot", "centralised", "federated")}
        federated = groups["federated"]
        notes = [f"{p}: {note}" for p, group in groups.items() if (note := group.note(edge_fit_seeds(experiment, p)))]
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


def edge_fit_scope(procedure: str) -> str:
    """Return the scope that a procedure is judged by: local-only is the mean over the clients' own models."""
    return "client" if procedure == "local-only" else "central"


def edge_fit_seeds(experiment: Experiment, procedure: str) -> list[int]:
    """Return the seeds that a procedure runs; zero-shot trains nothing and runs the first only."""
    assert experiment.edge_fit is not None
    return experiment.edge_fit.seeds[:1] if procedure == "zero-shot" else experiment.edge_fit.seeds


def _row(
    head: Mapping[str, str], group: Group, measures: Mapping[str, Measure], unit: str, seeds: list[int]
) -> dict[str, object]:
    """Return one row: its head, the number of seeds, a cell a measure, and a note on what did not run.

    Usage is scored once a run, so only the first unit's row shows it.
    """
    shown = {
        column: "" if unit == "text" and measure.is_usage else group.cell(measure, unit)
        for column, measure in measures.items()
    }
    return {**head, "seeds": len(group.finished), **shown, "note": group.note(seeds)}


PAPER_TABLES: dict[str, Callable[[Experiment, Results], pd.DataFrame]] = {
    "gsfs-table1": gsfs_table1,
    "gsfs-table2": gsfs_table2,
    "gsfs-table3": gsfs_table3,
    "edge-fit-table3": edge_fit_table3,
    "edge-fit-table4": edge_fit_table4,
}

__all__ = ["PAPER_TABLES", "edge_fit_table3", "edge_fit_table4", "gsfs_table1", "gsfs_table2", "gsfs_table3", "write"]
