"""What each table and figure shows, in a sentence or two; synthetic data are named in every caption."""

from fedbench.spec import Experiment, Study

SYNTHETIC = "Synthetic data, made by this project: nothing here is a finding about the real data set."
STUDIES: dict[Study, str] = {"gsfs": "GSFS", "edge-fit": "Edge-FIT"}
_SPREAD = "± is the standard deviation over seeds, brackets hold the bootstrap 95 % interval over test rows."

TABLES = {
    "gsfs-table1": "GSFS Table I: the parts of the IoT-23 data set.",
    "gsfs-table2": "GSFS Table II: models fine-tuned on all data, classical baselines on the raw columns beside them, "
    f"scored per flow and per distinct text. {_SPREAD} Latency is a request at batch size 1 on the machine at hand.",
    "gsfs-table3": "GSFS Table III: federated strategies; central is the global model, client the mean over clients' "
    f"own models. {_SPREAD} Latencies come from the virtual clock of the hardware tiers: modelled, not measured.",
    "edge-fit-table3": f"Edge-FIT Table III: four ways to adapt one model, scored on held-out closed-label records; an "
    f"unparsed answer is wrong. {_SPREAD}",
    "edge-fit-table4": f"Edge-FIT Table IV: client memory beside F1 (macro). {_SPREAD} Peak resident memory is of the "
    "whole simulation on the machine at hand, not of one client's GPU.",
    "data-iot23": "What each step of the IoT-23 pipeline did to the rows of each class.",
    "data-dolly": "What each step of the Dolly pipeline did to the rows of each category.",
    "leakage": "Leakage: the share of test rows whose feature text is also in train, and what memorising it alone "
    "scores, by split protocol.",
    "runs": "Every run: how it ended, seconds and peak resident memory on the machine at hand.",
}
_VERDICT = (
    " Published values beside ours. reproduced: our interval covers it; close: within {tolerance:g}; differs; not "
    "comparable: another model, data or hardware, named in the reason; not run."
)
FIGURES = {
    "gsfs-fig2": "GSFS Figure 2: loss curves. Left: models fine-tuned on all data; right: the federated strategies, "
    "mean over seeds with their range.",
    "gsfs-strategies": "Accuracy of each strategy against the bytes its clients uploaded. Small points are seeds, "
    "large points their mean; bars are bootstrap 95 % intervals over test rows.",
    "gsfs-uploads": "Who uploaded when, and which trigger fired, in the first seed of each strategy.",
    "edge-fit-rounds": "Edge-FIT round by round.",
    "edge-fit-bars": "F1 (macro) of the four procedures with bootstrap 95 % intervals; diamonds are the paper's values "
    "for Llama 2 (7B).",
}


TITLES = {
    "gsfs-table1": "Table I: data set",
    "gsfs-table2": "Table II: models",
    "gsfs-table3": "Table III: strategies",
    "gsfs-fig2": "Figure 2: loss curves",
    "gsfs-strategies": "Accuracy against bytes uploaded",
    "gsfs-uploads": "Who uploaded when, and why",
    "edge-fit-table3": "Table III: procedures",
    "edge-fit-table4": "Table IV: memory and F1",
    "edge-fit-rounds": "Round by round",
    "edge-fit-bars": "F1 of the four procedures",
    "data-iot23": "IoT-23, step by step",
    "data-dolly": "Dolly, step by step",
    "leakage": "Leakage",
    "runs": "Every run",
}


def title(name: str) -> str:
    """Return the short heading of a table or figure."""
    paper = name.removesuffix("-verdict")
    return TITLES[paper] if paper == name else f"{TITLES[paper].split(':')[0]} beside the published values"


def studies(name: str) -> tuple[str, ...]:
    """Return the studies that a table or figure is about."""
    if name.startswith("gsfs") or name in ("data-iot23", "leakage"):
        return ("gsfs",)
    return ("edge-fit",) if name.startswith(("edge-fit", "data-dolly")) else ("gsfs", "edge-fit")


def synthetic(experiment: Experiment, study: str) -> bool:
    """Return whether the data of a study are synthetic."""
    if study == "gsfs":
        return experiment.gsfs is not None and experiment.gsfs.flows.source.kind == "synthetic"
    return experiment.edge_fit is not None and experiment.edge_fit.instructions.source.kind == "synthetic"


def is_synthetic(experiment: Experiment, name: str) -> bool:
    """Return whether a table or figure shows anything from synthetic data."""
    return any(synthetic(experiment, study) for study in studies(name))


def table(experiment: Experiment, name: str) -> str:
    """Return the caption of a table, e.g. `gsfs-table2` or `gsfs-table2-verdict`."""
    paper = name.removesuffix("-verdict")
    text = TABLES[paper]
    if paper != name:
        text = text.split(":")[0] + ", verdicts." + _VERDICT.format(tolerance=experiment.report.tolerance)
    return _mark(experiment, name, text)


def figure(experiment: Experiment, name: str) -> str:
    """Return the caption of a figure."""
    return _mark(experiment, name, FIGURES[name])


def _mark(experiment: Experiment, name: str, text: str) -> str:
    """Add what a reader must know of the data: the protocol that scores depend on, and whether they are synthetic."""
    if name.startswith(("gsfs-table2", "gsfs-table3", "gsfs-strategies")) and experiment.gsfs:
        flows = experiment.gsfs.flows
        text += f" Labels: {flows.label}; split: {flows.split.protocol}; template: {flows.template}."
    return f"{text} {SYNTHETIC}" if is_synthetic(experiment, name) else text
