"""The figures of the Edge-FIT study: round by round, and the four procedures beside the published values."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedbench.reporting import loss_curves
from fedbench.reporting.drawing import band, canvas, colours, label, whisker
from fedbench.reporting.edge_fit_tables import scope_of
from fedbench.reporting.measures import EDGE_FIT_ROWS, PROCEDURES
from fedbench.reporting.results import Measure, Results
from fedbench.reporting.verdicts import read_published
from fedbench.spec import Experiment


def rounds(experiment: Experiment, results: Results, published: Path) -> Figure:
    """Loss, and accuracy and F1 where rounds were evaluated, of the federated runs."""
    assert experiment.edge_fit is not None, "this figure needs `edge_fit`"
    found = []
    for colour, name in zip(colours(), experiment.edge_fit.models, strict=False):
        group = results.select("edge-fit", "federated", model=name)
        found.append((colour, group.first("model_title", name), [history for _, history in group.histories()]))
    scored = [
        (colour, style, f"{title}, {shown}", curves)
        for colour, title, histories in found
        for quality, shown, style in (("f1_macro", "F1 (macro)", "-"), ("accuracy", "accuracy", "--"))
        if (curves := [curve for h in histories if len(curve := loss_curves.quality_by_round(h, quality))])
    ]
    panels = 2 if scored else 1  # without a score a round there is nothing to draw but losses
    figure, (row,) = canvas(4.6 * panels, 3.4, 1, panels)
    for colour, title, histories in found:
        loss_curves.by_round(row[0], histories, colour, title)
    label(row[0], "Loss", "round", "loss", loss_curves.BY_ROUND)
    for colour, style, text, curves in scored:
        band(row[1], curves, colour, style, text)
    if scored:
        row[1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        label(row[1], "Quality of the global model", "round", "share")
    return figure


def bars(experiment: Experiment, results: Results, published: Path) -> Figure:
    """F1 of the four procedures with intervals, the published values of Llama 2 (7B) as markers."""
    assert experiment.edge_fit is not None, "this figure needs `edge_fit`"
    spec = experiment.edge_fit
    figure, ((panel,),) = canvas(7.2, 3.6, 1, 1)
    width = 0.7 / len(spec.models)
    for k, (colour, name) in enumerate(zip(colours(), spec.models, strict=False)):
        for place, procedure in enumerate(spec.procedures):
            group = results.select("edge-fit", procedure, model=name)
            x = place + (k - (len(spec.models) - 1) / 2) * width
            estimate = group.estimate(Measure("f1_macro", scope_of(procedure)), "record")
            if estimate is None:
                panel.text(x, 0.015, "not run", rotation=90, ha="center", va="bottom", fontsize=7, color="#777777")
                continue
            title = group.first("model_title", name) if place == 0 else None
            panel.bar(x, estimate.value, width * 0.92, color=colour, label=title, alpha=0.85)
            whisker(panel, x, estimate)
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
    label(panel, "F1 by procedure", "", "F1 (macro)", legend=False)
    panel.grid(axis="x", visible=False)
    panel.set_ylim(0, 1)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def clients(experiment: Experiment, results: Results, published: Path) -> Figure:
    """F1 of each client's own model, alone and federated, beside the global model and centralised training."""
    assert experiment.edge_fit is not None, "this figure needs `edge_fit`"
    models = experiment.edge_fit.models
    figure, (row,) = canvas(4.6 * len(models), 3.4, 1, len(models))
    for panel, name in zip(row, models, strict=True):
        title = name
        for colour, procedure, text, shift in zip(
            colours(),
            ("local-only", "federated"),
            ("alone", "after its last federated round"),
            (-0.12, 0.12),
            strict=False,
        ):
            group = results.select("edge-fit", procedure, model=name)
            title = group.first("model_title", title)
            own = group.own_scores("f1_macro", "record")
            for client, estimate in own.items():
                panel.scatter(
                    client + shift, estimate.value, color=colour, s=22, zorder=3, label=None if client else text
                )
                whisker(panel, client + shift, estimate)
        for procedure, style, text in (("federated", "-", "global model"), ("centralised", "--", "centralised")):
            whole = results.select("edge-fit", procedure, model=name).estimate(Measure("f1_macro"), "record")
            if whole is not None:
                panel.axhline(whole.value, color="#555555", linestyle=style, linewidth=1, label=text)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_ylim(0, 1)
        label(panel, title, "client", "F1 (macro)")
    return figure
