"""A bad configuration stops before any job, with one message that names file, key, value and remedy."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from checkout import REPOSITORY, Checkout

from fedbench.experiment import overlay

TINY = yaml.safe_load((REPOSITORY / "tests" / "workflow" / "tiny.yaml").read_text())

# What is laid over a good configuration, and what the message must say beside the file and a remedy.
BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key": ({"gsfs": {"flows": {"clients": {"alpah": 1}}}}, ["gsfs.flows.clients.alpah", "alpha"]),
    "wrong type": ({"gsfs": {"federation": {"rounds": "many"}}}, ["gsfs.federation.rounds", "many"]),
    "unknown model": ({"gsfs": {"models": ["bert-giant"]}}, ["gsfs.models", "bert-giant", "tiny-bert"]),
    "unknown strategy": ({"gsfs": {"strategies": ["fedavgg"]}}, ["gsfs.strategies", "fedavgg", "fedavg"]),
    "unknown teacher": (
        {"edge_fit": {"instructions": {"self_instruct": {"teacher": "smollm"}}}},
        ["edge_fit.instructions.self_instruct.teacher", "smollm", "template", "smollm2"],
    ),
    "alpha not positive": ({"gsfs": {"flows": {"clients": {"alpha": 0}}}}, ["gsfs.flows.clients.alpha", "0"]),
    "too large a cohort": ({"gsfs": {"federation": {"clients_per_round": 9}}}, ["clients_per_round", "9", "3"]),
    "no mirror": (
        {"edge_fit": {"instructions": {"source": {"kind": "mirror", "path": "no/such/folder", "rows": None}}}},
        ["source.path", "no/such/folder"],
    ),
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("errors"))


def assert_stops(checkout: Checkout, output: str, code: int, said: list[str]) -> None:
    assert code != 0
    assert "Remedy" in output
    assert "Traceback" not in output
    for part in said:
        assert part in output
    assert "Job " not in output
    assert not (checkout.folder / "results").exists()


def without_none(value: Any) -> Any:
    """Drop the keys that a case sets to nothing."""
    if not isinstance(value, dict):
        return value
    return {key: without_none(inner) for key, inner in value.items() if inner is not None}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_stops_before_any_job(checkout, tmp_path, case):
    bad, said = BAD[case]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(without_none(overlay(TINY, bad))))
    answer = checkout.snakemake(config=path)
    assert_stops(checkout, answer.stdout, answer.returncode, ["mine.yaml", *said])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("gsfs={flows: {clients: {alpha: -1}}}", ["gsfs.flows.clients.alpha", "-1"]),
        ("edge_fit={procedures: [one-shot]}", ["edge_fit.procedures", "one-shot"]),
        ("experiment=no-such-experiment", ["no-such-experiment", "demo"]),
    ],
)
def test_an_override_passes_through_the_same_check(checkout, override, said):
    answer = checkout.snakemake("--config", override)
    assert_stops(checkout, answer.stdout, answer.returncode, ["config/experiments", *said])


def test_a_quorum_outside_its_range_stops_before_any_job(checkout):
    path = checkout.folder / "config" / "strategies.yaml"
    good = path.read_text()
    try:
        for quorum in (0, 1.5):
            entries = yaml.safe_load(good)
            entries["gsfs"].setdefault("options", {})["quorum"] = quorum
            path.write_text(yaml.safe_dump(entries))
            answer = checkout.snakemake("--config", "experiment=demo")
            assert_stops(checkout, answer.stdout, answer.returncode, ["config/strategies.yaml", "quorum", str(quorum)])
    finally:
        path.write_text(good)


def test_a_file_that_is_no_yaml_is_refused(checkout, tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("gsfs: [1\n")
    answer = checkout.snakemake(config=path)
    assert answer.returncode != 0
    assert "not valid JSON or YAML" in answer.stdout
    assert not (checkout.folder / "results").exists()
