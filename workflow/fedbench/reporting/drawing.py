"""What every figure shares: palette, style, panels, curves with their spread, and files that come out the same."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedbench.files import atomic
from fedbench.reporting.results import Estimate

# Okabe and Ito's palette, told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "os^Dv<>PX"
STYLE: dict[Any, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "svg.hashsalt": "fedbench",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
}


def save(figure: Figure, stem: Path, *, synthetic: bool) -> None:
    """Write `stem`.svg and .png, the same bytes for the same data; synthetic data are named in the picture."""
    if synthetic:
        figure.text(0.995, 0.01, "synthetic data", ha="right", va="bottom", fontsize=7, color="#B35900", style="italic")
    with matplotlib.rc_context(STYLE):
        for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
            with atomic(stem.with_name(stem.name + suffix)) as partial:
                figure.savefig(partial, metadata=metadata)
            figure.set_layout_engine("none")  # laid out once: both files place everything alike


def canvas(width: float, height: float, rows: int, columns: int, **options: Any) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure, not known to pyplot, with rows of panels; width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, [list(row) for row in figure.subplots(rows, columns, squeeze=False, **options)]


def colours() -> Iterator[str]:
    """Yield the palette, again and again."""
    yield from itertools.cycle(COLOURS)


def markers() -> Iterator[str]:
    """Yield the markers; their number is prime to that of the colours, so a pair of both does not soon come again."""
    yield from itertools.cycle(MARKERS)


def label(panel: Axes, title: str, x: str, y: str, hint: str = "", *, legend: bool = True) -> None:
    """Give a panel its title, axes and, unless the figure has one legend for all panels, a legend."""
    panel.set_title(title, fontsize=10, fontweight="bold", loc="left")
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    if legend and panel.get_legend_handles_labels()[0]:
        panel.legend(title=hint or None, title_fontsize=7, fontsize=8, frameon=False, alignment="left")


def shared_legend(figure: Figure, panels: Sequence[Axes], columns: int, hint: str = "") -> None:
    """Put one legend below all panels, each label once."""
    entries: dict[str, Any] = {}
    for panel in panels:
        for handle, text in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(text, handle)
    if entries:
        title = {"title": hint, "title_fontsize": 8} if hint else {}
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, **title)


def band(panel: Axes, curves: Sequence["pd.Series[float]"], colour: str, style: str, text: str | None) -> None:
    """Draw the mean of the curves and the range between the lowest and the highest."""
    frame = pd.concat(list(curves), axis=1).sort_index()
    x = frame.index.to_numpy()
    point = "o" if len(x) == 1 else ""  # a line through one point is invisible
    panel.plot(x, frame.mean(axis=1), style, marker=point, color=colour, label=text, alpha=1 if style == "-" else 0.7)
    if len(curves) > 1:
        panel.fill_between(x, frame.min(axis=1), frame.max(axis=1), color=colour, alpha=0.13, linewidth=0)


def whisker(panel: Axes, x: float, estimate: Estimate) -> None:
    """Draw the interval of an estimate over its bar."""
    if estimate.low is not None and estimate.high is not None:
        ends = np.array([[estimate.value - estimate.low], [estimate.high - estimate.value]]).clip(min=0)
        panel.errorbar(x, estimate.value, yerr=ends, color="#333333", capsize=3, linewidth=1.2)


def empty(reason: str) -> Figure:
    """Return a figure that says why there is nothing to show."""
    figure, ((panel,),) = canvas(6, 2, 1, 1)
    panel.set_axis_off()
    panel.text(0.5, 0.5, f"not run: {reason}", ha="center", va="center", color="#777777", transform=panel.transAxes)
    return figure
