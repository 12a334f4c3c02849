"""What a plan of thousands of runs rests on: light imports, no run compared with every other, no file read in vain."""

import shutil
import subprocess
import sys
from pathlib import Path

import fake_results as fake
import pytest
import yaml

from fedbench.experiment import load, read_registry
from fedbench.reporting import build
from fedbench.reporting.contents import FROM_SCORES, figure_names
from fedbench.runs import runs
from fedbench.spec import RunSpec

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_engine_reads_configuration_without_the_heavy_libraries():
    code = "\n".join(
        [
            "import sys; from pathlib import Path",
            "from fedbench import demand, manifest, runs; from fedbench.experiment import read_registry",
            "from fedbench.reporting import captions, contents",
            f"read_registry(Path({str(REPOSITORY / 'config')!r}))",
            "print(*({'torch', 'transformers', 'pandas', 'polars', 'matplotlib', 'sklearn'} & set(sys.modules)))",
        ]
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(REPOSITORY / "workflow"), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == []


def test_no_run_is_compared_with_every_other(monkeypatch):
    experiment = yaml.safe_load((REPOSITORY / "config/experiments/demo.yaml").read_text())
    experiment["gsfs"]["seeds"] = list(range(20))
    chosen = load(experiment, folder=REPOSITORY / "config")
    registry = read_registry(REPOSITORY / "config")
    expected = list(runs(chosen, registry))

    def compared(*_: object) -> bool:
        raise AssertionError("quadratic")

    monkeypatch.setattr(RunSpec, "__eq__", compared)
    assert list(runs(chosen, registry)) == expected
    assert len(expected) > 50


@pytest.fixture(scope="module")
def without_histories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = fake.build(tmp_path_factory.mktemp("scale") / "fake", seeds=1)
    shutil.rmtree(results / "runs")
    return results


@pytest.mark.parametrize("name", sorted(FROM_SCORES))
def test_figures_that_ask_for_no_history_need_none(without_histories, name):
    experiment = fake.experiment()
    part = experiment.edge_fit.model_copy(update={"score_clients": True})
    experiment = experiment.model_copy(update={"edge_fit": part})
    assert name in figure_names(experiment)
    build.figure(name, experiment, without_histories, fake.PUBLISHED)
    assert (without_histories / "figures" / f"{name}.svg").is_file()
