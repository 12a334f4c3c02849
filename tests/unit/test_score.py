"""Predictions and usage into scores: known answers, intervals, units, failed runs."""

from pathlib import Path

import fake_results as fake
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_recall_fscore_support, recall_score

from fedbench.errors import FedbenchError
from fedbench.evaluation.resampling import METRICS, _metrics, bootstrap, generator
from fedbench.evaluation.run_table import write_runs
from fedbench.evaluation.score import SCHEMA, collate, score

TRUTH = ["a", "a", "a", "a", "b", "b"]


def scored(tmp_path: Path, rows: list[fake.Row], draws: int = 200, **spec: object) -> pd.DataFrame:
    run = fake.run_spec("r", **{"model": fake.model(), **spec})
    folder = fake.write_run(tmp_path / "runs", run, rows)
    score(folder, tmp_path / "scores.parquet", draws)
    return pd.read_parquet(tmp_path / "scores.parquet")


def value(scores: pd.DataFrame, metric: str, scope: str = "central", client: int = -1, unit: str = "flow") -> pd.Series:
    at = (
        (scores["metric"] == metric)
        & (scores["scope"] == scope)
        & (scores["client"] == client)
        & (scores["unit"] == unit)
    )
    (row,) = (scores[at].iloc[k] for k in range(at.sum()))
    return row


def test_truth_scored_against_truth_is_one(tmp_path: Path) -> None:
    scores = scored(tmp_path, fake.predictions(TRUTH, TRUTH))
    for metric in METRICS:
        row = value(scores, metric)
        assert (row["value"], row["low"], row["high"]) == ((0, 0, 0) if metric == "unparsed" else (1, 1, 1)), metric


def test_metrics_by_hand(tmp_path: Path) -> None:
    # a: 3 of 4 found, 4 predicted of which 3 right; b: 1 of 2 found, 2 predicted of which 1 right
    scores = scored(tmp_path, fake.predictions(TRUTH, ["a", "a", "a", "b", "a", "b"]))
    wanted = {
        "accuracy": 4 / 6,
        "precision_macro": 0.625,
        "recall_macro": 0.625,
        "f1_macro": 0.625,
        "recall_weighted": 4 / 6,
    }
    for metric, number in wanted.items():
        assert value(scores, metric)["value"] == pytest.approx(number), metric
    assert value(scores, "accuracy")["n"] == 6


def test_an_unparsed_answer_is_wrong_and_counted(tmp_path: Path) -> None:
    scores = scored(tmp_path, fake.predictions(TRUTH, [None, "a", "a", "a", "b", None]), study="edge-fit")
    assert value(scores, "unparsed", unit="record")["value"] == pytest.approx(2 / 6)
    assert value(scores, "accuracy", unit="record")["value"] == pytest.approx(4 / 6)
    assert value(scores, "recall_macro", unit="record")["value"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert value(scores, "precision_macro", unit="record")["value"] == 1
    assert set(scores["unit"]) == {"record"}


def test_nothing_but_unparsed_answers_scores_zero(tmp_path: Path) -> None:
    scores = scored(tmp_path, fake.predictions(TRUTH, [None] * 6))
    assert value(scores, "f1_macro")["value"] == 0
    assert value(scores, "unparsed")["high"] == 1


def test_a_distinct_text_counts_once_per_text_and_each_time_per_flow(tmp_path: Path) -> None:
    # five flows share text 0 and are wrong; text 1 is right
    scores = scored(tmp_path, fake.predictions(TRUTH, ["b", "b", "b", "b", "a", "b"], texts=[0, 0, 0, 0, 0, 1]))
    assert value(scores, "accuracy", unit="flow")["value"] == pytest.approx(1 / 6)
    assert value(scores, "accuracy", unit="text")["value"] == pytest.approx(1 / 2)
    assert value(scores, "accuracy", unit="text")["n"] == 2


def test_client_mean_is_the_mean_over_clients(tmp_path: Path) -> None:
    rows = fake.predictions(TRUTH, TRUTH, scope="client", client=0)
    rows += fake.predictions(TRUTH, ["a"] * 6, scope="client", client=1)
    scores = scored(tmp_path, rows)
    assert value(scores, "accuracy", "client", 0)["value"] == 1
    assert value(scores, "accuracy", "client", 1)["value"] == pytest.approx(4 / 6)
    assert value(scores, "accuracy", "client", -1)["value"] == pytest.approx(5 / 6)
    assert not ((scores["scope"] == "central") & scores["metric"].isin(METRICS)).any()


def test_clients_are_resampled_together(tmp_path: Path) -> None:
    # Two clients with equal answers: their mean is as uncertain as each, not less so.
    answers = ["a", "b", "a", "b", "a", "b"] * 20
    rows = [r for c in range(2) for r in fake.predictions(TRUTH * 20, answers, scope="client", client=c)]
    scores = scored(tmp_path, rows)
    one, mean = value(scores, "accuracy", "client", 0), value(scores, "accuracy", "client", -1)
    assert (one["low"], one["high"]) == pytest.approx((mean["low"], mean["high"]))


def test_interval_agrees_with_the_binomial() -> None:
    truth, predicted = np.zeros(1000, np.int64), np.r_[np.zeros(800, np.int64), np.ones(200, np.int64)]
    drawn = bootstrap(truth, predicted[None], 2, 4000, generator("x"))[:, 0, 0]
    low, high = np.quantile(drawn, [0.025, 0.975])
    half = 1.96 * np.sqrt(0.8 * 0.2 / 1000)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.003)


def test_a_rare_class_that_is_always_missed_does_not_widen_the_interval_of_macro_f1() -> None:
    # Two rows of class 1, both taken for 0: every seventh resample has none of them, and nothing but right answers.
    truth, predicted = np.r_[np.zeros(60, np.int64), [1, 1]], np.zeros(62, np.int64)
    drawn = bootstrap(truth, predicted[None], 2, 1000, generator("x"))[:, 0, METRICS.index("f1_macro")]
    assert drawn.max() == pytest.approx(0.5)
    assert f1_score(truth, predicted, average="macro") - 0.03 < drawn.min()


def test_a_rare_class_that_is_always_found_leaves_a_perfect_score_perfect() -> None:
    truth = np.r_[np.zeros(60, np.int64), [1, 1]]
    assert (bootstrap(truth, truth[None], 2, 1000, generator("x"))[:, 0, METRICS.index("f1_macro")] == 1).all()


def test_resamples_without_a_rare_class_do_not_lower_macro_recall() -> None:
    # Eight classes of one or two rows, all found, and confused by the rows of a frequent one.
    truth = np.r_[np.zeros(30, np.int64), np.repeat(np.arange(1, 9), [1, 2] * 4)]
    predicted = np.r_[np.zeros(14, np.int64), np.repeat(np.arange(1, 9), 2), truth[30:]]
    drawn = bootstrap(truth, predicted[None], 9, 1000, generator("x"))[:, 0, METRICS.index("recall_macro")]
    assert drawn.mean() == pytest.approx(recall_score(truth, predicted, average="macro"), abs=0.01)


def test_accuracy_is_uncertain_even_where_errors_follow_classes() -> None:
    truth, predicted = np.r_[np.zeros(60, np.int64), np.ones(5, np.int64)], np.zeros(65, np.int64)
    drawn = bootstrap(truth, predicted[None], 2, 1000, generator("x"))[:, 0, METRICS.index("accuracy")]
    assert np.quantile(drawn, 0.025) < 0.88 < 60 / 65 < 0.96 < np.quantile(drawn, 0.975)


def test_what_a_client_predicts_is_no_class_of_the_others(tmp_path: Path) -> None:
    stray = ["seen nowhere else", *TRUTH[1:]]
    rows = fake.predictions(TRUTH, TRUTH) + fake.predictions(TRUTH, stray, scope="client", client=0)
    scores = scored(tmp_path, rows)
    one, other = value(scores, "f1_macro"), value(scores, "f1_macro", "client", 0)
    assert (one["value"], one["low"], one["high"]) == (1, 1, 1)
    assert other["value"] == pytest.approx(f1_score(TRUTH, stray, average="macro"))
    assert other["low"] < other["value"] < other["high"]


def test_a_class_that_only_some_resamples_predict_keeps_its_part_in_macro_f1() -> None:
    truth, predicted = np.zeros(40, np.int64), np.r_[np.zeros(39, np.int64), [1]]
    drawn = bootstrap(truth, predicted[None], 2, 1000, generator("x"))[:, 0, METRICS.index("f1_macro")]
    assert drawn.max() == pytest.approx(0.5)


def test_same_run_same_interval_other_run_other_interval(tmp_path: Path) -> None:
    rows = fake.predictions(TRUTH * 30, ["a", "b", "a", "a", "b", "a"] * 30)
    frames = [scored(tmp_path / name, rows, seed=seed) for name, seed in (("one", 0), ("two", 0), ("three", 1))]
    first, again, other = (frame.drop(columns=["run", "seed"]) for frame in frames)
    pd.testing.assert_frame_equal(first, again)
    assert not np.array_equal(first["low"], other["low"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=40))
def test_resampled_metrics_agree_with_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    ours = dict(
        zip(
            METRICS,
            _metrics(np.ones((1, len(pairs))), np.ones(len(pairs), np.int64), truth, predicted, 4)[0],
            strict=True,
        )
    )
    labels = sorted((set(truth) | set(predicted)) - {4})
    for average in ("macro", "weighted"):
        theirs = precision_recall_fscore_support(truth, predicted, labels=labels, average=average, zero_division=0)[:3]
        assert [ours[f"{name}_{average}"] for name in ("precision", "recall", "f1")] == pytest.approx(theirs)
    assert ours["accuracy"] == pytest.approx(np.mean(truth == predicted))
    assert ours["unparsed"] == pytest.approx(np.mean(predicted == 4))


def test_usage_becomes_metrics(tmp_path: Path) -> None:
    run = fake.run_spec("r", model=fake.model(), procedure="federated", strategy=fake.strategy("gsfs"))
    cost = fake.usage(bytes_up=7, versions=4, virtual={"central_seconds": 3.0, "client_seconds": 4.5, "modelled": True})
    folder = fake.write_run(tmp_path / "runs", run, fake.predictions(TRUTH, TRUTH), cost=cost)
    score(folder, tmp_path / "s.parquet", 100)
    scores = pd.read_parquet(tmp_path / "s.parquet")
    assert value(scores, "latency_ms")["value"] == 12.5
    assert value(scores, "requests_per_minute")["value"] == 60_000 / 12.5
    assert value(scores, "bytes_up")["value"] == 7
    assert value(scores, "central_seconds")["value"] == 3.0
    assert value(scores, "client_seconds", "client")["value"] == 4.5
    assert value(scores, "train_seconds")["value"] == 9.0
    assert "bytes_down" not in set(scores["metric"]), "what was not measured is no row"


def test_a_failed_run_has_no_score_but_its_reason_in_the_run_table(tmp_path: Path) -> None:
    good = fake.write_run(tmp_path / "runs", fake.run_spec("good", model=fake.model()), fake.predictions(TRUTH, TRUTH))
    bad = fake.write_run(tmp_path / "runs", fake.run_spec("bad", model=fake.model()), [], message="out of memory")
    parts = [tmp_path / f"{folder.name}.parquet" for folder in (good, bad)]
    for folder, part in zip((good, bad), parts, strict=True):
        score(folder, part, 100)
    collate(parts, tmp_path / "scores.parquet")
    write_runs([good, bad], tmp_path / "runs.parquet")
    scores, runs = pd.read_parquet(tmp_path / "scores.parquet"), pd.read_parquet(tmp_path / "runs.parquet")
    assert set(scores["run"]) == {good.name}
    assert list(scores.columns) == SCHEMA.names
    assert runs.set_index("label")["status"].to_dict() == {"good": "ok", "bad": "failed"}
    assert runs.set_index("label")["message"]["bad"] == "out of memory"


def test_scopes_over_different_rows_are_refused(tmp_path: Path) -> None:
    rows = fake.predictions(TRUTH, TRUTH) + fake.predictions(TRUTH[:3], TRUTH[:3], scope="client", client=0)
    with pytest.raises(FedbenchError, match="not asked the same test rows"):
        scored(tmp_path, rows)


def test_a_finished_run_without_predictions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FedbenchError, match="no predictions"):
        scored(tmp_path, [])
