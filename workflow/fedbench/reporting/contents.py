"""Which tables and figures an experiment has; light to import, so that the engine can ask before any job."""

from fedbench.reporting.captions import FIGURES, TABLES, studies, synthetic
from fedbench.spec import Experiment

FROM_SCORES = frozenset({"gsfs-strategies", "edge-fit-bars", "edge-fit-clients"})
"""The figures that read no history of a run."""


def table_names(experiment: Experiment) -> list[str]:
    """Return the names of the experiment's tables; each of a paper's tables is followed by the one with verdicts."""
    names = [name for table in TABLES for name in ([table, f"{table}-verdict"] if "-table" in table else [table])]
    hidden = set()
    if synthetic(experiment, "gsfs"):  # nothing is published about data that the project makes itself
        hidden.add("captures")
    if not (experiment.gsfs and experiment.gsfs.prompts):
        hidden.add("gsfs-prompts")
    if not (experiment.gsfs and experiment.gsfs.groups):
        hidden.add("gsfs-groups")
    if not (experiment.edge_fit and experiment.edge_fit.variants):
        hidden.add("edge-fit-variants")
    if not (experiment.edge_fit and {"federated", "zero-shot"} <= set(experiment.edge_fit.procedures)):
        hidden.add("edge-fit-gains")
    return _present([name for name in names if name not in hidden], experiment)


def figure_names(experiment: Experiment) -> list[str]:
    """Return the names of the experiment's figures."""
    hidden = set() if experiment.edge_fit and experiment.edge_fit.score_clients else {"edge-fit-clients"}
    return _present([name for name in FIGURES if name not in hidden], experiment)


def _present(names: list[str], experiment: Experiment) -> list[str]:
    parts = {"gsfs": experiment.gsfs, "edge-fit": experiment.edge_fit}
    return [name for name in names if any(parts[study] is not None for study in studies(name))]
