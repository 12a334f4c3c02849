"""Which of our figures stands beside which published one, and what keeps the two from being compared."""

from collections.abc import Callable, Iterator

import pandas as pd

from fedbench.reporting.captions import synthetic
from fedbench.reporting.edge_fit_tables import client_vram, scope_of, seeds_of
from fedbench.reporting.gsfs_tables import split_sizes
from fedbench.reporting.measures import (
    EDGE_FIT_ROWS,
    FEDAVG_ROW,
    GSFS_ROW,
    LATENCY,
    QUALITY,
    SPLITS,
    STRATEGY,
    first_partition,
    gsfs,
)
from fedbench.reporting.results import Estimate, Group, Measure, Results, over_seeds
from fedbench.reporting.verdicts import Comparison
from fedbench.spec import Experiment

HARDWARE = "absolute time on other hardware"
SYNTHETIC = "synthetic data"

# Column of the paper -> columns of ours. No paper states how precision, recall and F1 were averaged, so both are shown.
_AVERAGES = ("macro", "weighted")
_TABLE2 = {
    "Precision": [f"Precision ({a})" for a in _AVERAGES],
    "Recall": [f"Recall ({a})" for a in _AVERAGES],
    "F1": [f"F1 ({a})" for a in _AVERAGES],
    "Accuracy": ["Accuracy"],
    "Response latency": ["Response latency (ms)"],
    "Energy efficiency": ["Requests a minute"],
}
_TABLE3 = {
    "Accuracy, {}": ["Accuracy, {}"],
    "F1-score, {}": [f"F1 ({a}), {{}}" for a in _AVERAGES],
    "Latency, {}": ["Latency, {} (s, modelled)"],
    "Energy efficiency, {}": ["Requests a minute, {} (modelled)"],
}
_SCOPES = {"central model": "central", "client model (avg)": "client"}
_RATIOS = ((FEDAVG_ROW, GSFS_ROW), ("FedOpt", GSFS_ROW), (FEDAVG_ROW, "FedOpt"))
_EDGE_FIT_MODEL = "Llama 2 (7B)"


def gsfs_table1(experiment: Experiment, results: Results, published: pd.DataFrame) -> Iterator[Comparison]:
    """Compare GSFS Table I: counts and percentages exactly, as printed."""
    sizes = split_sizes(results)
    obstacle = SYNTHETIC if synthetic(experiment, "gsfs") else ""
    splits = {title.casefold(): split for split, title in SPLITS.items()}
    for row, column, value in _cells(published, "I"):
        ours = None
        split = splits[row.casefold()]
        if split in sizes.index:
            count, total = float(sizes["rows"][split]), float(sizes["rows"].sum())
            ours = Estimate(100 * count / total, digits=2) if column == "Percentage" else Estimate(count, digits=0)
        missing = "the data set was not built" if sizes.empty else "the split holds no rows"
        yield Comparison(row, column, column, value, ours, obstacle, missing, decimals=0)


def gsfs_table2(experiment: Experiment, results: Results, published: pd.DataFrame) -> Iterator[Comparison]:
    """Compare GSFS Table II, for each of the paper's models with the model that stands beside it, per flow."""
    spec = gsfs(experiment)
    data = _data_obstacle(experiment, results, published)
    groups = [results.select("gsfs", "centralised", model=name) for name in spec.models]
    for row, column, value in _cells(published, "II"):
        beside = [group for group in groups if group.first("model_published") == row]
        if not beside:
            yield Comparison(row, column, column, value, None, missing="no model of this experiment stands beside it")
        for group in beside:
            for name in _TABLE2[column]:
                measure = (QUALITY | LATENCY)[name]
                obstacle = _join(data, HARDWARE if measure.is_usage else "", _model_obstacle(group, row))
                yield _compare(row, column, name, value, group, measure, "flow", spec.central_seeds, obstacle)


def gsfs_table3(experiment: Experiment, results: Results, published: pd.DataFrame) -> Iterator[Comparison]:
    """Compare GSFS Table III per flow, and the ratios of latency between strategies, which need no equal hardware.

    The paper does not say how it dealt the data out; the first partition of the experiment stands beside it.
    """
    spec = gsfs(experiment)
    data = _data_obstacle(experiment, results, published)
    partition = first_partition(spec)
    found = [results.select("gsfs", "federated", strategy=name, partition=partition) for name in spec.strategies]
    # Several strategies may stand beside one row (FedOpt is a family): the first of the experiment does.
    groups = {row: group for group in reversed(found) if (row := group.first("strategy_published"))}
    names = {
        column.format(theirs): [name.format(ours) for name in names]
        for column, names in _TABLE3.items()
        for theirs, ours in _SCOPES.items()
    }
    for row, column, value in _cells(published, "III"):
        group = groups.get(row)
        if group is None:
            yield Comparison(row, column, column, value, None, missing="no run of a strategy that stands beside it")
            continue
        for name in names[column]:
            measure = STRATEGY[name]
            model = (
                "" if group.first("model_title").startswith("OPT") else f"our model is {_title(group)}, the paper's OPT"
            )
            obstacle = _join(data, HARDWARE if measure.is_usage else "", model)
            yield _compare(row, column, name, value, group, measure, "flow", spec.seeds, obstacle)
    yield from _latency_ratios(experiment, groups, published)


def _latency_ratios(experiment: Experiment, groups: dict[str, Group], published: pd.DataFrame) -> Iterator[Comparison]:
    """Yield the ratio of latencies of each pair of strategies; ours is the mean of the ratios seed by seed."""
    cells = {(row, column): value for row, column, value in _cells(published, "III")}
    for theirs, ours in _SCOPES.items():
        column, name = f"Latency, {theirs}", f"Latency, {ours} (s, modelled)"
        for above, below in _RATIOS:
            estimate = None
            if above in groups and below in groups:
                top, bottom = (groups[row].by_seed(STRATEGY[name], "flow")["value"] for row in (above, below))
                estimate = over_seeds((top / bottom).dropna().tolist())
            row = f"{above} / {below}".replace(" (Proposed)", "")
            yield Comparison(
                f"{row} latency ratio",
                column,
                f"ratio of {name}",
                Estimate(cells[above, column].value / cells[below, column].value),
                estimate,
                SYNTHETIC if synthetic(experiment, "gsfs") else "",
                "needs a finished run of both strategies with one seed",
            )


def edge_fit_table3(experiment: Experiment, results: Results, published: pd.DataFrame) -> Iterator[Comparison]:
    """Compare Edge-FIT Table III (Llama 2) with the four procedures of every model not set beside another row."""
    data = SYNTHETIC if synthetic(experiment, "edge-fit") else ""
    names = {"F1-score": "F1"}
    for model in _edge_fit_models(experiment):
        for row, column, value in _cells(published, "III"):
            procedure = EDGE_FIT_ROWS[row]
            group = results.select("edge-fit", procedure, model=model)
            if group.first("model_published", _EDGE_FIT_MODEL) != _EDGE_FIT_MODEL:
                continue
            obstacle = _join(data, _model_obstacle(group, _EDGE_FIT_MODEL))
            ours = names.get(column, column)
            for name in [ours] if ours in QUALITY else [f"{ours} ({a})" for a in _AVERAGES]:
                measure = Measure(QUALITY[name].metric, scope_of(procedure))
                seeds = seeds_of(experiment, procedure)
                yield _compare(row, column, name, value, group, measure, "record", seeds, obstacle)


def edge_fit_table4(experiment: Experiment, results: Results, published: pd.DataFrame) -> Iterator[Comparison]:
    """Compare Edge-FIT Table IV: F1 (macro) of three procedures, and GPU memory where it was measured."""
    data = SYNTHETIC if synthetic(experiment, "edge-fit") else ""
    procedures = {
        "Base F1 (zero-shot)": "zero-shot",
        "Centralised F1": "centralised",
        "Edge-FIT F1": "federated",
        "Client VRAM (4-bit)": "federated",
    }
    for row, column, value in _cells(published, "IV"):
        procedure = procedures[column]
        groups = [results.select("edge-fit", procedure, model=name) for name in _edge_fit_models(experiment)]
        beside = [group for group in groups if group.first("model_published") == row]
        if not beside:
            yield Comparison(row, column, column, value, None, missing="no model of this experiment stands beside it")
        for group in beside:
            obstacle = _join(data, _model_obstacle(group, row))
            if column.startswith("Client VRAM"):
                missing = "no federated run on a GPU"
                yield Comparison(row, column, "peak GPU memory (GiB)", value, client_vram(group), obstacle, missing)
            else:
                seeds = seeds_of(experiment, procedure)
                yield _compare(row, column, "F1 (macro)", value, group, Measure("f1_macro"), "record", seeds, obstacle)


def _compare(
    row: str,
    column: str,
    name: str,
    value: Estimate,
    group: Group,
    measure: Measure,
    unit: str,
    seeds: list[int],
    obstacle: str,
) -> Comparison:
    missing = group.note(seeds).removeprefix("not run: ") or "this run has no such figure"
    return Comparison(row, column, name, value, group.estimate(measure, unit), obstacle, missing)


def _cells(published: pd.DataFrame, table: str) -> Iterator[tuple[str, str, Estimate]]:
    """Yield row, column and value of one published table, in printed order."""
    part = published[published["table"] == table]
    for row, column, value, digits in zip(part["row"], part["column"], part["value"], part["digits"], strict=True):
        yield str(row), str(column), Estimate(float(value), digits=int(digits))


def _data_obstacle(experiment: Experiment, results: Results, published: pd.DataFrame) -> str:
    """Return what keeps the data from being the paper's: synthetic, or another number of flows than its Table I."""
    if synthetic(experiment, "gsfs"):
        return SYNTHETIC
    theirs = sum(value.value for _, column, value in _cells(published, "I") if column == "Number of samples")
    ours = float(split_sizes(results)["rows"].sum())
    return "" if ours in (0, theirs) else f"other data: {ours:,.0f} flows, the paper's {theirs:,.0f}"


def _model_obstacle(group: Group, row: str) -> str:
    """Return why our model is not the paper's; a model claims to be by bearing its row's name as title."""
    title = _title(group)
    return "" if title.casefold() == row.casefold() else f"our model is {title}, the paper's {row}"


def _title(group: Group) -> str:
    return group.first("model_title", "unknown")


def _edge_fit_models(experiment: Experiment) -> list[str]:
    assert experiment.edge_fit is not None, "this table needs `edge_fit`"
    return list(experiment.edge_fit.models)


def _join(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


PAPER_COMPARISONS: dict[str, Callable[[Experiment, Results, pd.DataFrame], Iterator[Comparison]]] = {
    "gsfs-table1": gsfs_table1,
    "gsfs-table2": gsfs_table2,
    "gsfs-table3": gsfs_table3,
    "edge-fit-table3": edge_fit_table3,
    "edge-fit-table4": edge_fit_table4,
}
