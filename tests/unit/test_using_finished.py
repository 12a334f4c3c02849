"""Finding a finished run by folder or name, and saying what is missing where it cannot be used."""

import re
from pathlib import Path

import finished_runs
import numpy as np
import pytest
import tiny
import torch

from fedbench import running
from fedbench.errors import FedbenchError
from fedbench.models.snapshot import fetch
from fedbench.using.finished import find
from fedbench.using.unpacked import unpack

RUN = finished_runs.spec()
ARRAYS = {"a": np.ones(2, dtype=np.float32)}


def test_a_run_is_found_by_its_folder_its_label_and_its_folder_name(tmp_path):
    folder = finished_runs.write(tmp_path, RUN, ARRAYS)
    for name in (str(folder), f"tiny/{RUN.label}", f"tiny/{RUN.folder}"):
        found = find(name, tmp_path)
        assert found.run == RUN, name
        assert found.folder.resolve() == folder


def test_an_unknown_run_is_answered_with_those_that_are_there(tmp_path):
    finished_runs.write(tmp_path, RUN, ARRAYS)
    with pytest.raises(FedbenchError, match=re.escape(f"Use one of: tiny/{RUN.label}")):
        find("tiny/nosuch", tmp_path)
    with pytest.raises(FedbenchError, match=r"experiments with finished runs below .*: tiny"):
        find("nosuch/run", tmp_path)
    with pytest.raises(FedbenchError, match=r"no finished run 'tiny'.*Use one of"):
        find("tiny", tmp_path)


def test_a_label_of_two_runs_needs_the_folder_name(tmp_path):
    other = RUN.model_copy(update={"clients": 4})
    for run in (RUN, other):
        finished_runs.write(tmp_path, run, ARRAYS)
    with pytest.raises(FedbenchError, match="2 runs have the label") as raised:
        find(f"tiny/{RUN.label}", tmp_path)
    assert f"tiny/{other.folder}" in str(raised.value)
    assert find(f"tiny/{other.folder}", tmp_path).run == other


def test_a_run_that_failed_says_why(tmp_path):
    folder = finished_runs.write(tmp_path, RUN, {}, status="failed", message="out of memory")
    with pytest.raises(FedbenchError, match=r"did not succeed \(failed\): out of memory"):
        find(str(folder))


def test_a_folder_without_a_manifest_and_a_foreign_manifest_are_no_runs(tmp_path):
    with pytest.raises(FedbenchError, match="not a finished run"):
        find(str(tmp_path))
    (tmp_path / "manifest.json").write_text('{"status": "ok", "run": {"label": "x"}}')
    with pytest.raises(FedbenchError, match="not the manifest of a run"):
        find(str(tmp_path))


def test_a_missing_base_model_comes_with_the_command_that_makes_it(tmp_path):
    folder = finished_runs.write(tmp_path, RUN, ARRAYS)
    with pytest.raises(FedbenchError, match=r"tiny llama is not there.*config/experiments/tiny.yaml models"):
        find(str(folder)).trainer()
    assert find(str(folder)).snapshot(finished_runs.snapshot(tmp_path / "other", RUN).parent).is_dir()


def test_each_study_refuses_the_other_ones_runs(tmp_path):
    folder = finished_runs.write(tmp_path, RUN, ARRAYS)
    with pytest.raises(FedbenchError, match=r"answers instructions.*fedbench chat"):
        find(str(folder)).require("gsfs")
    folder = finished_runs.write(tmp_path, finished_runs.spec("gsfs"), ARRAYS)
    with pytest.raises(FedbenchError, match=r"classifies flows.*fedbench classify"):
        find(str(folder)).require("edge-fit")


def test_a_client_is_named_for_a_local_only_run_and_for_no_other(tmp_path):
    local = finished_runs.spec(procedure="local-only", alone=True)
    arrays = {f"client.{k}.a": np.full(2, k, dtype=np.float32) for k in range(3)}
    found = find(str(finished_runs.write(tmp_path, local, arrays)))
    assert found.arrays(2)["a"].tolist() == [2, 2]
    assert list(found.arrays(2)) == ["a"]
    for client in (None, 3):
        with pytest.raises(FedbenchError, match="--client 0 to --client 2"):
            found.arrays(client)
    whole = find(str(finished_runs.write(tmp_path, RUN, ARRAYS)))
    with pytest.raises(FedbenchError, match="one model for all"):
        whole.arrays(0)


def test_a_baseline_keeps_no_model_and_an_empty_adapter_is_not_taken_for_one(tmp_path):
    baseline = finished_runs.spec("gsfs", procedure="baseline", alone=True)
    baseline = baseline.model_copy(update={"model": None, "baseline": "hist-gradient-boosting"})
    with pytest.raises(FedbenchError, match="classical baseline"):
        find(str(finished_runs.write(tmp_path, baseline, {}))).trainer()
    with pytest.raises(FedbenchError, match="no model in it"):
        find(str(finished_runs.write(tmp_path, RUN, {}))).trainer()


def test_a_run_records_its_classes_so_that_its_folder_stands_alone(tmp_path):
    run = tiny.run(procedure="centralised")
    dataset, clients = tiny.data(tmp_path)
    models = tmp_path / "results" / "models"
    snapshot = models / f"tiny-bert-{run.model.weights.digest()}"
    fetch(run.model, snapshot)
    folder = tmp_path / "results" / "tiny" / "runs" / run.folder
    running.execute(run, dataset, clients, snapshot, folder, tmp_path / "checkpoints")
    dataset.unlink()
    found = find(f"tiny/{run.label}", tmp_path / "results")
    assert found.labels() == ["Benign", "DDoS"]
    assert found.trainer().loaded.model.config.id2label == {0: "Benign", 1: "DDoS"}


def test_an_old_run_without_classes_or_template_is_refused(tmp_path):
    run = finished_runs.spec("gsfs", template="budget")
    found = find(str(finished_runs.write(tmp_path, run, ARRAYS, usage={"labels": None})))
    with pytest.raises(FedbenchError, match="does not record its classes"):
        found.labels()
    with pytest.raises(FedbenchError, match="does not record the template"):
        found.template()
    chosen = find(str(finished_runs.write(tmp_path, run, ARRAYS, "other", usage={"template": "cloud"})))
    assert chosen.template() == "cloud"


def test_keys_of_training_that_need_a_device_do_not_matter_to_use(tmp_path):
    run = finished_runs.spec(training={"optimizer": "paged-adamw-8bit", "gradient_checkpointing": True})
    plain = finished_runs.spec()
    arrays = finished_runs.trained(tmp_path, plain).state()
    assert find(str(finished_runs.write(tmp_path, run, arrays))).trainer().arrays().keys() == arrays.keys()


def test_unpacked_weights_give_the_same_output_to_the_bit(tmp_path: Path):
    run = finished_runs.spec(training={"quantisation": "nf4", "dtype": "bfloat16"})
    trainer = finished_runs.trained(tmp_path, run)
    ids = torch.arange(5, 45)[None]

    def logits() -> torch.Tensor:
        with torch.inference_mode(), trainer.autocast():
            return trainer.loaded.model(input_ids=ids).logits

    before = logits()
    unpack(trainer.loaded.model, torch.bfloat16)
    left = [m for m in trainer.loaded.model.modules() if type(m).__module__.startswith("bitsandbytes")]
    if trainer.loaded.device.type == "cpu":
        assert not left
    assert torch.equal(before, logits())
