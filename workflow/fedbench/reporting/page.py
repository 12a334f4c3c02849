"""One self-contained HTML page: headline, tables, verdicts, figures, configuration and provenance."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from fedbench.errors import FedbenchError
from fedbench.files import write_text
from fedbench.reporting import captions
from fedbench.reporting.budget import BETTER, WORSE, readings
from fedbench.reporting.measures import FEDAVG_ROW, GSFS_ROW, QUALITY, STRATEGY, first_partition
from fedbench.reporting.results import Estimate, Results
from fedbench.reporting.verdicts import VERDICTS, tally
from fedbench.reporting.writing import fragment
from fedbench.spec import Experiment

_SCALE = 1.45  # CSS pixels a point of a figure, so that type is of one size whatever the figure's width
SECTIONS = {
    "gsfs": "GSFS: flows of IoT-23",
    "edge-fit": "Edge-FIT: instructions of Dolly",
    "papers": "The papers' own numbers",
    "data": "The data",
    "runs": "The runs",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One headline figure."""

    title: str
    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One table or figure of the page; `name` identifies it there."""

    name: str
    section: str
    title: str
    body: Markup
    is_verdict: bool = False
    counts: dict[str, int] | None = None


def write(
    experiment: Experiment,
    results: Results,
    tables: list[str],
    figures: list[str],
    config_text: str,
    provenance: dict[str, Any],
) -> Path:
    """Write summary.html into the results folder from its tables/*.html and figures/*.svg, and return its path.

    Args:
        experiment: the experiment.
        results: its scores and runs.
        tables: names of tables, as written by `fedbench.reporting.build.tables`.
        figures: names of figures, as written by `fedbench.reporting.build.figures`.
        config_text: the resolved configuration as YAML.
        provenance: versions, host, commit and the like; nested mappings and lists are shown as such.

    Raises:
        FedbenchError: a table or figure has not been written.
    """
    items = [_table(results.folder, name) for name in tables] + [
        _figure(experiment, results.folder, name) for name in figures
    ]
    sections = {key: (title, [item for item in items if item.section == key]) for key, title in SECTIONS.items()}
    counts = {name: sum(item.counts[name] for item in items if item.counts) for name in VERDICTS}
    environment = Environment(
        loader=PackageLoader("fedbench.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    synthetic = [name for study, name in captions.STUDIES.items() if captions.synthetic(experiment, study)]
    page = environment.get_template("summary.html.j2").render(
        experiment=experiment,
        facts=list(headline(experiment, results)),
        sections={key: value for key, value in sections.items() if value[1]},
        counts=counts,
        synthetic=synthetic,
        absent=results.runs[results.runs["status"] != "ok"].sort_values("label").to_dict("records"),
        total=len(results.runs),
        config=config_text,
        provenance=_shortened(provenance),
    )
    out = results.folder / "summary.html"
    write_text(out, page)
    return out


def headline(experiment: Experiment, results: Results) -> Iterator[Fact]:
    """Yield the figures that a reader wants first."""
    ok = int((results.runs["status"] == "ok").sum())
    failed = len(results.runs) - ok
    yield Fact("runs", f"{ok} of {len(results.runs)}", "all finished" if not failed else f"{failed} not run, see Runs")
    if experiment.gsfs:
        models = {
            group.first("model_title", name): estimate
            for name in experiment.gsfs.models
            if (
                estimate := (group := results.select("gsfs", "centralised", model=name)).estimate(
                    QUALITY["Accuracy"], "flow"
                )
            )
        }
        if models:
            best = max(models, key=lambda title: models[title].value)
            yield Fact("best accuracy, all data", models[best].mean, f"{best} {models[best].interval}")
        yield from _strategy_facts(experiment, results)
    if experiment.edge_fit:
        name = experiment.edge_fit.models[0]
        f1 = {
            procedure: results.select("edge-fit", procedure, model=name).estimate(QUALITY["F1 (macro)"], "record")
            for procedure in ("zero-shot", "centralised", "federated")
        }
        federated = f1["federated"]
        if federated:
            others = {"zero-shot": f1["zero-shot"], "centralised": f1["centralised"]}
            beside = [f"{title} {estimate.mean}" for title, estimate in others.items() if estimate]
            yield Fact("Edge-FIT F1 (macro)", federated.mean, ", ".join(beside))


def _strategy_facts(experiment: Experiment, results: Results) -> Iterator[Fact]:
    """Yield GSFS beside FedAvg: accuracy of the global model, bytes uploaded, and who wins under a budget."""
    assert experiment.gsfs is not None
    partition = first_partition(experiment.gsfs)
    groups = [
        results.select("gsfs", "federated", strategy=name, partition=partition) for name in experiment.gsfs.strategies
    ]
    rows = {group.first("strategy_published"): group for group in reversed(groups)}
    ours, theirs = rows.get(GSFS_ROW), rows.get(FEDAVG_ROW)
    if ours is None or theirs is None:
        return
    for title, column in (("GSFS accuracy, global model", "Accuracy, central"), ("GSFS uploads", "Uploaded (MiB)")):
        mine, base = (group.estimate(STRATEGY[column], "flow") for group in (ours, theirs))
        if mine is None or base is None:
            continue
        unit = " MiB" if "MiB" in column else ""
        yield Fact(title, f"{mine.mean}{unit}", f"FedAvg {base.mean}{unit}{_share(mine, base) if unit else ''}")
    said = readings(experiment, results)
    if said:
        won, lost = (sum(reading.startswith(kind) for reading in said) for kind in (BETTER, WORSE))
        rest = f"{lost} worse, {len(said) - won - lost} undecided"
        yield Fact("GSFS beats FedAvg under a budget", f"{won} of {len(said)}", rest)


def _shortened(provenance: dict[str, Any]) -> dict[str, Any]:
    """Return provenance without the configuration, which has its own section, and with jobs summed up by stage."""
    shown = {key: value for key, value in provenance.items() if key not in ("configuration", "runs", "jobs")}
    stages: dict[str, list[dict[str, Any]]] = {}
    for name, job in provenance.get("jobs", {}).items():
        stages.setdefault(name.split("/")[0], []).append(job)
    if stages:
        shown["jobs"] = {stage: _spent(jobs) for stage, jobs in stages.items()}
    return shown


def _spent(jobs: list[dict[str, Any]]) -> str:
    seconds, processor = (sum(job.get(key) or 0 for job in jobs) for key in ("seconds", "cpu_seconds"))
    peak = max(job.get("peak_rss_bytes") or 0 for job in jobs) / 2**20
    return f"{len(jobs):,} jobs, {seconds:,.0f} s ({processor:,.0f} s of processor time), {peak:,.0f} MiB at most"


def _share(mine: Estimate, base: Estimate) -> str:
    return f" ({mine.value / base.value - 1:+.0%})" if base.value else ""


def _section(name: str) -> str:
    if name.endswith("-audit"):
        return "papers"
    if name.startswith(("gsfs", "edge-fit")):
        return captions.studies(name)[0]
    return "runs" if name == "runs" else "data"


def _table(folder: Path, name: str) -> Item:
    # Markup: `writing.html` has escaped every cell and caption.
    body = Markup(_tagged(fragment(_read(folder / "tables" / f"{name}.html"))))  # nosec B704
    is_verdict = name.endswith("-verdict")
    counts = tally(pd.read_csv(folder / "tables" / f"{name}.csv", dtype=str)) if is_verdict else None
    return Item(name, _section(name), captions.title(name), body, is_verdict, counts)


def _figure(experiment: Experiment, folder: Path, name: str) -> Item:
    """Return a figure with its SVG inline; identifiers get the figure's name, so that two figures never share one."""
    svg = _read(folder / "figures" / f"{name}.svg")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|"#|url\(#)', lambda match: f"{match.group()}{name}-", svg)
    svg = re.sub(r' height="[\d.]+pt"', "", svg, count=1)
    svg = re.sub(
        r' width="([\d.]+)pt"', lambda match: f' style="max-width: {float(match[1]) * _SCALE:.0f}px"', svg, count=1
    )
    text = captions.figure(experiment, name)
    # Matplotlib has escaped every text of the drawing.
    drawing = Markup(svg)  # nosec B704
    said = Markup(_tagged(str(escape(text))))  # nosec B704
    body = Markup('<figure class="picture" role="img" aria-label="{}">{}<figcaption>{}</figcaption></figure>').format(
        text, drawing, said
    )
    return Item(f"figure-{name}", _section(name), captions.title(name), body)


def _tagged(html: str) -> str:
    """Shorten to a tag what the page's banner says in full."""
    return html.replace(str(escape(captions.SYNTHETIC)), '<span class="tag">synthetic data</span>')


def _read(path: Path) -> str:
    if not path.is_file():
        raise FedbenchError("no such file", where=path, remedy="Build the tables and figures before the page.")
    return path.read_text(encoding="utf-8")
