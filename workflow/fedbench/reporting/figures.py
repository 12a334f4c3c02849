"""The figures: loss curves, strategies, uploads, rounds and procedures; the same data draw the same bytes."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedbench.files import atomic
from fedbench.reporting.results import Estimate, Group, Measure, Results
from fedbench.reporting.tables import EDGE_FIT_ROWS, PROCEDURES, STRATEGY, edge_fit_scope, gsfs
from fedbench.reporting.verdicts import read_published
from fedbench.spec import Experiment

# Okabe and Ito's palette, told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TRIGGERS = {
    "performance": ("#0072B2", "o"),
    "gradient": ("#D55E00", "^"),
    "silence": ("#999999", "s"),
    "": ("#009E73", "D"),
}
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


def draw(name: str, experiment: Experiment, results: Results, published: Path) -> Figure:
    """Draw one of `FIGURES` in the house style."""
    with matplotlib.rc_context(STYLE):
        return FIGURES[name](experiment, results, published)


def save(figure: Figure, stem: Path, *, synthetic: bool) -> None:
    """Write `stem`.svg and .png, the same bytes for the same data; synthetic data are named in the picture."""
    if synthetic:
        figure.text(0.995, 0.01, "synthetic data", ha="right", va="bottom", fontsize=7, color="#B35900", style="italic")
    with matplotlib.rc_context(STYLE):
        for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
            with atomic(stem.with_name(stem.name + suffix)) as partial:
                figure.savefig(partial, metadata=metadata)


def loss_curves(experiment: Experiment, results: Results, published: Path) -> Figure:
    """GSFS Figure 2: train and validation loss, by step for models and by round for strategies."""
    spec = gsfs(experiment)
    figure, (left, right) = _canvas(9.2, 3.6, 2)
    for colour, name in zip(_colours(), spec.models, strict=False):
        group = results.select("gsfs", "centralised", model=name)
        histories = list(_histories(group))
        for k, history in enumerate(histories):
            _loss_by_step(left, history, colour, group.first("model_title", name) if k == 0 else None)
        if not histories:
            left.plot([], [], ":", color=colour, label=f"{group.first('model_title', name)}: not run")
    _axes(left, "Fine-tuned on all data", "optimiser step", "loss", "faint: training, running mean; dots: validation")
    for colour, name in zip(_colours(), spec.strategies, strict=False):
        group = results.select("gsfs", "federated", strategy=name)
        _loss_by_round(right, list(_histories(group)), colour, group.first("strategy_title", name))
    _axes(right, "Federated", "round", "loss", "dashed: training; solid: validation")
    return figure


def strategies(experiment: Experiment, results: Results, published: Path) -> Figure:
    """Accuracy of the global model and of the clients' models against bytes uploaded."""
    figure, panels = _canvas(9.2, 3.6, 2)
    figures = (("Accuracy, central", "Global model"), ("Accuracy, client", "Mean over clients"))
    for panel, (column, title) in zip(panels, figures, strict=True):
        for (colour, marker), name in zip(
            zip(_colours(), "os^Dv<>", strict=True), gsfs(experiment).strategies, strict=False
        ):
            group = results.select("gsfs", "federated", strategy=name)
            accuracy, sent = (group.by_seed(STRATEGY[key], "flow") for key in (column, "Uploaded (MiB)"))
            both = accuracy.join(sent["value"].rename("sent")).dropna(subset=["value", "sent"])
            if both.empty:
                continue
            panel.scatter(
                both["sent"],
                both["value"],
                s=22,
                color=colour,
                marker=marker,
                edgecolors="white",
                linewidths=0.7,
                zorder=4,
            )
            mean = both.mean()
            spread = [[max(0.0, mean["value"] - mean["low"])], [max(0.0, mean["high"] - mean["value"])]]
            label = f"{group.first('strategy_title', name)} (n = {len(both)})"
            panel.errorbar(
                mean["sent"], mean["value"], yerr=spread, fmt=marker, color=colour, markersize=9, capsize=3, label=label
            )
        _axes(panel, title, "uploaded by all clients, MiB", "accuracy", legend=False)
        panel.margins(x=0.1, y=0.1)
        panel.set_xlim(left=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def uploads(experiment: Experiment, results: Results, published: Path) -> Figure:
    """Who uploaded when, and which trigger fired."""
    found = []
    for name in gsfs(experiment).strategies:
        group = results.select("gsfs", "federated", strategy=name)
        history = next(_histories(group), None)
        if history is not None and history["uploaded"].notna().any():
            found.append(
                (group.first("strategy_title", name), history[history["uploaded"].notna() & (history["client"] >= 0)])
            )
    if not found:
        return _empty("no federated run recorded its uploads")
    clients = max(history["client"].max() for _, history in found) + 1
    figure, panels = _canvas(3.1 * len(found) + 1.4, max(2.6, min(6.0, 1.5 + 0.2 * clients)), len(found), sharey=True)
    for panel, (title, history) in zip(panels, found, strict=True):
        place = "step" if history.duplicated(["client", "round"]).any() else "round"
        sent = history[history["uploaded"].astype(bool)]
        for trigger, (colour, marker) in TRIGGERS.items():
            part = sent[sent["trigger"].fillna("") == trigger]
            panel.scatter(
                part[place], part["client"], s=22, color=colour, marker=marker, label=trigger or "every round"
            )
        _axes(
            panel, f"{title}: {len(sent)} of {len(history)}", "tick" if place == "step" else "round", "", legend=False
        )
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_xlim(history[place].min() - 0.5, history[place].max() + 0.5)
    panels[0].set_ylabel("client")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", title="uploaded by trigger")
    return figure


def edge_fit_rounds(experiment: Experiment, results: Results, published: Path) -> Figure:
    """Loss, and accuracy and F1 where rounds were evaluated, of the federated runs."""
    assert experiment.edge_fit is not None, "this figure needs `edge_fit`"
    figure, (left, right) = _canvas(9.2, 3.4, 2)
    for colour, name in zip(_colours(), experiment.edge_fit.models, strict=False):
        group = results.select("edge-fit", "federated", model=name)
        title, histories = group.first("model_title", name), list(_histories(group))
        _loss_by_round(left, histories, colour, title)
        for quality, style in (("f1_macro", "-"), ("accuracy", "--")):
            curves = [curve for h in histories if len(curve := _quality_by_round(h, quality))]
            if curves:
                _band(right, curves, colour, style, f"{title}, {'F1 (macro)' if quality == 'f1_macro' else quality}")
    _axes(left, "Loss", "round", "loss", "dashed: training; solid: validation")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    _axes(right, "Quality of the global model", "round", "share")
    if not right.lines:  # answers are scored after the last round only
        right.remove()
        figure.set_size_inches(5.2, 3.4)
    return figure


def edge_fit_bars(experiment: Experiment, results: Results, published: Path) -> Figure:
    """F1 of the four procedures with intervals, the published values of Llama 2 (7B) as markers."""
    assert experiment.edge_fit is not None, "this figure needs `edge_fit`"
    spec = experiment.edge_fit
    figure, (panel,) = _canvas(7.2, 3.6, 1)
    width = 0.7 / len(spec.models)
    for k, (colour, name) in enumerate(zip(_colours(), spec.models, strict=False)):
        for place, procedure in enumerate(spec.procedures):
            group = results.select("edge-fit", procedure, model=name)
            x = place + (k - (len(spec.models) - 1) / 2) * width
            estimate = group.estimate(Measure("f1_macro", edge_fit_scope(procedure)), "record")
            if estimate is None:
                panel.text(x, 0.015, "not run", rotation=90, ha="center", va="bottom", fontsize=7, color="#777777")
                continue
            title = group.first("model_title", name) if place == 0 else None
            panel.bar(x, estimate.value, width * 0.92, color=colour, label=title, alpha=0.85)
            _whisker(panel, x, estimate)
    printed = read_published(published, "edge-fit")
    printed = printed[(printed["table"] == "III") & (printed["column"] == "F1-score")]
    values = {EDGE_FIT_ROWS[row]: value for row, value in zip(printed["row"], printed["value"], strict=True)}
    panel.scatter(
        range(len(spec.procedures)),
        [values[procedure] for procedure in spec.procedures],
        marker="D",
        s=42,
        color="white",
        edgecolors="black",
        zorder=5,
        label="published, Llama 2 (7B)",
    )
    panel.set_xticks(
        range(len(spec.procedures)), [PROCEDURES[p][0].replace(" (mean", "\n(mean") for p in spec.procedures]
    )
    _axes(panel, "F1 by procedure", "", "F1 (macro)", legend=False)
    panel.grid(axis="x", visible=False)
    panel.set_ylim(0, 1)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


FIGURES: dict[str, Callable[[Experiment, Results, Path], Figure]] = {
    "gsfs-fig2": loss_curves,
    "gsfs-strategies": strategies,
    "gsfs-uploads": uploads,
    "edge-fit-rounds": edge_fit_rounds,
    "edge-fit-bars": edge_fit_bars,
}


def _canvas(width: float, height: float, panels: int, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure, not known to pyplot, with a row of panels."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False, **options)[0])


def _colours() -> Iterator[str]:
    yield from itertools.cycle(COLOURS)


def _axes(panel: Axes, title: str, x: str, y: str, hint: str = "", *, legend: bool = True) -> None:
    panel.set_title(title, fontsize=10, fontweight="bold", loc="left")
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    if legend and panel.get_legend_handles_labels()[0]:
        panel.legend(title=hint or None, title_fontsize=7, fontsize=8, frameon=False, alignment="left")


def _histories(group: Group) -> Iterator[pd.DataFrame]:
    """Yield the history of each finished run, by seed."""
    for run in group.finished["run"]:
        path = group.results.folder / "runs" / str(run) / "history.parquet"
        history = pd.read_parquet(path)
        if len(history):
            yield history


def _loss_by_step(panel: Axes, history: pd.DataFrame, colour: str, label: str | None) -> None:
    train = history[(history["phase"] == "train") & history["loss"].notna()].groupby("step")["loss"].mean()
    if len(train):
        window = max(1, len(train) // 25)
        panel.plot(train.index, train.rolling(window, min_periods=1, center=True).mean(), color=colour, alpha=0.45)
    validation = history[(history["phase"] == "validation") & history["loss"].notna()].groupby("step")["loss"].mean()
    panel.plot(validation.index, validation, color=colour, marker="o", markersize=4, label=label)


def _loss_by_round(panel: Axes, histories: list[pd.DataFrame], colour: str, label: str) -> None:
    train = [_by_round(h[h["phase"] == "train"], "loss") for h in histories]
    validation = [_by_round(_global(h), "loss") for h in histories]
    has_validation = any(len(curve) for curve in validation)
    for curves, style, named in ((train, "--", not has_validation), (validation, "-", has_validation)):
        curves = [curve for curve in curves if len(curve)]
        if curves:
            _band(panel, curves, colour, style, label if named else None)
    if not histories:
        panel.plot([], [], ":", color=colour, label=f"{label}: not run")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def _global(history: pd.DataFrame) -> pd.DataFrame:
    """Return the evaluations of the global model; where there are none, those of the clients."""
    evaluated = history[history["phase"].isin(["validation", "server"]) & history["loss"].notna()]
    server = evaluated[evaluated["client"] == -1]
    return server if len(server) else evaluated


def _by_round(rows: pd.DataFrame, column: str) -> "pd.Series[float]":
    return rows[rows[column].notna()].groupby("round")[column].mean()


def _quality_by_round(history: pd.DataFrame, name: str) -> "pd.Series[float]":
    """Return a quality of the global model by round, from its own column or from `metrics`."""
    rows = history[history["phase"].isin(["validation", "server"]) & (history["client"] == -1)]
    if name in rows.columns:
        return _by_round(rows, name)
    values = [json.loads(text).get(name) if isinstance(text, str) else None for text in rows["metrics"]]
    return _by_round(rows.assign(**{name: pd.to_numeric(pd.Series(values, index=rows.index, dtype=object))}), name)


def _band(panel: Axes, curves: list["pd.Series[float]"], colour: str, style: str, label: str | None) -> None:
    """Draw the mean of the curves and the range between the lowest and the highest."""
    frame = pd.concat(curves, axis=1).sort_index()
    x = frame.index.to_numpy()
    panel.plot(x, frame.mean(axis=1), style, color=colour, label=label, alpha=1 if style == "-" else 0.7)
    if len(curves) > 1:
        panel.fill_between(x, frame.min(axis=1), frame.max(axis=1), color=colour, alpha=0.13, linewidth=0)


def _whisker(panel: Axes, x: float, estimate: Estimate) -> None:
    if estimate.low is not None and estimate.high is not None:
        ends = np.array([[estimate.value - estimate.low], [estimate.high - estimate.value]]).clip(min=0)
        panel.errorbar(x, estimate.value, yerr=ends, color="#333333", capsize=3, linewidth=1.2)


def _empty(reason: str) -> Figure:
    """Return a figure that says why there is nothing to show."""
    figure, (panel,) = _canvas(6, 2, 1)
    panel.set_axis_off()
    panel.text(0.5, 0.5, f"not run: {reason}", ha="center", va="center", color="#777777", transform=panel.transAxes)
    return figure
