"""Two result sets side by side: scores with their intervals, costs, configuration and versions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isclose, isnan
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd
from tabulate import tabulate

from fedbench.errors import FedbenchError
from fedbench.evaluation.resampling import METRICS
from fedbench.files import read_json
from fedbench.reporting.results import Estimate, Group, Measure, Results

COSTS = ("seconds", "train_seconds", "peak_rss_bytes", "peak_vram_bytes", "bytes_up", "bytes_down", "adapter_bytes")
"""Columns of scores/runs.parquet that say what a run cost."""

ABSENT = "(absent)"
_ORIGIN = ("commit", "dirty", "command", "lock", "versions", "host")  # keys of manifest.json beside the configuration


@dataclass(frozen=True)
class Score:
    """One metric of one run, over the seeds that both result sets have; `a` and `b` are means with their intervals."""

    run: str
    scope: str
    unit: str
    metric: str
    a: Estimate
    b: Estimate

    @property
    def overlap(self) -> bool:
        """Whether the two intervals share a point; where there is none, whether the values are equal."""
        ends = (self.a.low, self.a.high, self.b.low, self.b.high)
        if None in ends:
            return isclose(self.a.value, self.b.value, rel_tol=1e-9, abs_tol=1e-12)
        low_a, high_a, low_b, high_b = (float(end) for end in ends if end is not None)
        return low_a <= high_b and low_b <= high_a


@dataclass(frozen=True)
class Difference:
    """What sets result set B apart from A.

    Attributes:
        scores: of every run that ended well in both, whether they differ or not.
        runs: run -> how it ended in A and in B, where that is not the same.
        costs: (run, cost, mean over seeds in A, in B), of the same seeds as the scores.
        configuration: dotted key -> (A, B), where they differ.
        origin: commit, command, versions, machine: dotted key -> (A, B), where they differ.
    """

    scores: list[Score] = field(default_factory=list)
    runs: dict[str, tuple[str, str]] = field(default_factory=dict)
    costs: list[tuple[str, str, float, float]] = field(default_factory=list)
    configuration: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    origin: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether the same runs ended the same way, and every score lies within the other's interval."""
        return not self.runs and all(score.overlap for score in self.scores)


def compare(a: Path, b: Path) -> Difference:
    """Compare two folders results/<experiment>.

    Raises:
        FedbenchError: a folder holds no scores, or no manifest.
    """
    results = [_read(folder) for folder in (a, b)]
    manifests = [read_json(folder / "manifest.json") for folder in (a, b)]
    found = Difference(
        configuration=_keys(*(manifest.get("configuration", {}) for manifest in manifests)),
        origin=_keys(*({key: manifest.get(key) for key in _ORIGIN} for manifest in manifests)),
    )
    mine, theirs = (_by_run(each) for each in results)
    for run in [*mine, *(run for run in theirs if run not in mine)]:
        ends = tuple(_ended(runs.get(run)) for runs in (mine, theirs))
        if ends[0] != ends[1]:
            found.runs[run] = ends[0], ends[1]
        if run in mine and run in theirs:
            pair = _shared(results, mine[run], theirs[run])
            found.scores.extend(_scores(run, *pair))
            found.costs.extend(_costs(run, *pair))
    return found


def _read(folder: Path) -> Results:
    for name in ("scores/scores.parquet", "scores/runs.parquet", "manifest.json"):
        if not (folder / name).is_file():
            raise FedbenchError(
                f"no result set: it has no {name}",
                where=folder,
                remedy="Name the folder of a finished experiment, results/<experiment>.",
            )
    return Results.read(folder)


def _by_run(results: Results) -> dict[str, pd.DataFrame]:
    """Return the rows of each run, a row a seed, keyed by the run's label without its seed."""
    label = results.runs["label"].map(lambda text: re.sub(r"-s\d+$", "", text))
    return {str(name): part.sort_values("seed") for name, part in results.runs.groupby(label, sort=False)}


def _ended(runs: pd.DataFrame | None) -> str:
    """Return how the seeds of a run ended: `ok: 0, 1; failed: 2`."""
    if runs is None:
        return ABSENT
    return "; ".join(
        f"{status}: {', '.join(map(str, part['seed']))}" for status, part in runs.groupby("status", sort=True)
    )


def _shared(results: Sequence[Results], mine: pd.DataFrame, theirs: pd.DataFrame) -> tuple[Group, Group]:
    """Return both sides of a run, of the seeds that ended well in both."""
    seeds = set(mine["seed"][mine["status"] == "ok"]) & set(theirs["seed"][theirs["status"] == "ok"])
    a, b = (Group(each, runs[runs["seed"].isin(seeds)]) for each, runs in zip(results, (mine, theirs), strict=True))
    return a, b


def _scores(run: str, a: Group, b: Group) -> Iterator[Score]:
    for unit in ("flow", "text", "record"):
        for scope in ("central", "client"):
            for metric in METRICS:
                measure = Measure(metric, scope)
                mine, theirs = a.estimate(measure, unit), b.estimate(measure, unit)
                if mine and theirs:
                    yield Score(run, scope, unit, metric, mine, theirs)


def _costs(run: str, a: Group, b: Group) -> Iterator[tuple[str, str, float, float]]:
    for cost in COSTS:
        mine, theirs = (float(pd.to_numeric(each.runs[cost]).mean()) for each in (a, b))
        if not (isnan(mine) or isnan(theirs)):
            yield run, cost, mine, theirs


def _keys(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys whose values differ, those of nested mappings each by itself."""
    mine, theirs = (dict(_flat(each)) for each in (a, b))
    pairs = {key: (mine.get(key, ABSENT), theirs.get(key, ABSENT)) for key in [*mine, *theirs]}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _flat(inner, f"{above}{key}.")
        else:
            yield f"{above}{key}", inner


# --- how it is shown ----------------------------------------------------------------------------------------------


def as_json(found: Difference) -> dict[str, Any]:
    """Return everything as plain values; scores and costs whether they differ or not."""
    names = ("run", "cost", "a", "b")
    return {
        "equal": found.equal,
        "runs": {run: {"a": a, "b": b} for run, (a, b) in found.runs.items()},
        "scores": [asdict(score) | {"overlap": score.overlap} for score in found.scores],
        "costs": [dict(zip(names, row, strict=True)) for row in found.costs],
        "configuration": {key: {"a": a, "b": b} for key, (a, b) in found.configuration.items()},
        "origin": {key: {"a": a, "b": b} for key, (a, b) in found.origin.items()},
    }


def as_text(found: Difference, *, every: bool = False) -> str:
    """Return it as tables; `every`: also the scores whose intervals overlap, and costs that differ little."""
    apart = [score for score in found.scores if not score.overlap]
    parts = [
        _table("Runs that did not end alike", ["run", "A", "B"], [[run, *ends] for run, ends in found.runs.items()]),
        _table(
            "Scores: mean ± standard deviation over seeds [95 % interval]",
            ["run", "scope", "per", "metric", "A", "B", "B - A", "intervals"],
            [_score_row(score) for score in (found.scores if every else apart)],
        ),
        f"{len(apart)} of {len(found.scores)} scores differ: their intervals do not overlap.\n",
        _table(
            "Costs, mean over seeds" + ("" if every else ", where they differ by 10 % or more"),
            ["run", "cost", "A", "B", "B / A"],
            [row for cost in found.costs if (row := _cost_row(cost, every))],
        ),
        _table("Configuration", ["key", "A", "B"], _key_rows(found.configuration)),
        _table("Origin: commit, command, versions, machine", ["key", "A", "B"], _key_rows(found.origin)),
        "Equal within intervals." if found.equal else "Different.",
    ]
    return "\n".join(part for part in parts if part)


def _score_row(score: Score) -> list[str]:
    change = f"{score.b.value - score.a.value:+.4f}"
    said = "overlap" if score.overlap else "apart"
    return [score.run, score.scope, score.unit, score.metric, str(score.a), str(score.b), change, said]


def _cost_row(cost: tuple[str, str, float, float], every: bool) -> list[str]:
    run, name, a, b = cost
    near = isclose(a, b, rel_tol=0.1)
    return [] if near and not every else [run, name, f"{a:,.6g}", f"{b:,.6g}", f"{b / a:.2f}" if a else ""]


def _key_rows(keys: Mapping[str, tuple[Any, Any]]) -> list[list[str]]:
    return [[key, *(fill("null" if value is None else str(value), 48) for value in pair)] for key, pair in keys.items()]


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a titled table, or nothing where there is no row."""
    return f"{title}\n{tabulate(rows, headers=list(heads), disable_numparse=True)}\n" if rows else ""
