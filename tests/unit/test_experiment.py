"""The experiment file: what it expands to, and what it refuses."""

from pathlib import Path

import pytest

from fedbench.errors import FedbenchError
from fedbench.experiment import load, read_registry, read_yaml
from fedbench.runs import runs
from fedbench.schema import schemas, text


@pytest.fixture(scope="module")
def folder(repository) -> Path:
    return repository / "config"


def table(folder, **changes):
    return runs(load({"experiment": "demo", **changes}, folder=folder), read_registry(folder))


def test_schemas_are_those_of_the_vocabulary(repository):
    for name, schema in schemas().items():
        path = repository / "workflow" / "schemas" / name
        assert path.is_file(), f"run: python -m fedbench.schema workflow/schemas  (missing {name})"
        assert path.read_text() == text(schema), f"run: python -m fedbench.schema workflow/schemas  (stale {name})"


def test_demo_names_every_run_of_both_papers(folder):
    labels = sorted(spec.label for spec in table(folder).values())
    assert len([label for label in labels if label.startswith("gsfs-")]) == 12
    assert [label for label in labels if label.startswith("edge-fit")] == [
        "edge-fit-centralised-smollm2-s0",
        "edge-fit-local-only-smollm2-s0",
        "edge-fit-smollm2-s0",
        "edge-fit-zero-shot-smollm2-s0",
    ]


def test_one_models_learning_rate_changes_that_models_runs_only(folder):
    before = table(folder)
    gsfs = {"overrides": {"smollm2": {"learning_rate": 5e-4}}}
    after = table(folder, gsfs=gsfs)
    changed = {spec.label for name, spec in after.items() if name not in before}
    assert changed == {"gsfs-centralised-smollm2-s0"}


def test_one_more_seed_adds_that_seed_only(folder):
    before, after = table(folder), table(folder, gsfs={"seeds": [0, 1, 2, 3]})
    assert set(before) < set(after)
    assert {after[name].seed for name in set(after) - set(before)} == {3}


def test_only_narrows_the_run_table(folder):
    chosen = table(folder, only={"strategies": ["gsfs"], "seeds": ["1"]})
    assert [spec.label for spec in chosen.values()] == ["gsfs-gsfs-minilm-dirichlet-s1"]
    with pytest.raises(FedbenchError, match="leaves no run"):
        table(folder, only={"strategies": ["none"]})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sed": 1}, r"demo\.yaml: key 'sed', value 1: unknown key.*Did you mean 'seed'"),
        ({"seed": "x"}, r"key 'seed', value 'x': Input should be a valid integer"),
        ({"gsfs": {"flows": {"clients": {"alpha": 0}}}}, r"key 'gsfs\.flows\.clients\.alpha', value 0"),
        ({"gsfs": {"federation": {"clients_per_round": 6}}}, r"clients_per_round \(6\) exceeds gsfs clients\.count"),
        ({"gsfs": {"models": ["minilmm"]}}, r"'gsfs\.models': 'minilmm' is not registered.*Did you mean 'minilm'"),
        ({"gsfs": {"strategies": ["fedavgg"]}}, r"'gsfs\.strategies': 'fedavgg' is not registered"),
        ({"gsfs": {"overrides": {"bertt": {}}}}, r"overrides\.bertt' names no registered model"),
        ({"gsfs": {"overrides": {"minilm": {"epoch": 1}}}}, r"overrides.*key 'epoch', value 1: unknown key"),
        ({"gsfs": {"flows": {"split": {"train": 0.8}}}}, r"gsfs\.flows\.split.*must be 1"),
        ({"edge_fit": {"instructions": {"clients": {"partition": "device"}}}}, "needs flows"),
    ],
)  # fmt: skip
def test_faults_name_key_value_and_remedy(folder, changes, said):
    with pytest.raises(FedbenchError, match=said) as fault:
        table(folder, **changes)
    assert "Remedy:" in str(fault.value)


def test_missing_mirror_folder_says_how_to_get_the_data(folder):
    source = {"kind": "mirror", "path": "/nowhere/iot23"}
    base = read_yaml(folder / "experiments" / "demo.yaml")
    base["gsfs"]["flows"]["source"] = source
    with pytest.raises(FedbenchError, match=r"'/nowhere/iot23' does not exist.*Remedy: Put the data set"):
        load({**base, "experiment": "elsewhere"}, folder=folder)


def test_unknown_experiment_lists_the_known_ones(folder):
    with pytest.raises(FedbenchError, match=r"no such file.*demo.*real"):
        load({"experiment": "nothing"}, folder=folder)


def test_broken_yaml_names_the_line(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: 1\nb: [\n")
    with pytest.raises(FedbenchError, match=r"bad\.yaml:3: not valid YAML"):
        read_yaml(tmp_path / "bad.yaml")
