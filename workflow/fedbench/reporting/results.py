"""What tables and figures read: scores, runs, and estimates over seeds with their intervals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fedbench.errors import FedbenchError

NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds.

    `low` and `high` are the ends of the 95 % bootstrap interval over test rows, each averaged over seeds (these share
    one test set, so averaging does not narrow it); `sd` is the standard deviation over seeds, None for a single seed.
    """

    value: float
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    seeds: int = 1
    digits: int = 4

    def __str__(self) -> str:
        """Return `mean ± sd [low, high]`, leaving out what there is none of."""
        return " ".join(part for part in (self.mean, self.spread, self.interval) if part)

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
        paths = [folder / "scores" / name for name in ("scores.parquet", "runs.parquet")]
        for path in paths:
            if not path.is_file():
                raise FedbenchError("no such file", where=path, remedy="Score the runs first.")
        return cls(folder, *(pd.read_parquet(path) for path in paths))

    def select(self, study: str, procedure: str, *, model: str | None = None, strategy: str | None = None) -> "Group":
        """Return the runs of one row of a table: one procedure, model or strategy, over its seeds."""
        runs = self.runs[(self.runs["study"] == study) & (self.runs["procedure"] == procedure)]
        if model is not None:
            runs = runs[runs["model"] == model]
        if strategy is not None:
            runs = runs[runs["strategy"] == strategy]
        return Group(self, runs.sort_values("seed"))


@dataclass(frozen=True)
class Group:
    """The runs that differ only by seed."""

    results: Results
    runs: pd.DataFrame

    @property
    def finished(self) -> pd.DataFrame:
        """The runs that ended well."""
        return self.runs[self.runs["status"] == "ok"]

    def first(self, column: str, default: str = "") -> str:
        """Return a column of the first run, or `default` where there is none."""
        values = self.runs[column].dropna()
        return str(values.iloc[0]) if len(values) and values.iloc[0] else default

    def by_seed(self, measure: Measure, unit: str) -> pd.DataFrame:
        """Return value, low and high by seed, in the measure's own unit."""
        scores = self.results.scores
        chosen = scores[
            scores["run"].isin(self.finished["run"])
            & (scores["metric"] == measure.metric)
            & (scores["scope"] == measure.scope)
            & (scores["client"] == -1)
            & (scores["unit"] == unit)
            & scores["value"].notna()
        ]
        frame = chosen.set_index("seed")[["value", "low", "high"]].sort_index()
        return frame if measure.convert is None else frame.map(measure.convert)

    def estimate(self, measure: Measure, unit: str) -> Estimate | None:
        """Return the mean over seeds, or None where no run has the measure."""
        frame = self.by_seed(measure, unit)
        if frame.empty:
            return None
        low, high = (None if frame[end].isna().any() else float(frame[end].mean()) for end in ("low", "high"))
        sd = float(frame["value"].std(ddof=1)) if len(frame) > 1 else None
        return Estimate(float(frame["value"].mean()), low, high, sd, len(frame), measure.digits)

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
