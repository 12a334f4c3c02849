"""Where the columns of our tables find their figures, and how rows are named."""

from collections.abc import Mapping, Sequence

from fedbench.reporting.results import Group, Measure
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
FEDAVG_ROW, GSFS_ROW = "FedAvg", "GSFS (Proposed)"  # rows of GSFS Table III


def _per_minute(seconds: float) -> float:
    return 60 / seconds


def _mebibytes(size: float) -> float:
    return size / 2**20


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
    "Downloaded (MiB)": Measure("bytes_down", digits=2, convert=_mebibytes),
}
PEAK_MEMORY = Measure("peak_rss_bytes", digits=0, convert=_mebibytes)


def gsfs(experiment: Experiment) -> GsfsSpec:
    """Return the GSFS part of an experiment that has one."""
    assert experiment.gsfs is not None, "this table needs `gsfs`"
    return experiment.gsfs


def partitions(spec: GsfsSpec) -> dict[str, str]:
    """Return the partitions over clients that an experiment federates over, by name, with the title of each."""
    clients = spec.flows.clients
    titles = {"iid": "IID", "dirichlet": f"Dirichlet (α = {clients.alpha:g})", "device": "by device"}
    return {name: titles[name] for name in spec.partitions or [clients.partition]}


def first_partition(spec: GsfsSpec) -> str:
    """Return the partition whose results stand beside the paper's."""
    return next(iter(partitions(spec)))


def row(
    head: Mapping[str, str], group: Group, measures: Mapping[str, Measure], unit: str, seeds: Sequence[int]
) -> dict[str, object]:
    """Return one row: its head, the number of seeds, a cell a measure, and a note on what did not run.

    Usage is scored once a run, so only the first unit's row shows it.
    """
    shown = {
        column: "" if unit == "text" and measure.is_usage else group.cell(measure, unit)
        for column, measure in measures.items()
    }
    return {**head, "seeds": len(group.finished), **shown, "note": group.note(seeds)}
