"""The whole workflow on random weights: every target is there, and only what an edit touches runs again."""

import json

import pytest
import yaml
from checkout import Checkout, stages

RUNS = {"federated": 7, "centralised": 2, "baseline": 2, "prompt": 1, "zero-shot": 1, "local-only": 1}


def test_every_run_ends_well_and_leaves_its_five_files(finished):
    folders = sorted((finished.folder / "results/tiny/runs").iterdir())
    procedures: dict[str, int] = {}
    for folder in folders:
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["status"] == "ok", manifest["message"]
        procedure = manifest["run"]["procedure"]
        procedures[procedure] = procedures.get(procedure, 0) + 1
        assert {path.name for path in folder.iterdir()} == {
            "adapter.safetensors",
            "history.parquet",
            "predictions.parquet",
            "usage.json",
            "manifest.json",
        }
    assert procedures == RUNS


def test_no_checkpoint_is_left_behind(finished):
    assert not [path for path in finished.folder.glob("results/tiny/checkpoints/**/*") if path.is_file()]


def test_every_table_comes_in_four_formats_and_says_that_its_data_are_synthetic(finished):
    folder = finished.folder / "results/tiny/tables"
    papers = ["gsfs-table1", "gsfs-table2", "gsfs-table3", "edge-fit-table3", "edge-fit-table4"]
    for name in [*papers, *(f"{paper}-verdict" for paper in papers), "data-iot23", "data-dolly", "leakage", "runs"]:
        for suffix in ("md", "csv", "tex", "html"):
            assert (folder / f"{name}.{suffix}").stat().st_size > 0
        for suffix in ("md", "tex", "html"):
            assert "ynthetic" in (folder / f"{name}.{suffix}").read_text()


def test_figures_come_for_screens_and_for_print(finished):
    figures = sorted(path.name for path in (finished.folder / "results/tiny/figures").iterdir())
    assert figures
    assert {name.removesuffix(".svg") for name in figures if name.endswith(".svg")} == {
        name.removesuffix(".png") for name in figures if name.endswith(".png")
    }


def test_the_manifest_says_what_was_asked_and_what_it_cost(finished):
    folder = finished.folder / "results/tiny"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "--workflow-profile" in manifest["command"]
    assert len(manifest["runs"]) == sum(RUNS.values())
    assert all(run["seconds"] > 0 for run in manifest["runs"].values())
    assert manifest["jobs"]["iot23/clean"]["seconds"] > 0
    assert {f"runs/{name}" for name in manifest["runs"]} <= set(manifest["jobs"])
    resolved = yaml.safe_load((folder / "config.resolved.yaml").read_text())
    assert resolved == manifest["configuration"]
    assert resolved["gsfs"]["flows"]["missing"] == "keep"  # a default that the file does not give


def test_a_second_call_has_nothing_to_do(finished, tiny):
    answer = finished.snakemake(config=tiny)
    assert answer.returncode == 0
    assert "Nothing to be done" in answer.stdout


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("gsfs={flows: {sample: 150}}", "IoT-23: curated sample"),
        ("gsfs={flows: {clients: {alpha: 0.3}}}", "IoT-23: rows to clients (dirichlet)"),
        ("edge_fit={instructions: {keep: 30}}", "Dolly: records about the Internet of Things"),
    ],
)
def test_a_data_key_reruns_from_the_stage_that_reads_it(finished, tiny, override, first):
    planned = finished.planned("--config", override, config=tiny)
    other = "Dolly" if first.startswith("IoT-23") else "IoT-23"
    before = {"IoT-23: fetching the logs", "IoT-23: logs to typed flows", "Dolly: fetching the records"}
    assert first in planned
    assert not before & planned
    assert other not in stages(planned)


def test_a_tolerance_reruns_no_run(finished, tiny):
    planned = finished.planned("--config", "report={tolerance: 0.5}", config=tiny)
    assert "Verdicts: gsfs-table2" in planned
    assert not {"Run", "Score", "IoT-23", "Dolly"} & stages(planned)


def test_a_narrowed_experiment_keeps_the_runs_that_it_has(finished: Checkout, tiny):
    planned = finished.planned("--config", "only={strategies: [gsfs, fedavg]}", config=tiny)
    assert "Run" not in stages(planned)


def test_the_resolved_configuration_asks_for_the_same_again(finished):
    assert finished.planned(config=finished.folder / "results/tiny/config.resolved.yaml") == set()
