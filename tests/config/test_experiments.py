"""Every experiment file validates, and the engine plans all its jobs without running one."""

import re
from pathlib import Path

import pytest
import yaml
from checkout import REPOSITORY, Checkout

from fedbench import experiment as experiments
from fedbench import runs as run_table
from fedbench.experiment import overlay
from fedbench.reporting import build, contents
from fedbench.spec import Experiment

FILES = sorted((REPOSITORY / "config" / "experiments").glob("*.yaml"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("experiments"))


def with_mirrors(config: dict, folder: Path) -> dict:
    """Point every mirror at an empty folder: a plan needs the folder, only the jobs need what is in it."""
    for study, data in (("gsfs", "flows"), ("edge_fit", "instructions")):
        if config.get(study, {}).get(data, {}).get("source", {}).get("kind") == "mirror":
            config = overlay(config, {study: {data: {"source": {"path": str(folder)}}}})
    return config


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param.name
    path.write_text(yaml.safe_dump(with_mirrors(experiments.read_yaml(request.param), tmp_path)))
    return path


def test_every_file_is_named_after_its_experiment():
    assert FILES
    assert [experiments.read_yaml(path)["experiment"] for path in FILES] == [path.stem for path in FILES]


def test_the_engine_plans_every_run_and_table(checkout, config):
    experiment = Experiment.model_validate(experiments.read_yaml(config))
    registry = experiments.read_registry(REPOSITORY / "config")
    planned = checkout.planned(config=config)
    assert {job.removeprefix("Run: ") for job in planned if job.startswith("Run: ")} == set(
        run_table.runs(experiment, registry)
    )
    tables = [name for name in contents.table_names(experiment) if not name.endswith("-verdict")]
    made = {job.split(": ")[1] for job in planned if job.startswith(("Table: ", "Audit: "))}
    assert made == set(tables)
    assert not (checkout.folder / "results").exists()


def test_the_plan_names_the_tables_and_figures_that_reporting_can_make(config):
    experiment = Experiment.model_validate(experiments.read_yaml(config))
    assert contents.table_names(experiment) == build.table_names(experiment)
    assert contents.figure_names(experiment) == build.figure_names(experiment)


def test_every_caption_that_a_rule_names_is_there():
    rules = REPOSITORY / "rules"
    named = {name for path in rules.glob("*.smk") for name in re.findall(r'caption="(.+)"', path.read_text())}
    assert named
    assert [name for name in named if not (rules / name).is_file()] == []
