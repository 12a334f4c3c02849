"""Tables, figures and page of results that lack runs: each missing one is named, with the reason, and has no number."""

import json
import shutil
from pathlib import Path

import fake_results as fake
import pandas as pd
import pytest

from fedbench.evaluation import histories
from fedbench.evaluation.run_table import write_runs
from fedbench.evaluation.score import collate
from fedbench.reporting import build
from fedbench.spec import RunSpec

BEGAN, NOT_BEGUN = "gsfs-gsfs-dirichlet-s0", "gsfs-gsfs-dirichlet-s1"


def without(results: Path, *labels: str, logs: tuple[str, ...] = ()) -> Path:
    """Take the runs whose labels begin so away (all: ""), and collate the rest."""
    folders = sorted((results / "runs").iterdir())
    specs = {path: RunSpec.model_validate(json.loads((path / "manifest.json").read_text())["run"]) for path in folders}
    missing = [path for path in folders if path.name.startswith(labels)]
    for path in missing:
        shutil.rmtree(path)
        if path.name.startswith(logs or "no log"):
            (results / "logs/runs").mkdir(parents=True, exist_ok=True)
            (results / f"logs/runs/{path.name}.log").write_text("round 3 of 10\n")
    rest = [path for path in folders if path not in missing]
    scores = results / "scores"
    collate([scores / f"{path.name}.parquet" for path in rest], scores / "scores.parquet")
    histories.collate(rest, scores / "histories.parquet")
    write_runs(rest, scores / "runs.parquet", missing=[specs[path] for path in missing], logs=results / "logs/runs")
    return results


def report(results: Path) -> str:
    experiment = fake.experiment()
    build.tables(experiment, results, fake.PUBLISHED)
    build.figures(experiment, results, fake.PUBLISHED)
    return build.page(experiment, results, "experiment: fake\n", {}).read_text()


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    results = fake.build(tmp_path_factory.mktemp("partial"))
    without(results, BEGAN, NOT_BEGUN, logs=(BEGAN,))
    return results, report(results)


def test_the_summary_names_the_missing_runs(partial):
    _, page = partial
    listed = page.split('id="without-result"')[1].split("</details>")[0]
    assert f"<code>{BEGAN}</code> not run: it began and did not end: see " in listed
    assert f"<code>{NOT_BEGUN}</code> not run: it has not begun" in listed
    assert "out of memory" in listed  # the failed run that is always there
    assert "3 of 16 runs have no result" in listed


def test_the_table_of_runs_has_a_row_for_each(partial):
    table = pd.read_csv(partial[0] / "tables/runs.csv", dtype=str).set_index("Run")
    assert table.loc[NOT_BEGUN, "Status"] == "not run"
    assert table.loc[NOT_BEGUN, "note"] == "it has not begun"
    assert pd.isna(table.loc[NOT_BEGUN, "Seconds"])


def test_a_row_of_the_others_says_what_is_not_in_it(partial):
    table = pd.read_csv(partial[0] / "tables/gsfs-table3.csv", dtype=str)
    row = table[table["Strategy"] == "GSFS"].iloc[0]
    assert row["seeds"] == "1"
    assert "not run: seed 1: it has not begun" in row["note"]


def test_a_report_can_be_made_before_any_run_has_ended(tmp_path):
    results = fake.build(tmp_path, seeds=1)
    count = len(list((results / "runs").iterdir()))
    page = report(without(results, ""))
    assert f"{count} of {count} runs have no result" in page
    table = pd.read_csv(results / "tables/gsfs-table3-verdict.csv", dtype=str)
    assert set(table["verdict"]) == {"not run"}
