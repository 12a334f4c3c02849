"""The entry points: every table, figure and the page of an experiment, together or one by one."""

from pathlib import Path
from typing import Any

import pandas as pd

from fedbench.errors import FedbenchError
from fedbench.files import read_json
from fedbench.reporting import captions, ledgers, memory_table
from fedbench.reporting import figures as drawing
from fedbench.reporting import page as summary
from fedbench.reporting.audit import audit
from fedbench.reporting.budget import budget
from fedbench.reporting.comparisons import PAPER_COMPARISONS
from fedbench.reporting.contents import figure_names, table_names
from fedbench.reporting.results import Results
from fedbench.reporting.tables import PAPER_TABLES
from fedbench.reporting.verdicts import judge, read_published
from fedbench.reporting.writing import write
from fedbench.spec import Experiment, RunSpec

PUBLISHED = Path("config/published")


def tables(experiment: Experiment, results: Path, published: Path = PUBLISHED) -> None:
    """Write every table of the experiment to `results`/tables as .md, .csv, .tex and .html.

    Args:
        experiment: the experiment.
        results: its folder, results/<experiment>.
        published: folder of the papers' printed values, <paper>.csv, in the configuration folder.
    """
    for name in table_names(experiment):
        table(name, experiment, results, published)


def table(name: str, experiment: Experiment, results: Path, published: Path = PUBLISHED) -> None:
    """Write one table; see `table_names`."""
    _check(name, table_names(experiment), "table", experiment)
    if name.endswith("-audit"):  # of what the papers print: it needs no run of ours
        frame = audit(published, captions.studies(name)[0])
    elif name.endswith("-memory"):  # of shapes: it needs none either
        frame = memory_table.table(experiment, published.parent)
    else:
        frame = table_frame(name, experiment, Results.read(results), published)
    write(frame, results / "tables" / name, captions.table(experiment, name))


def table_frame(name: str, experiment: Experiment, results: Results, published: Path = PUBLISHED) -> pd.DataFrame:
    """Return one table; its cells are estimates, text or "not run"."""
    paper = name.removesuffix("-verdict")
    if paper != name:
        values = read_published(published, captions.studies(name)[0])
        return judge(PAPER_COMPARISONS[paper](experiment, results, values), experiment.report.tolerance)
    if name in PAPER_TABLES:
        return PAPER_TABLES[name](experiment, results)
    if name.startswith("data-"):
        return ledgers.data_ledger(results, name.removeprefix("data-"))
    if name == "gsfs-budget":
        return budget(experiment, results)
    return {"captures": ledgers.captures, "leakage": ledgers.leakage, "runs": ledgers.runs}[name](results)


def figure(name: str, experiment: Experiment, results: Path, published: Path = PUBLISHED) -> None:
    """Write one figure to `results`/figures as .svg and .png."""
    _check(name, figure_names(experiment), "figure", experiment)
    drawn = drawing.draw(name, experiment, Results.read(results), published)
    drawing.save(drawn, results / "figures" / name, synthetic=captions.is_synthetic(experiment, name))


def figures(experiment: Experiment, results: Path, published: Path = PUBLISHED) -> None:
    """Write every figure of the experiment to `results`/figures."""
    for name in figure_names(experiment):
        figure(name, experiment, results, published)


def loss_curve(run: Path, stem: Path) -> None:
    """Write `stem`.svg and .png: the loss curves of one run, from its folder."""
    spec = RunSpec.model_validate(read_json(run / "manifest.json")["run"])
    drawn = drawing.draw_run(pd.read_parquet(run / "history.parquet"), spec.label)
    drawing.save(drawn, stem, synthetic=spec.synthetic)


def page(experiment: Experiment, results: Path, config_text: str, provenance: dict[str, Any]) -> Path:
    """Write `results`/summary.html from the tables and figures already written, and return its path."""
    return summary.write(
        experiment, Results.read(results), table_names(experiment), figure_names(experiment), config_text, provenance
    )


def _check(name: str, known: list[str], kind: str, experiment: Experiment) -> None:
    if name not in known:
        raise FedbenchError(
            f"no {kind} {name!r} in experiment {experiment.experiment!r}", remedy=f"Use one of: {', '.join(known)}."
        )
