"""The figures of the GSFS study: loss curves, strategies, uploads, quality against what it cost."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy

from fedbench.reporting import loss_curves
from fedbench.reporting.drawing import canvas, colours, empty, label, markers, shared_legend
from fedbench.reporting.measures import STRATEGY, gsfs, partitions
from fedbench.reporting.results import Results
from fedbench.reporting.trajectories import BYTES, SCORE, SECONDS, strategies
from fedbench.spec import Experiment

TRIGGERS = {
    "performance": ("#0072B2", "o"),
    "gradient": ("#D55E00", "^"),
    "silence": ("#999999", "s"),
    "": ("#009E73", "D"),
}


def losses(experiment: Experiment, results: Results, published: Path) -> Figure:
    """GSFS Figure 2: train and validation loss, by step for models and by round for strategies."""
    spec = gsfs(experiment)
    parts = partitions(spec)
    columns = 2 if len(parts) in (1, 3) else 3
    figure, rows = canvas(
        4.6 * columns, 3.6 * math.ceil((1 + len(parts)) / columns), math.ceil((1 + len(parts)) / columns), columns
    )
    central, *federated = [panel for row in rows for panel in row]
    for colour, name in zip(colours(), spec.models, strict=False):
        group = results.select("gsfs", "centralised", model=name)
        title, histories = group.first("model_title", name), [history for _, history in group.histories()]
        for k, history in enumerate(histories):
            loss_curves.by_step(central, history, colour, title if k == 0 else None)
        if not histories:
            central.plot([], [], ":", color=colour, label=f"{title}: not run")
    hint = "faint: training, running mean; dots: validation"
    label(central, "Fine-tuned on all data", "optimiser step", "loss", hint)
    for panel, (partition, clients) in zip(federated, parts.items(), strict=False):
        for colour, name in zip(colours(), spec.strategies, strict=False):
            group = results.select("gsfs", "federated", strategy=name, partition=partition)
            histories = [history for _, history in group.histories()]
            loss_curves.by_round(panel, histories, colour, group.first("strategy_title", name))
        label(panel, f"Federated · {clients}", "round (GSFS: tick)", "loss", loss_curves.BY_ROUND)
    for panel in federated[len(parts) :]:
        panel.remove()
    return figure


def accuracy_against_bytes(experiment: Experiment, results: Results, published: Path) -> Figure:
    """Accuracy on the test set of the global model and of the clients' models, against bytes uploaded."""
    spec = gsfs(experiment)
    parts = partitions(spec)
    figure, rows = canvas(9.2, 0.6 + 3.0 * len(parts), len(parts), 2)
    scopes = (("Accuracy, central", "Global model"), ("Accuracy, client", "Mean over clients"))
    for row, (partition, clients) in zip(rows, parts.items(), strict=True):
        for panel, (column, title) in zip(row, scopes, strict=True):
            for k, (colour, marker, name) in enumerate(zip(colours(), markers(), spec.strategies, strict=False)):
                group = results.select("gsfs", "federated", strategy=name, partition=partition)
                accuracy, sent = (group.by_seed(STRATEGY[key], "flow") for key in (column, "Uploaded (MiB)"))
                both = accuracy.join(sent["value"].rename("sent")).dropna(subset=["value", "sent"])
                if len(both):
                    shift = 6 * (k - (len(spec.strategies) - 1) / 2)
                    _seeds_and_mean(panel, both, shift, colour, marker, group.first("strategy_title", name))
            label(panel, f"{title} · {clients}", "uploaded by all clients, MiB", "test accuracy", legend=False)
            panel.margins(x=0.1, y=0.1)
            panel.set_xlim(left=0)
    shared_legend(figure, [panel for row in rows for panel in row], 4)
    return figure


def _seeds_and_mean(panel: Axes, both: pd.DataFrame, shift: float, colour: str, marker: str, title: str) -> None:
    """Draw a small point a seed and a large one for their mean, with the mean of their intervals.

    `shift`, in points, keeps strategies apart that sent exactly as much.
    """
    place = offset_copy(panel.transData, fig=panel.get_figure(root=True), x=shift, units="points")
    panel.scatter(both["sent"], both["value"], s=14, color=colour, marker=marker, alpha=0.45, transform=place, zorder=4)
    mean = both.mean()
    spread = [[max(0.0, mean["value"] - mean["low"])], [max(0.0, mean["high"] - mean["value"])]]
    style: dict[str, Any] = {"color": colour, "transform": place}
    panel.errorbar(mean["sent"], mean["value"], yerr=spread, fmt="none", capsize=3, elinewidth=1.3, **style)
    text = f"{title} (n = {len(both)})"
    panel.plot(
        mean["sent"], mean["value"], marker, markersize=8, markeredgecolor="white", label=text, zorder=5, **style
    )
    # What is drawn through a shifted transform does not count towards the limits of the axes by itself.
    ends = [both["value"].min(), both["value"].max(), mean["low"], mean["high"]]
    panel.update_datalim([(x, y) for x in (both["sent"].min(), both["sent"].max()) for y in ends if y == y])
    panel.autoscale_view()


def budget(experiment: Experiment, results: Results, published: Path) -> Figure:
    """Validation accuracy of the newest global version against bytes and against modelled seconds."""
    spec = gsfs(experiment)
    parts = {name: title for name, title in partitions(spec).items() if strategies(experiment, results, name)}
    if not parts:
        return empty("no federated run with scored global versions")
    figure, rows = canvas(9.2, 0.7 + 3.1 * len(parts), len(parts), 2, sharey="row")
    direction = "up and down" if experiment.report.traffic == "both" else "up"
    axes = ((BYTES, 2.0**20, f"MiB {direction}, all clients"), (SECONDS, 1.0, "seconds of the virtual clock, modelled"))
    place = {name: k for k, name in enumerate(spec.strategies)}
    for row, (partition, clients) in zip(rows, parts.items(), strict=True):
        for panel, (unit, size, text) in zip(row, axes, strict=True):
            for strategy in strategies(experiment, results, partition):
                colour = next(c for k, c in enumerate(colours()) if k == place[strategy.name])
                marker = next(m for k, m in enumerate(markers()) if k == place[strategy.name])
                title = f"{strategy.title} (n = {len(strategy.seeds)})"
                _newest(panel, strategy.seeds, unit, size, colour, marker, title)
            y = "validation accuracy" if unit == BYTES else ""
            label(panel, clients if unit == BYTES else "", text, y, legend=False)
            panel.set_xlim(left=0)
    shared_legend(figure, [panel for row in rows for panel in row], 4)
    return figure


def _newest(
    panel: Axes, seeds: Mapping[int, pd.DataFrame], unit: str, size: float, colour: str, marker: str, title: str
) -> None:
    """Draw the newest version's score at each cost: mean over seeds and range; a point is where a seed ended.

    A curve is drawn as far as every seed got, so that it is one mean all along.
    """
    paths = [path[path[unit].notna()] for path in seeds.values()]
    paths = [path for path in paths if len(path)]
    if not paths:
        return
    end = min(float(path[unit].max()) for path in paths)
    grid = np.unique(np.concatenate([path[unit].to_numpy() for path in paths]))
    grid = grid[(grid >= max(float(path[unit].min()) for path in paths)) & (grid <= end)]
    scores = np.array(
        [path[SCORE].to_numpy()[np.searchsorted(path[unit].to_numpy(), grid, side="right") - 1] for path in paths]
    )
    panel.step(grid / size, scores.mean(axis=0), where="post", color=colour, label=title)
    if len(paths) > 1:
        low, high = scores.min(axis=0), scores.max(axis=0)
        panel.fill_between(grid / size, low, high, step="post", color=colour, alpha=0.13, linewidth=0)
    ends = [(path[unit].iloc[-1] / size, path[SCORE].iloc[-1]) for path in paths]
    x, y = zip(*ends, strict=True)
    panel.scatter(x, y, s=26, color=colour, marker=marker, edgecolors="white", linewidths=0.7, zorder=4)


def uploads(experiment: Experiment, results: Results, published: Path) -> Figure:
    """Who uploaded when, and which trigger fired; a line marks each new global version.

    Where everyone who was asked uploaded there is little to see: of such runs the first stands for all.
    """
    spec = gsfs(experiment)
    found = []
    is_shown = False
    for partition, clients in partitions(spec).items():
        for name in spec.strategies:
            group = results.select("gsfs", "federated", strategy=name, partition=partition)
            _, history = next(group.histories(), (0, pd.DataFrame(columns=["uploaded", "client"])))
            asked = history[history["uploaded"].notna() & (history["client"] >= 0)]
            if len(asked) and not (is_shown and asked["uploaded"].astype(bool).all()):
                is_shown = is_shown or bool(asked["uploaded"].astype(bool).all())
                found.append((f"{group.first('strategy_title', name)} · {clients}", history))
    if not found:
        return empty("no federated run recorded its uploads")
    columns = min(2, len(found))
    height = max(1.7, min(4.0, 0.8 + 0.2 * (max(history["client"].max() for _, history in found) + 1)))
    lines = math.ceil(len(found) / columns)
    figure, rows = canvas(4.6 * columns, 0.7 + height * lines, lines, columns, sharey=True)
    panels = [panel for row in rows for panel in row]
    for panel, (title, history) in zip(panels, found, strict=False):
        _uploads(panel, title, history)
    for row in rows:
        row[0].set_ylabel("client")
    for panel in panels[len(found) :]:
        panel.remove()
    shared_legend(figure, panels[: len(found)], 5)
    return figure


def _uploads(panel: Axes, title: str, history: pd.DataFrame) -> None:
    asked = history[history["uploaded"].notna() & (history["client"] >= 0)]
    sent = asked[asked["uploaded"].astype(bool)]
    versions = history[(history["client"] == -1) & (history["round"] > 0) & (history["phase"] == "validation")]["round"]
    ticks = asked["round"].nunique()
    for k, version in enumerate(versions if len(versions) < ticks else []):
        panel.axvline(version, color="#bbbbbb", linewidth=1, zorder=0, label="new global version" if k == 0 else None)
    for trigger, (colour, marker) in TRIGGERS.items():
        part = sent[sent["trigger"].fillna("") == trigger]
        if len(part):
            text = f"trigger: {trigger}" if trigger else "asked every round"
            panel.scatter(part["round"], part["client"], s=20, color=colour, marker=marker, label=text, zorder=3)
    label(
        panel, f"{title}: {len(sent)} of {len(asked)}", "tick" if len(sent) < len(asked) else "round", "", legend=False
    )
    panel.grid(axis="x", visible=False)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.set_xlim(asked["round"].min() - 0.7, asked["round"].max() + 0.7)
    panel.set_ylim(asked["client"].min() - 0.5, asked["client"].max() + 0.5)
