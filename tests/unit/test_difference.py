"""Two result sets compared: what differs is told, and what lies within the intervals is equal."""

import json
import shutil
from pathlib import Path

import fake_results as fake
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from fedbench.cli import app
from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.manifest import describe
from fedbench.reporting.difference import Score, as_text, compare
from fedbench.reporting.results import Estimate


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result set with its manifest."""
    results = fake.build(tmp_path_factory.mktemp("a") / "fake", seeds=2)
    lock = results / "lock.txt"
    lock.write_text("numpy==1\n")
    write_json(
        results / "manifest.json", describe(fake.experiment(), results / "scores/runs.parquet", lock, results / "logs")
    )
    return results


@pytest.fixture
def second(first: Path, tmp_path: Path) -> Path:
    """A copy of the first."""
    shutil.copytree(first, tmp_path / "b")
    return tmp_path / "b"


def change(results: Path, name: str, where: dict[str, object], column: str, to: object) -> None:
    """Set a column of scores or runs where other columns have the given values."""
    path = results / "scores" / f"{name}.parquet"
    table = pq.read_table(path)
    frame = table.to_pandas()
    chosen = (frame[list(where)] == list(where.values())).all(axis=1)
    assert chosen.any()
    frame.loc[chosen, column] = to
    pq.write_table(type(table).from_pandas(frame, table.schema, preserve_index=False), path)


def call(*arguments: object):
    return CliRunner().invoke(app, ["diff", *map(str, arguments)])


def test_a_result_set_equals_its_copy(first, second):
    found = compare(first, second)
    assert found.equal
    assert len(found.scores) > 50
    assert not found.runs
    assert not found.configuration
    assert not found.origin
    answer = call(first, second)
    assert answer.exit_code == 0
    assert "Equal within intervals." in answer.stdout
    assert f"0 of {len(found.scores)} scores differ" in answer.stdout


@pytest.mark.parametrize(
    ("a", "b", "overlap"),
    [
        (Estimate(0.5, 0.4, 0.6), Estimate(0.65, 0.59, 0.7), True),
        (Estimate(0.5, 0.4, 0.6), Estimate(0.65, 0.6, 0.7), True),  # one point is enough
        (Estimate(0.5, 0.4, 0.6), Estimate(0.65, 0.61, 0.7), False),
        (Estimate(0.65, 0.61, 0.7), Estimate(0.5, 0.4, 0.6), False),
        (Estimate(0.5), Estimate(0.5), True),
        (Estimate(0.5), Estimate(0.5001, 0.4, 0.6), False),  # one without an interval has to be equal
    ],
)
def test_intervals_overlap_where_they_share_a_point(a, b, overlap):
    assert Score("run", "central", "flow", "accuracy", a, b).overlap is overlap


def test_a_score_beyond_the_interval_is_told_with_both_intervals(first, second):
    run = next((second / "runs").glob("gsfs-minilm-s0-*")).name
    where = {"run": run, "metric": "accuracy", "scope": "central", "unit": "flow"}
    for column, value in (("low", 0.1), ("value", 0.2), ("high", 0.3)):
        change(second, "scores", where, column, value)
    apart = [score for score in compare(first, second).scores if not score.overlap]
    assert [(score.run, score.metric, score.unit) for score in apart] == [("gsfs-minilm", "accuracy", "flow")]
    answer = call(first, second)
    assert answer.exit_code == 3
    assert "0.2000 [0.1000, 0.3000]" in answer.stdout
    assert "apart" in answer.stdout
    assert "overlap" not in answer.stdout.replace("do not overlap", "")
    assert "overlap" in call(first, second, "--all").stdout.replace("do not overlap", "")


def test_a_run_that_failed_in_one_of_them_is_a_difference(first, second):
    change(second, "runs", {"label": "gsfs-fedavg-dirichlet-s1"}, "status", "failed")
    found = compare(first, second)
    assert found.runs == {"gsfs-fedavg-dirichlet": ("ok: 0, 1", "failed: 1; ok: 0")}
    assert not found.equal
    # The means are then of the seed that both have.
    assert {score.a.seeds for score in found.scores if score.run == "gsfs-fedavg-dirichlet"} == {1}
    assert {score.a.seeds for score in found.scores if score.run == "gsfs-gsfs-dirichlet"} == {2}


def test_a_run_that_only_one_of_them_has_is_a_difference(first, second):
    change(second, "runs", {"label": "gsfs-minilm-s0"}, "label", "gsfs-other-s0")
    runs = compare(first, second).runs
    assert runs == {"gsfs-minilm": ("ok: 0", "(absent)"), "gsfs-other": ("(absent)", "ok: 0")}


def test_costs_configuration_and_versions_are_told_but_are_no_difference_of_results(first, second):
    change(second, "runs", {"label": "gsfs-minilm-s0"}, "seconds", 24.0)
    manifest = read_json(second / "manifest.json")
    manifest["configuration"]["report"]["bootstrap"] = 5000
    manifest["versions"]["torch"] = "0.0.1"
    write_json(second / "manifest.json", manifest)
    found = compare(first, second)
    assert ("gsfs-minilm", "seconds", 12.0, 24.0) in found.costs
    assert found.configuration == {"report.bootstrap": (1000, 5000)}
    assert found.origin["versions.torch"][1] == "0.0.1"
    assert found.equal
    text = as_text(found)
    assert "2.00" in text
    assert "report.bootstrap" in text
    told = json.loads(call(first, second, "--json").stdout)
    assert told["equal"]
    assert told["configuration"] == {"report.bootstrap": {"a": 1000, "b": 5000}}
    assert len(told["scores"]) == len(found.scores)
    assert told["scores"][0]["a"]["low"] <= told["scores"][0]["a"]["value"]


def test_a_folder_without_results_is_an_error_that_says_what_to_do(first, tmp_path):
    with pytest.raises(FedbenchError, match="results/<experiment>"):
        compare(first, tmp_path)
    answer = call(first, tmp_path)
    assert answer.exit_code == 1
