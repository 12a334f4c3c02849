"""The page of a finished experiment that is kept in git: every table, and where the numbers come from."""

import json

import fake_results as fake
import pytest

from fedbench import provenance
from fedbench.errors import FedbenchError
from fedbench.files import write_json
from fedbench.manifest import describe
from fedbench.reporting import build
from fedbench.reporting.contents import table_names
from fedbench.reporting.reference import keep


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished experiment, and its manifest as if every run were of a commit."""
    results = fake.build(tmp_path_factory.mktemp("results") / "fake", seeds=1)
    build.tables(fake.experiment(), results, fake.PUBLISHED)
    (results / "lock.txt").write_text("")
    told = describe(fake.experiment(), results / "scores/runs.parquet", results / "lock.txt", results / "logs")
    for run in told["runs"].values():
        run["dirty"] = False
    told["environments"] = dict.fromkeys(told["environments"], provenance.describe())
    return results, told


def test_the_page_holds_every_table_and_where_the_numbers_come_from(finished, tmp_path):
    results, told = finished
    write_json(results / "manifest.json", told)
    text = keep(results, tmp_path).read_text()
    assert text.startswith(f"# {fake.experiment().title}\n")
    for name in table_names(fake.experiment()):
        assert f"\n## {name}\n\n{(results / 'tables' / f'{name}.md').read_text()}" in text
    statuses = [run["status"] for run in told["runs"].values()]
    assert f"{statuses.count('ok')} ok" in text
    for run in told["runs"].values():
        assert not run["commit"] or run["commit"] in text
    assert told["written"] in text
    assert provenance.host()["processor"] in text


def test_runs_of_code_that_no_commit_holds_are_refused(finished, tmp_path):
    results, told = finished
    dirty = json.loads(json.dumps(told))
    next(iter(dirty["runs"].values()))["dirty"] = True
    write_json(results / "manifest.json", dirty)
    with pytest.raises(FedbenchError, match=f"1 of {len(told['runs'])} runs"):
        keep(results, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_experiment_that_is_not_finished_is_refused(tmp_path):
    with pytest.raises(FedbenchError, match="make reproduce"):
        keep(tmp_path, tmp_path)
