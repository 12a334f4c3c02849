"""A strategy in one new file and one entry: the example of CONTRIBUTING.md, taken from its text and run."""

import re
from pathlib import Path

import numpy as np
import pytest
import scripted
import tiny
import yaml

from fedbench.experiment import read_registry
from fedbench.federation import strategies
from fedbench.spec import FederationSpec

TEXT = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
INITIAL = {"a": np.zeros(3, np.float32)}


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """The registry after a newcomer has followed the text."""
    path, module = re.search(r"`(\S+/strategies/\w+\.py)`:\n\n```python\n(.*?)```", TEXT, re.DOTALL).groups()
    (entry,) = re.findall(r"```yaml\n(median:.*?)```", TEXT, re.DOTALL)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / Path(path).name).write_text(module)
    # A second folder of the package stands for the file in the first, so that a test writes nothing there.
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path / "own")])
    config = tmp_path / "config"
    config.mkdir()
    for name in tiny.CONFIG.glob("*.yaml"):
        (config / name.name).write_text(name.read_text())
    known = yaml.safe_load((config / "strategies.yaml").read_text())
    (config / "strategies.yaml").write_text(yaml.safe_dump(known | yaml.safe_load(entry)))
    return read_registry(config)


def test_the_example_of_the_contributing_text_runs(registry, tmp_path):
    def update(client, number):
        return {"a": np.full(3, [1.0, 2.0, 90.0][client], np.float32)}

    federation = FederationSpec(rounds=1, clients_per_round=3, client_tier="local")
    run = tiny.run(federation=federation).model_copy(update={"strategy": registry.strategies["median"]})
    outcome, _ = scripted.federate(run, update, INITIAL, tmp_path)
    assert outcome.arrays["a"] == pytest.approx([2.0] * 3), "the median, which an outlier does not move"
