"""Differences between two runs on the same test rows, with the bootstrap interval of the difference."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from fedbench.errors import FedbenchError
from fedbench.evaluation.resampling import METRICS, bootstrap, generator
from fedbench.evaluation.score import UNPARSED, points
from fedbench.files import read_parquet

Interval = tuple[float, float, float]
"""(difference, low, high)."""


def answers(predictions: pd.DataFrame, scope: str) -> pd.DataFrame:
    """Return truth and one column of answers a model, by test row: the central model, or every client's own."""
    chosen = predictions[predictions["scope"] == scope]
    wide = chosen.pivot(index="row_id", columns="client", values="predicted")
    truth = chosen.drop_duplicates("row_id").set_index("row_id")["truth"]
    return wide.astype(object).where(wide.notna(), UNPARSED).assign(truth=truth).sort_index()


def differences(mine: pd.DataFrame, theirs: pd.DataFrame, draws: int, name: str) -> Mapping[str, Interval]:
    """Return, for each metric, mine less theirs with its 95 % percentile interval, resampling rows for both at once.

    Args:
        mine, theirs: as `answers` returns them; several models count by their mean.
        draws: bootstrap resamples.
        name: seeds the resampling.

    Raises:
        FedbenchError: the two were asked different test rows.
    """
    if not mine.index.equals(theirs.index) or not (mine["truth"] == theirs["truth"]).all():
        raise FedbenchError("two runs that are compared were asked different test rows", where=name)
    truth = mine["truth"].astype(str).to_numpy(dtype=object)
    given = [part[column].to_numpy(dtype=object) for part in (mine, theirs) for column in part.columns.drop("truth")]
    labels = sorted(set(truth).union(*given) - {UNPARSED})
    code = {label: index for index, label in enumerate([*labels, UNPARSED])}
    encode = np.vectorize(code.__getitem__, otypes=[np.int64])
    drawn = bootstrap(encode(truth), np.stack([encode(one) for one in given]), len(labels), draws, generator(name))
    exact = np.array([points(truth, one) for one in given])
    count = len(mine.columns) - 1
    difference = exact[:count].mean(axis=0) - exact[count:].mean(axis=0)
    spread = drawn[:, :count].mean(axis=1) - drawn[:, count:].mean(axis=1)
    low, high = np.quantile(spread, [0.025, 0.975], axis=0)
    return {metric: (float(difference[k]), float(low[k]), float(high[k])) for k, metric in enumerate(METRICS)}


def read(run: Path, scope: str) -> pd.DataFrame:
    """Return the answers of a finished run; see `answers`."""
    return answers(read_parquet(run / "predictions.parquet"), scope)
