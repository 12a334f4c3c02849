"""What tables and figures read: scores, runs, and estimates over seeds with their intervals."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.special import stdtrit

from fedbench.errors import FedbenchError
from fedbench.evaluation.histories import Histories
from fedbench.files import read_json

NOT_RUN = "not run"
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds.

    `low` and `high` are the ends of the 95 % bootstrap interval over test rows, each averaged over seeds (these share
    one test set, so averaging does not narrow it); `sd` is the standard deviation over seeds, None for a single seed.
    `over_seeds` makes estimates whose interval is over seeds; `remark` says what a reader must know of this one.
    """

    value: float
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    seeds: int = 1
    digits: int = 4
    remark: str = ""

    def __str__(self) -> str:
        """Return `mean ± sd [low, high] (remark)`, leaving out what there is none of."""
        remark = f"({self.remark})" if self.remark else ""
        return " ".join(part for part in (self.mean, self.spread, self.interval, remark) if part)

    @property
    def mean(self) -> str:
        """The mean alone, with its digits."""
        return f"{self.value:,.{self.digits}f}"

    @property
    def spread(self) -> str:
        """`± sd`, or nothing for a single seed."""
        return "" if self.sd is None else f"± {self.sd:,.{self.digits}f}"

    @property
    def interval(self) -> str:
        """`[low, high]`, or nothing where there is no interval."""
        if self.low is None or self.high is None:
            return ""
        return f"[{self.low:,.{self.digits}f}, {self.high:,.{self.digits}f}]"


def over_seeds(values: Sequence[float], digits: int = 4) -> Estimate | None:
    """Return the mean over seeds with Student's 95 % interval, which a single seed does not have; None of nothing."""
    if not len(values):
        return None
    series, n = pd.Series(values, dtype=float), len(values)
    mean = float(series.mean())
    if n == 1:
        return Estimate(mean, digits=digits)
    sd = float(series.std(ddof=1))
    half = float(stdtrit(n - 1, 0.975)) * sd / n**0.5
    return Estimate(mean, mean - half, mean + half, sd, n, digits)


@dataclass(frozen=True)
class Measure:
    """Where a table's column finds its figures.

    Attributes:
        metric: metric of the scores.
        scope: "central", or "client" for the mean over clients.
        digits: decimals shown.
        convert: turns a score into the column's unit.
    """

    metric: str
    scope: str = "central"
    digits: int = 4
    convert: Callable[[float], float] | None = None

    @property
    def is_usage(self) -> bool:
        """Whether this is a cost of the run and not a quality of its answers."""
        return not self.metric.endswith(("_macro", "_weighted")) and self.metric not in ("accuracy", "unparsed")


@dataclass(frozen=True)
class Results:
    """The scores and runs of one experiment; `folder` is results/<experiment>."""

    folder: Path
    scores: pd.DataFrame
    runs: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> "Results":
        """Read scores/scores.parquet and scores/runs.parquet below `folder`.

        Raises:
            FedbenchError: one of the two is missing.
        """
        return cls(folder, *(pd.read_parquet(_scored(folder, name)) for name in ("scores.parquet", "runs.parquet")))

    @cached_property
    def histories(self) -> Histories:
        """The history of each run.

        Raises:
            FedbenchError: scores/histories.parquet is missing.
        """
        return Histories(_scored(self.folder, "histories.parquet"))

    @cached_property
    def by_run(self) -> dict[str, dict[tuple[str, str, int, str], tuple[float, float, float]]]:
        """Every score: run -> (metric, scope, client, unit) -> (value, low, high); no figure, no entry."""
        found: dict[str, dict[tuple[str, str, int, str], tuple[float, float, float]]] = {}
        names = ["run", "metric", "scope", "client", "unit", "value", "low", "high"]
        for run, metric, scope, client, unit, *figures in zip(
            *(self.scores[name].tolist() for name in names), strict=True
        ):
            value, low, high = (float("nan") if figure is None else float(figure) for figure in figures)
            if not isnan(value):
                found.setdefault(run, {})[metric, scope, client, unit] = value, low, high
        return found

    def select(
        self,
        study: str,
        procedure: str,
        *,
        model: str | None = None,
        strategy: str | None = None,
        partition: str | None = None,
        variant: str = "",
    ) -> "Group":
        """Return the runs of one row of a table: one procedure, model, strategy or partition, over its seeds.

        Results without a column `partition` or `variant` come from an experiment that has a single one.
        """
        runs = self.runs[(self.runs["study"] == study) & (self.runs["procedure"] == procedure)]
        columns = (("model", model), ("strategy", strategy), ("partition", partition), ("variant", variant))
        for column, value in columns:
            if value is not None and column in runs.columns:
                runs = runs[runs[column] == value]
        return Group(self, runs.sort_values("seed"))


@dataclass(frozen=True)
class Group:
    """The runs that differ only by seed."""

    results: Results
    runs: pd.DataFrame

    @cached_property
    def finished(self) -> pd.DataFrame:
        """The runs that ended well."""
        return self.runs[self.runs["status"] == "ok"]

    @cached_property
    def _scores(self) -> dict[int, dict[tuple[str, str, int, str], tuple[float, float, float]]]:
        """The scores of the finished runs by seed."""
        runs = zip(self.finished["seed"].tolist(), self.finished["run"].tolist(), strict=True)
        return {seed: self.results.by_run.get(run, {}) for seed, run in runs}

    def of_seeds(self, seeds: Sequence[int]) -> "Group":
        """Return the runs of some seeds."""
        return Group(self.results, self.runs[self.runs["seed"].isin(seeds)])

    def first(self, column: str, default: str = "") -> str:
        """Return a column of the first run, or `default` where there is none."""
        values = self.runs[column].dropna()
        return str(values.iloc[0]) if len(values) and values.iloc[0] else default

    def by_seed(self, measure: Measure, unit: str) -> pd.DataFrame:
        """Return value, low and high by seed, in the measure's own unit."""
        key = measure.metric, measure.scope, -1, unit
        found = {seed: scores[key] for seed, scores in self._scores.items() if key in scores}
        if measure.convert is not None:
            convert = measure.convert
            found = {seed: (convert(value), convert(low), convert(high)) for seed, (value, low, high) in found.items()}
        return pd.DataFrame.from_dict(found, orient="index", columns=["value", "low", "high"], dtype=float)

    def estimate(self, measure: Measure, unit: str) -> Estimate | None:
        """Return the mean over seeds, or None where no run has the measure."""
        frame = self.by_seed(measure, unit)
        if frame.empty:
            return None
        low, high = (None if frame[end].isna().any() else float(frame[end].mean()) for end in ("low", "high"))
        sd = float(frame["value"].std(ddof=1)) if len(frame) > 1 else None
        return Estimate(float(frame["value"].mean()), low, high, sd, len(frame), measure.digits)

    def over_clients(self, metric: str, unit: str) -> pd.DataFrame:
        """Return a metric of each client's own model: a row a seed, a column a client."""
        found = {
            seed: {
                client: value
                for (name, scope, client, counted), (value, _, _) in scores.items()
                if (name, scope, counted) == (metric, "client", unit) and client >= 0
            }
            for seed, scores in self._scores.items()
        }
        return pd.DataFrame.from_dict({seed: row for seed, row in found.items() if row}, orient="index", dtype=float)

    def own_scores(self, metric: str, unit: str) -> dict[int, Estimate]:
        """Return a metric of each client's own model in the first finished seed, with its bootstrap interval."""
        if self.finished.empty:
            return {}
        scores = self.results.by_run.get(str(self.finished["run"].iloc[0]), {})
        return {
            client: Estimate(value, low, high)
            for (name, scope, client, counted), (value, low, high) in sorted(
                scores.items(), key=lambda item: item[0][2]
            )
            if (name, scope, counted) == (metric, "client", unit) and client >= 0
        }

    def histories(self) -> Iterator[tuple[int, pd.DataFrame]]:
        """Yield (seed, history) of each finished run that has one, by seed."""
        for run, seed in zip(self.finished["run"], self.finished["seed"], strict=True):
            history = self.results.histories.of(str(run))
            if len(history):
                yield int(seed), history

    def usages(self) -> list[dict[str, Any]]:
        """Return usage.json of each finished run, by seed."""
        return [read_json(self.results.folder / "runs" / str(run) / "usage.json") for run in self.finished["run"]]

    def cell(self, measure: Measure, unit: str) -> "Estimate | str":
        """Return the estimate; NOT_RUN where no run ended well; nothing where the measure does not apply."""
        return NOT_RUN if self.finished.empty else (self.estimate(measure, unit) or "")

    def note(self, seeds: Sequence[int]) -> str:
        """Return why runs of the wanted seeds are not in the row, nothing when all are."""
        if self.runs.empty:
            return f"{NOT_RUN}: no run in this result set"
        failed = self.runs[self.runs["status"] != "ok"]
        reasons = [
            f"{NOT_RUN}: seed {seed}: {message}"
            for seed, message in zip(failed["seed"], failed["message"], strict=True)
        ]
        missing = [str(seed) for seed in seeds if seed not in set(self.runs["seed"])]
        if missing:
            reasons.append(f"{NOT_RUN}: seed {', '.join(missing)}: no run in this result set")
        return "; ".join(reasons)


def _scored(folder: Path, name: str) -> Path:
    path = folder / "scores" / name
    if not path.is_file():
        raise FedbenchError("no such file", where=path, remedy="Score the runs first.")
    return path
