"""Loss by step and by round, of one run or of many."""

import json
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedbench.reporting.drawing import COLOURS, band, canvas, empty, label

BY_ROUND = "dashed: training; solid: validation"


def of_run(history: pd.DataFrame, title: str) -> Figure:
    """Draw the losses of one run, whatever its procedure: by round where it was federated, else by step."""
    losses = history[history["loss"].notna()]
    if losses.empty:
        return empty("this run trained nothing, or failed")
    figure, ((panel,),) = canvas(6.4, 3.6, 1, 1)
    if (losses["round"] > 0).any():
        by_round(panel, [losses], COLOURS[0], "loss")
        label(panel, title, "round", "loss", BY_ROUND)
        return figure
    by_step(panel, losses, COLOURS[0], "loss")
    label(panel, title, "optimiser step", "loss", "faint: training, running mean; dots: validation")
    return figure


def by_step(panel: Axes, history: pd.DataFrame, colour: str, text: str | None) -> None:
    """Draw one run without rounds: the running mean of the training loss, and each validation."""
    train = history[(history["phase"] == "train") & history["loss"].notna()].groupby("step")["loss"].mean()
    if len(train):
        window = max(5, len(train) // 20)
        panel.plot(train.index, train.rolling(window, min_periods=1, center=True).mean(), color=colour, alpha=0.45)
    validation = history[(history["phase"] == "validation") & history["loss"].notna()].groupby("step")["loss"].mean()
    panel.plot(validation.index, validation, color=colour, marker="o", markersize=4, label=text)


def by_round(panel: Axes, histories: Sequence[pd.DataFrame], colour: str, text: str) -> None:
    """Draw the mean over seeds, with its range, of training and validation loss."""
    train = [_by_round(h[h["phase"] == "train"], "loss") for h in histories]
    validation = [_by_round(_global(h), "loss") for h in histories]
    has_validation = any(len(curve) for curve in validation)
    for curves, style, named in ((train, "--", not has_validation), (validation, "-", has_validation)):
        curves = [curve for curve in curves if len(curve)]
        if curves:
            band(panel, curves, colour, style, text if named else None)
    if not histories:
        panel.plot([], [], ":", color=colour, label=f"{text}: not run")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def quality_by_round(history: pd.DataFrame, name: str) -> "pd.Series[float]":
    """Return a quality of the global model by round, from its own column or from `metrics`."""
    rows = history[history["phase"].isin(["validation", "server"]) & (history["client"] == -1)]
    if name in rows.columns:
        return _by_round(rows, name)
    values = [json.loads(text).get(name) if isinstance(text, str) else None for text in rows["metrics"]]
    return _by_round(rows.assign(**{name: pd.to_numeric(pd.Series(values, index=rows.index, dtype=object))}), name)


def _global(history: pd.DataFrame) -> pd.DataFrame:
    """Return the evaluations of the global model; where there are none, those of the clients."""
    evaluated = history[history["phase"].isin(["validation", "server"]) & history["loss"].notna()]
    server = evaluated[evaluated["client"] == -1]
    return server if len(server) else evaluated


def _by_round(rows: pd.DataFrame, column: str) -> "pd.Series[float]":
    return rows[rows[column].notna()].groupby("round")[column].mean()
