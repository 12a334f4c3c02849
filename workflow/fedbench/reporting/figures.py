"""The figures by name, drawn in the house style; the same data draw the same bytes."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from fedbench.reporting import edge_fit_figures, gsfs_figures, loss_curves
from fedbench.reporting.drawing import STYLE, save
from fedbench.reporting.results import Results
from fedbench.spec import Experiment

FIGURES: dict[str, Callable[[Experiment, Results, Path], Figure]] = {
    "gsfs-fig2": gsfs_figures.losses,
    "gsfs-strategies": gsfs_figures.accuracy_against_bytes,
    "gsfs-budget": gsfs_figures.budget,
    "gsfs-uploads": gsfs_figures.uploads,
    "edge-fit-rounds": edge_fit_figures.rounds,
    "edge-fit-bars": edge_fit_figures.bars,
    "edge-fit-clients": edge_fit_figures.clients,
}


def draw(name: str, experiment: Experiment, results: Results, published: Path) -> Figure:
    """Draw one of `FIGURES` in the house style."""
    with matplotlib.rc_context(STYLE):
        return FIGURES[name](experiment, results, published)


def draw_run(history: pd.DataFrame, title: str) -> Figure:
    """Draw the loss curves of one run in the house style."""
    with matplotlib.rc_context(STYLE):
        return loss_curves.of_run(history, title)


__all__ = ["FIGURES", "draw", "draw_run", "save"]
