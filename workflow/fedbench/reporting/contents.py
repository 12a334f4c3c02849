"""Which tables and figures an experiment has; light to import, so that the engine can ask before any job."""

from fedbench.reporting.captions import FIGURES, TABLES, studies, synthetic
from fedbench.spec import Experiment


def table_names(experiment: Experiment) -> list[str]:
    """Return the names of the experiment's tables; each of a paper's tables is followed by the one with verdicts."""
    names = [name for table in TABLES for name in ([table, f"{table}-verdict"] if "-table" in table else [table])]
    hidden = set()
    if synthetic(experiment, "gsfs"):  # nothing is published about data that the project makes itself
        hidden.add("captures")
    if not (experiment.gsfs and experiment.gsfs.prompts):
        hidden.add("gsfs-prompts")
    return _present([name for name in names if name not in hidden], experiment)


def figure_names(experiment: Experiment) -> list[str]:
    """Return the names of the experiment's figures."""
    return _present(list(FIGURES), experiment)


def _present(names: list[str], experiment: Experiment) -> list[str]:
    parts = {"gsfs": experiment.gsfs, "edge-fit": experiment.edge_fit}
    return [name for name in names if any(parts[study] is not None for study in studies(name))]
