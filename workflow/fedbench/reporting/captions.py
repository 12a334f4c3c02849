"""What each table and figure shows, in a sentence or two; synthetic data are named in every caption."""

from fedbench.spec import Experiment, Study, TrainingSpec

SYNTHETIC = "Synthetic data, made by this project: nothing here is a finding about the real data set."
STUDIES: dict[Study, str] = {"gsfs": "GSFS", "edge-fit": "Edge-FIT"}
_SPREAD = "± is the standard deviation over seeds, brackets hold the bootstrap 95 % interval over test rows."

TABLES = {
    "gsfs-table1": "GSFS Table I: the parts of the IoT-23 data set.",
    "gsfs-table2": "GSFS Table II: models fine-tuned on all data, classical baselines on the raw columns beside them, "
    f"scored per flow and per distinct text. {_SPREAD} Latency is a request at batch size 1 on the machine at hand.",
    "gsfs-table3": "GSFS Table III: federated strategies; central is the global model, client the mean over clients' "
    f"own models, the worst client the one whose own model scores lowest. {_SPREAD} Latencies come from the virtual "
    "clock of the hardware tiers: modelled, not measured. Bytes are of all clients, counted as serialised.",
    "gsfs-budget": "GSFS, quality under a budget and cost to a target: accuracy on the server's validation set, not on "
    "the test set, of the newest global version that {traffic} or modelled seconds allow, and what had been spent when "
    "a version first reached a target. Mean over seeds, ± standard deviation, brackets hold Student's 95 % interval "
    "over seeds, cut off at what can be; differences are seed by seed, without correction for their number. Seconds "
    "come from the virtual clock: modelled, not measured.",
    "gsfs-groups": "GSFS, more strategies beside a base one, over the first partition: its ablations, the modules of "
    "the paper's Figure 1. Differences are on the same test flows, seed by seed. Validation is of the last version, on "
    f"the server's set: a setting may be chosen by it, never by the test columns. {_SPREAD} Bytes are of all clients, "
    "as serialised; seconds come from the virtual clock: modelled, not measured.",
    "gsfs-prompts": "GSFS, prompt management: one model trained centrally on each way of writing a flow; tokens are "
    f"the mean over flows, before cutting. {_SPREAD} Latency is a request at batch size 1 on the machine at hand.",
    "edge-fit-table3": f"Edge-FIT Table III: four ways to adapt one model, scored on held-out closed-label records; an "
    f"unparsed answer is wrong. {_SPREAD}",
    "edge-fit-table4": f"Edge-FIT Table IV: client memory beside F1 (macro). {_SPREAD} Peak resident memory is of the "
    "whole simulation on the machine at hand, not of one client's GPU.",
    "edge-fit-gains": "Edge-FIT: F1 and accuracy of the federated model less those of the other procedures, on the "
    "same test records. ± is the standard deviation over seeds, brackets hold a 95 % interval: a bootstrap that "
    "resamples the records of both together, widened by the spread over seeds. A difference whose interval holds zero "
    "is undecided.",
    "edge-fit-variants": "Edge-FIT with one thing changed at a time, as the configuration says; differences are on the "
    f"same test records, seed by seed. {_SPREAD} Bytes are of all clients as serialised; seconds come from the virtual "
    "clock: modelled, not measured; memory is of the whole simulation on the machine at hand. The bias is "
    "the norm of mean(BA) - mean(B) mean(A) over that of mean(BA), mean over rounds: what averaging the factors apart "
    "misses; the aggregations `stacked` and `exact` keep it, `ffa` has none.",
    "edge-fit-memory": "GPU memory of a client's training step, predicted from the shape of each model ({method}), "
    "with and without gradient checkpointing: weights, constants of the quantisation, adapters, gradients, optimiser "
    "state, activations at their peak, workspace of cuBLAS. Fits: the sum lies below the tier's memory less "
    "{reserve:g} GB; in brackets the largest batch of that length that does. Measured: torch's peak allocated and "
    "reserved memory.",
    "data-iot23": "What each step of the IoT-23 pipeline did to the rows of each class.",
    "captures": "What was parsed of each capture of IoT-23, beside the counts published for it, in all and by class. "
    "Parsed are all rows read, before a flow that was read twice is dropped; not published: no such count was found.",
    "data-dolly": "What each step of the Dolly pipeline did to the rows of each category.",
    "leakage": "Leakage: how far a score can be believed. IoT-23, by split protocol: the share of test rows whose "
    "feature text is also in train, and the accuracy of memorising it, of the label of the nearest training text, and "
    "of the most frequent label. Dolly, by part of the test set: ROUGE-L between a test instruction and the training "
    "instruction nearest to it (median, and the share at or above 0.5 and 0.7); on the closed-label records, which are "
    "the scored ones, the accuracy of the label of the nearest one and of the most frequent label of the same set.",
    "gsfs-audit": "GSFS, the paper's own numbers: {audit}",
    "edge-fit-audit": "Edge-FIT, the paper's own numbers: {audit}",
    "runs": "Every run: how it ended, seconds and peak resident memory on the machine at hand.",
}
_AUDIT = (
    "each printed value beside the same one computed from other printed ones. holds: it rounds to the printed one; "
    "within rounding: only if the values that it comes from were rounded the other way; does not hold: neither. Rules "
    "with an “if” are no claims of the paper: they tell how it averaged."
)
_VERDICT = (
    " Published values beside ours. reproduced: our interval covers it; close: within {tolerance:g}; differs; not "
    "comparable: another model, data or hardware, named in the reason; not run."
)
FIGURES = {
    "gsfs-fig2": "GSFS Figure 2: loss curves. Left: models fine-tuned on all data; right: the federated strategies, "
    "mean over seeds with their range.",
    "gsfs-strategies": "Accuracy of each strategy against the bytes its clients uploaded. Small points are seeds, "
    "large points their mean; bars are bootstrap 95 % intervals over test rows. Strategies are drawn a little apart.",
    "gsfs-budget": "Validation accuracy of the newest global version against bytes (left) and modelled seconds "
    "(right). Lines are the mean over seeds, as far as every seed got; bands their range; points the ends of seeds.",
    "gsfs-uploads": "Who uploaded when, and which trigger fired, in the first seed of each strategy; titles count the "
    "uploads among the times that a client was asked. Of strategies in which all who are asked upload, one is shown.",
    "edge-fit-rounds": "Edge-FIT round by round: mean over seeds with their range.",
    "edge-fit-clients": "F1 (macro) over the whole test set of each client's own model: trained alone, and as it "
    "left its last federated round; the first seed, with bootstrap 95 % intervals. Lines are the global model and "
    "centralised training.",
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
    "gsfs-budget": "Quality under a budget, cost to a target",
    "gsfs-groups": "Ablations and modules",
    "gsfs-prompts": "Prompt management",
    "gsfs-audit": "GSFS: what holds and what does not",
    "edge-fit-audit": "Edge-FIT: what holds and what does not",
    "edge-fit-table3": "Table III: procedures",
    "edge-fit-table4": "Table IV: memory and F1",
    "edge-fit-memory": "GPU memory of a training step",
    "edge-fit-gains": "What federation gains",
    "edge-fit-variants": "Variants, one change at a time",
    "edge-fit-rounds": "Round by round",
    "edge-fit-clients": "F1 of each client's own model",
    "edge-fit-bars": "F1 of the four procedures",
    "data-iot23": "IoT-23, step by step",
    "captures": "Captures of IoT-23, parsed and published",
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
    if name.startswith("gsfs") or name in ("data-iot23", "captures"):
        return ("gsfs",)
    return ("edge-fit",) if name.startswith(("edge-fit", "data-dolly")) else ("gsfs", "edge-fit")


def synthetic(experiment: Experiment, study: str) -> bool:
    """Return whether the data of a study are synthetic."""
    if study == "gsfs":
        return experiment.gsfs is not None and experiment.gsfs.flows.source.kind == "synthetic"
    return experiment.edge_fit is not None and experiment.edge_fit.instructions.source.kind == "synthetic"


def is_synthetic(experiment: Experiment, name: str) -> bool:
    """Return whether a table or figure shows anything from synthetic data."""
    return not name.endswith(("-audit", "-memory")) and any(synthetic(experiment, study) for study in studies(name))


def table(experiment: Experiment, name: str) -> str:
    """Return the caption of a table, e.g. `gsfs-table2` or `gsfs-table2-verdict`."""
    paper = name.removesuffix("-verdict")
    traffic = {"both": "bytes up and down", "up": "bytes uploaded"}[experiment.report.traffic]
    text = TABLES[paper].replace("{audit}", _AUDIT).replace("{traffic}", traffic)
    if paper == "edge-fit-memory":
        text = text.format(
            method=_method(experiment.report.memory.training), reserve=experiment.report.memory.reserve_gb
        )
    if paper != name:
        text = text.split(":")[0] + ", verdicts." + _VERDICT.format(tolerance=experiment.report.tolerance)
    return _mark(experiment, name, text)


def _method(training: TrainingSpec) -> str:
    """Return how a model is trained, in a few words."""
    base = {"nf4": f"NF4 with double quantisation, {training.dtype} compute", "none": training.dtype}
    tuned = f"LoRA r {training.lora.r} on attention" if training.adaptation == "lora" else "every weight trained"
    return f"{base[training.quantisation]}, {tuned}, {training.optimizer}"


def figure(experiment: Experiment, name: str) -> str:
    """Return the caption of a figure."""
    return _mark(experiment, name, FIGURES[name])


def _mark(experiment: Experiment, name: str, text: str) -> str:
    """Add what a reader must know of the data: the protocol that scores depend on, and whether they are synthetic."""
    if name.startswith(("gsfs-table2", "gsfs-table3", "gsfs-strategies")) and experiment.gsfs:
        flows = experiment.gsfs.flows
        if name == "gsfs-table3-verdict":
            text += f" Ours is of clients dealt out by {(experiment.gsfs.partitions or [flows.clients.partition])[0]}."
        text += f" Labels: {flows.label}; split: {flows.split.protocol}; template: {experiment.gsfs.template}."
    return f"{text} {SYNTHETIC}" if is_synthetic(experiment, name) else text
