"""Which runs are to be tried again: those that failed, with the base model that was not there."""

import json
from pathlib import Path

import fake_results as fake
import pytest

from fedbench.failures import failures
from fedbench.models import unavailable


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "fake"


def write(results: Path, label: str, status: str, **changes) -> tuple[str, object]:
    run = fake.run_spec(label, **changes)
    folder = fake.write_run(results / "runs", run, [], message="no memory")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"status": status}))
    return run.folder, run


def test_failed_runs_are_found_and_others_are_not(results):
    table = dict(write(results, name, status) for name, status in (("a", "ok"), ("b", "failed"), ("c", "unavailable")))
    write(results, "no-longer-asked-for", "failed")
    gone = fake.run_spec("never-run")
    experiment = fake.experiment(results=str(results.parent))
    found = list(failures(experiment, {**table, gone.folder: gone}))
    assert [(run.label, manifest["status"]) for run, manifest, _ in found] == [("b", "failed"), ("c", "unavailable")]
    assert [paths for _, _, paths in found] == [
        [results / "runs" / run.folder / "manifest.json"] for run, _, _ in found
    ]


def test_a_model_that_was_not_there_is_fetched_again(results):
    model = fake.model()
    snapshot = results.parent / "models" / f"{model.name}-{model.weights.digest()}"
    snapshot.mkdir(parents=True)
    unavailable.mark(snapshot, model.name, "gated", "log in", snapshot)
    table = dict([write(results, "a", "unavailable", model=model)])
    ((_, _, paths),) = failures(fake.experiment(results=str(results.parent)), table)
    assert paths[1:] == [snapshot]
