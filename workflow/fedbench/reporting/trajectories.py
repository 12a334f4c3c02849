"""What each global version of a federated run scored, and what had been spent by then."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fedbench.reporting.measures import FEDAVG_ROW, GSFS_ROW, gsfs
from fedbench.reporting.results import Group, Results
from fedbench.spec import Experiment

BYTES, SECONDS, VERSIONS = "bytes", "seconds", "versions"
SCORE = "accuracy"


def trajectory(history: pd.DataFrame, traffic: str) -> pd.DataFrame:
    """Return one row a scored global version, the initial model first: round, accuracy, bytes, seconds, versions.

    What was spent after the last version, by a pool that never reached its quorum again, is a last row with that
    version's accuracy: the end of the run.

    Args:
        history: history.parquet of a federated run.
        traffic: "both" counts bytes up and down, "up" uploads alone; bytes are cumulative and of all clients.

    Accuracy is of the server's validation set. Seconds are of the virtual clock: modelled, NaN where there is none.
    """
    columns = ["bytes_up", "bytes_down"] if traffic == "both" else ["bytes_up"]
    exchanges = history[(history["client"] >= 0) & history["bytes_up"].notna()]  # lost and failed ones cost as much
    sent = exchanges[columns].fillna(0).sum(axis=1).groupby(exchanges["round"]).sum().cumsum()
    server = history[history["client"] == -1].sort_values("round", kind="stable")
    is_scored = server["accuracy"].notna()
    is_last = server["round"] == server["round"].max()
    kept = server[(is_scored | is_last) & is_scored.cummax()]  # nothing before the first score
    place = np.searchsorted(sent.index.to_numpy(), kept["round"].to_numpy(), side="right")
    return pd.DataFrame(
        {
            "round": kept["round"].to_numpy(),
            SCORE: kept["accuracy"].ffill().to_numpy(),
            BYTES: np.concatenate([[0.0], sent.to_numpy(dtype=float)])[place],
            SECONDS: kept["virtual_seconds"].astype(float).where(kept["round"] > 0, 0.0).to_numpy(),
            VERSIONS: ((kept["round"] > 0) & kept["accuracy"].notna()).cumsum().to_numpy(),
        }
    )


@dataclass(frozen=True)
class Strategy:
    """One strategy over one partition: its title, the paper's row it stands beside, a trajectory a seed."""

    name: str
    title: str
    row: str
    seeds: Mapping[int, pd.DataFrame]

    def total(self, unit: str) -> float:
        """Return what a run spent in all, mean over seeds."""
        return float(np.mean([path[unit].iloc[-1] for path in self.seeds.values()]))

    @property
    def final(self) -> float:
        """The accuracy of the last version, mean over seeds."""
        return float(np.mean([path[SCORE].iloc[-1] for path in self.seeds.values()]))


def strategies(experiment: Experiment, results: Results, partition: str) -> list[Strategy]:
    """Return the strategies of one partition that have a finished run with scored versions."""
    found = []
    for name in gsfs(experiment).strategies:
        group = results.select("gsfs", "federated", strategy=name, partition=partition)
        seeds = dict(_paths(group, experiment.report.traffic))
        if seeds:
            title = group.first("strategy_title", name)
            found.append(Strategy(name, title, group.first("strategy_published"), seeds))
    return found


def _paths(group: Group, traffic: str) -> Iterator[tuple[int, pd.DataFrame]]:
    for seed, history in group.histories():
        path = trajectory(history, traffic)
        if len(path):
            yield seed, path


def reference(found: list[Strategy]) -> Strategy:
    """Return the strategy that budgets and targets are shares of: FedAvg, or the first where there is none."""
    return next((strategy for strategy in found if strategy.row == FEDAVG_ROW), found[0])


def subject(found: list[Strategy]) -> Strategy | None:
    """Return GSFS, or None where it did not run; of several variants the first."""
    return next((strategy for strategy in found if strategy.row == GSFS_ROW), None)


def score_within(path: pd.DataFrame, unit: str, budget: float) -> float | None:
    """Return the accuracy of the newest version that lies within a budget; None where not even one does."""
    within = path[path[unit] <= budget * (1 + 1e-9)]
    return float(within[SCORE].iloc[-1]) if len(within) else None


def cost_of(path: pd.DataFrame, unit: str, target: float) -> float | None:
    """Return what had been spent at the first version that reached a target; None where none did."""
    reached = path[path[SCORE] >= target - 1e-12]
    value = float(reached[unit].iloc[0]) if len(reached) else float("nan")
    return None if np.isnan(value) else value
