"""Quality under a budget and cost to a target: known answers from hand-made histories, and honest sentences."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fake_results as fake
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedbench.evaluation.histories import collate
from fedbench.reporting import build
from fedbench.reporting.budget import BETTER, OPEN, SINGLE, WORSE, budget, readings
from fedbench.reporting.results import Estimate, Results
from fedbench.reporting.trajectories import BYTES, SECONDS, cost_of, score_within, trajectory

MIB = 2**20
FEDAVG, GSFS = ("fedavg", "FedAvg", "FedAvg"), ("gsfs", "GSFS", "GSFS (Proposed)")


def history(scores: Sequence[float | None], size: int = MIB, seconds: float = 10.0) -> pd.DataFrame:
    """One client; round k sends `size` bytes each way and takes `seconds`; None makes no version."""
    rows: list[dict[str, Any]] = []
    for number, score in enumerate(scores):
        place = {"step": number, "round": number}
        if number:
            sent = {"bytes_up": size, "bytes_down": size, "uploaded": True}
            rows.append({**place, "client": 0, "phase": "train", "loss": 1.0, **sent, "virtual_seconds": 1.0})
        phase = "server" if score is None else "validation"
        clock = seconds * number if number else None
        rows.append({**place, "client": -1, "phase": phase, "accuracy": score, "virtual_seconds": clock})
    return pa.Table.from_pylist(rows, fake.HISTORY).to_pandas()


def results(
    folder: Path, found: dict[tuple[str, str, str], list[pd.DataFrame]], partition: str = "dirichlet"
) -> Results:
    """Results that hold nothing but finished federated runs with these histories, one a seed."""
    runs = []
    for (name, title, published), histories in found.items():
        for seed, table in enumerate(histories):
            run = f"{name}-{partition}-s{seed}"
            (folder / "runs" / run).mkdir(parents=True)
            pq.write_table(
                pa.Table.from_pandas(table, fake.HISTORY, preserve_index=False),
                folder / "runs" / run / "history.parquet",
            )
            runs.append({"run": run, "seed": seed, "strategy": name, "partition": partition})
            runs[-1] |= {"strategy_title": title, "strategy_published": published}
    collate(sorted((folder / "runs").iterdir()), folder / "scores" / "histories.parquet")
    common = {"study": "gsfs", "procedure": "federated", "status": "ok"}
    return Results(folder, pd.DataFrame(), pd.DataFrame(runs).assign(**common))


def experiment(**report: Any) -> Any:
    return fake.experiment(report={"budgets": [0.5, 1.0], "targets": [0.9], **report})


def test_a_trajectory_adds_up_bytes_of_all_clients_and_keeps_only_versions() -> None:
    path = trajectory(history([0.2, None, 0.5, 0.6]), "both")
    assert path["accuracy"].tolist() == [0.2, 0.5, 0.6]
    assert path["bytes"].tolist() == [0, 4 * MIB, 6 * MIB]
    assert path["seconds"].tolist() == [0, 20, 30]
    assert path["versions"].tolist() == [0, 1, 2]
    assert trajectory(history([0.2, 0.5]), "up")["bytes"].tolist() == [0, MIB]


def test_what_is_spent_after_the_last_version_counts() -> None:
    path = trajectory(history([0.2, 0.5, None, None]), "both")
    assert path["accuracy"].tolist() == [0.2, 0.5, 0.5]
    assert path["bytes"].tolist() == [0, 2 * MIB, 6 * MIB]
    assert path["seconds"].tolist() == [0, 10, 30]
    assert path["versions"].tolist() == [0, 1, 1]
    assert cost_of(path, BYTES, 0.5) == 2 * MIB


def test_lost_and_failed_exchanges_cost_what_they_cost() -> None:
    table = history([0.2, 0.5])
    lost = table[table["phase"] == "train"].assign(client=1, phase="lost", uploaded=False)
    failed = lost.assign(client=2, phase="failed", bytes_up=0)
    assert trajectory(pd.concat([table, lost, failed]), "both")["bytes"].tolist() == [0, 5 * MIB]


def test_score_within_a_budget_is_the_newest_versions_not_the_best() -> None:
    path = trajectory(history([0.2, 0.7, 0.6]), "both")
    assert score_within(path, BYTES, 2 * MIB) == 0.7
    assert score_within(path, BYTES, 4 * MIB) == 0.6
    assert score_within(path, BYTES, 2 * MIB - 1) == 0.2
    assert score_within(path.iloc[1:], BYTES, MIB) is None, "no version within the budget"


def test_cost_is_that_of_the_first_version_to_reach_the_target() -> None:
    path = trajectory(history([0.2, 0.7, 0.6, 0.8]), "both")
    assert (cost_of(path, BYTES, 0.7), cost_of(path, SECONDS, 0.75)) == (2 * MIB, 30)
    assert cost_of(path, BYTES, 0.9) is None


def table_of(found: dict[tuple[str, str, str], list[pd.DataFrame]], folder: Path, **report: Any) -> pd.DataFrame:
    return budget(experiment(**report), results(folder, found)).set_index("Question")


@pytest.fixture
def winning() -> dict[tuple[str, str, str], list[pd.DataFrame]]:
    """GSFS is 0.1 better at half the bytes and half the time, in each of three seeds."""
    slow = [history([0.2, 0.5 + e, 0.8 + e]) for e in (0, 0.01, 0.02)]
    fast = [history([0.2, 0.6 + 2 * e, 0.9 + e], MIB // 2, 5.0) for e in (0, 0.01, 0.02)]
    return {FEDAVG: slow, GSFS: fast}


def test_known_answers(winning: Any, tmp_path: Path) -> None:
    table = table_of(winning, tmp_path)
    half = table.loc["accuracy within 2.00 MiB up and down (50 % of FedAvg's mean)"]
    assert (half["FedAvg"].value, half["GSFS"].value) == (pytest.approx(0.51), pytest.approx(0.91))
    assert half["GSFS less FedAvg"].value == pytest.approx(0.40)
    assert half["Reading"] == BETTER
    cost = table.loc["MiB up and down to accuracy 0.729 (90 % of FedAvg's last)"]
    assert (cost["FedAvg"].value, cost["GSFS"].value, cost["Reading"]) == (4, 2, BETTER)
    assert table.loc["global versions to accuracy 0.729 (90 % of FedAvg's last)"]["Reading"] == OPEN, "two each"


def test_intervals_are_students_over_seeds(winning: Any, tmp_path: Path) -> None:
    cell = table_of(winning, tmp_path).iloc[0]["FedAvg"]
    assert cell.seeds == 3
    assert cell.high - cell.value == pytest.approx(4.303 * 0.01 / 3**0.5, rel=1e-3)


def test_intervals_end_where_accuracy_does(tmp_path: Path) -> None:
    found = {FEDAVG: [history([0.2, value, value]) for value in (0.1, 0.5, 0.99)]}
    cell = table_of(found, tmp_path).iloc[0]["FedAvg"]
    assert (cell.low, cell.high) == (0, 1)


def test_budgets_name_the_cheapest_strategy_as_well(winning: Any, tmp_path: Path) -> None:
    questions = table_of(winning, tmp_path).index
    assert "accuracy within 2.00 MiB up and down (all that GSFS used)" in questions


def test_the_sentence_says_where_gsfs_wins(winning: Any, tmp_path: Path) -> None:
    (text,) = budget(experiment(), results(tmp_path, winning)).attrs["findings"]
    assert text.startswith("Dirichlet (α = 0.5): GSFS beats FedAvg on ")
    assert "accuracy within 2.00 MiB up and down" in text
    assert "worse" not in text


def test_the_sentence_says_where_gsfs_loses(winning: Any, tmp_path: Path) -> None:
    swapped = {FEDAVG: winning[GSFS], GSFS: winning[FEDAVG]}
    (text,) = budget(experiment(), results(tmp_path, swapped)).attrs["findings"]
    assert "GSFS does not beat FedAvg on any of" in text
    assert "It is worse on" in text


def test_noise_is_no_win(tmp_path: Path) -> None:
    noisy = [history([0.2, 0.5, value]) for value in (0.70, 0.90, 0.75)]
    other = [history([0.2, 0.5, value]) for value in (0.80, 0.75, 0.85)]
    found = results(tmp_path, {FEDAVG: noisy, GSFS: other})
    assert BETTER not in readings(experiment(), found)
    assert WORSE not in readings(experiment(), found)


def test_one_seed_names_no_winner(winning: Any, tmp_path: Path) -> None:
    single = {name: histories[:1] for name, histories in winning.items()}
    frame = budget(experiment(), results(tmp_path, single))
    assert set(frame["Reading"]) == {SINGLE}
    assert "no interval, so no winner is named" in frame.attrs["findings"][0]


def test_seeds_that_miss_the_target_are_counted_and_decide_nothing(tmp_path: Path) -> None:
    base = [history([0.2, 0.8]) for _ in range(3)]
    mixed = [history([0.2, value], MIB // 4) for value in (0.8, 0.8, 0.3)]
    row = table_of({FEDAVG: base, GSFS: mixed}, tmp_path).loc[
        "MiB up and down to accuracy 0.720 (90 % of FedAvg's last)"
    ]
    assert row["GSFS"].remark == "reached in 2 of 3 seeds"
    assert row["GSFS"].low is None, "a mean over the seeds that made it has no interval"
    assert row["Reading"] == "undecided: not every seed does"


def test_a_target_that_nobody_reaches_reads_not_reached(tmp_path: Path) -> None:
    found = {FEDAVG: [history([0.2, 0.8])] * 2, GSFS: [history([0.2, 0.3])] * 2}
    row = table_of(found, tmp_path).loc["MiB up and down to accuracy 0.720 (90 % of FedAvg's last)"]
    assert row["GSFS"] == "not reached (0 of 2 seeds)"
    assert row["Reading"] == "worse: GSFS never does"


def test_without_a_virtual_clock_there_is_no_budget_in_seconds(tmp_path: Path) -> None:
    found = {name: [history([0.2, 0.8]).assign(virtual_seconds=float("nan"))] * 2 for name in (FEDAVG, GSFS)}
    table = table_of(found, tmp_path)
    assert not [question for question in table.index if "accuracy within" in question and "seconds" in question]


def test_each_partition_is_a_study_of_its_own(winning: Any, tmp_path: Path) -> None:
    iid = results(tmp_path, {FEDAVG: winning[GSFS], GSFS: winning[FEDAVG]}, "iid")
    both = Results(tmp_path, iid.scores, pd.concat([results(tmp_path, winning).runs, iid.runs]))
    asked = fake.experiment(partitions=["dirichlet", "iid", "device"])
    frame = budget(asked, both)
    assert list(frame["Clients"].unique()) == ["Dirichlet (α = 0.5)", "IID", "by device"]
    dirichlet, iid_text, device = frame.attrs["findings"]
    assert "GSFS beats FedAvg" in dirichlet
    assert "GSFS does not beat" in iid_text
    assert device == "by device: not run."


def test_without_gsfs_there_is_a_table_and_no_comparison(winning: Any, tmp_path: Path) -> None:
    frame = budget(experiment(), results(tmp_path, {FEDAVG: winning[FEDAVG]}))
    assert "Reading" not in frame.columns
    assert "not compared" in frame.attrs["findings"][0]


def test_the_finding_is_in_every_form_of_the_table(tmp_path: Path) -> None:
    folder = fake.build(tmp_path, seeds=2)
    build.table("gsfs-budget", fake.experiment(), folder, fake.PUBLISHED)
    for suffix in ("md", "tex", "html"):
        text = (folder / "tables" / f"gsfs-budget.{suffix}").read_text()
        assert "FedAvg on " in text, suffix
        assert "validation set, not on" in text, suffix
    assert isinstance(budget(fake.experiment(), Results.read(folder)).iloc[0]["FedAvg"], Estimate)
