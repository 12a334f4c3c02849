"""Exported folders load in transformers and PEFT and answer as the run's model; their cards say what they are."""

import re

import finished_runs
import numpy as np
import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from fedbench.cli import app
from fedbench.errors import FedbenchError
from fedbench.evaluation.score import score
from fedbench.using.export import export
from fedbench.using.finished import find

IDS = torch.arange(5, 45).reshape(2, 20)
KIND = {"gsfs": AutoModelForSequenceClassification, "edge-fit": AutoModelForCausalLM}


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits


def close(one, other) -> bool:
    return torch.allclose(logits(one).float(), logits(other).float(), atol=2e-4)


@pytest.mark.parametrize(("study", "family"), [("edge-fit", "llama"), ("edge-fit", "gpt2"), ("gsfs", "bert")])
def test_both_folders_answer_as_the_runs_model(tmp_path, study, family):
    run = finished_runs.spec(study, family)
    folder, trainer = finished_runs.finished(tmp_path, run)
    written, without = export(find(str(folder)), tmp_path / "out")
    assert without is None
    assert written == [tmp_path / "out" / "merged", tmp_path / "out" / "adapter"]
    merged = KIND[study].from_pretrained(written[0])
    snapshot = finished_runs.snapshot(tmp_path, run)
    labels = {"num_labels": 3} if study == "gsfs" else {}
    base = KIND[study].from_pretrained(snapshot, **labels)
    plain = logits(base)
    adapted = PeftModel.from_pretrained(base, written[1])
    assert close(merged, trainer.loaded.model)
    assert close(adapted, trainer.loaded.model)
    assert not torch.allclose(plain, logits(adapted), atol=1e-2)  # the adapter is not nothing
    assert AutoTokenizer.from_pretrained(written[0]).vocab_size == trainer.loaded.tokenizer.vocab_size
    if study == "gsfs":
        assert merged.config.id2label == dict(enumerate(finished_runs.LABELS))


def correction(trainer, kind: str, seed: int = 5) -> dict[str, np.ndarray]:
    rng, made = np.random.default_rng(seed), {}
    for name, value in trainer.arrays().items():
        if ".lora_A." in name:
            module, b = name.split(".lora_A.")[0], trainer.arrays()[name.replace("lora_A", "lora_B")]
            shapes = {"matrix": {"matrix": (b.shape[0], value.shape[1])}}
            shapes["factors"] = {"up": (b.shape[0], 3), "down": (3, value.shape[1])}
            made |= {
                f"{module}.correction.{part}": (0.2 * rng.standard_normal(shape)).astype(np.float32)
                for part, shape in shapes[kind].items()
            }
    return made


@pytest.mark.parametrize(("family", "kind"), [("llama", "matrix"), ("llama", "factors"), ("gpt2", "matrix")])
def test_a_correction_is_merged_and_leaves_no_adapter_folder(tmp_path, family, kind):
    options = {"aggregation": "exact"}
    run = finished_runs.spec(family=family)
    run = run.model_copy(update={"strategy": run.strategy.model_copy(update={"options": options})})
    kept = correction(finished_runs.trained(tmp_path, run), kind)
    folder, trainer = finished_runs.finished(tmp_path, run, correction=kept)
    written, without = export(find(str(folder)), tmp_path / "out")
    assert written == [tmp_path / "out" / "merged"]
    assert not (tmp_path / "out" / "adapter").exists()
    assert "correction" in without
    assert "exact" in without
    assert close(AutoModelForCausalLM.from_pretrained(written[0]), trainer.loaded.model)
    told = CliRunner().invoke(app, ["export", str(folder), "--out", str(tmp_path / "cli")])
    assert told.exit_code == 0, told.output
    assert "No adapter folder: the run keeps a correction" in told.stderr


def test_a_run_over_nf4_is_merged_into_the_unquantised_base_and_says_so(tmp_path):
    run = finished_runs.spec(training={"quantisation": "nf4", "dtype": "bfloat16"})
    folder, trainer = finished_runs.finished(tmp_path, run)
    (merged, adapter), _ = export(find(str(folder)), tmp_path / "out", precision="bfloat16")
    plain = finished_runs.spec()
    unquantised = finished_runs.trained(tmp_path, plain)
    unquantised.load(trainer.arrays())
    loaded = AutoModelForCausalLM.from_pretrained(merged)
    assert loaded.dtype is torch.bfloat16
    wanted = unquantised.loaded.model.merge_and_unload().to(torch.bfloat16).state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in loaded.state_dict().items())
    for name, value in load_file(adapter / "adapter_model.safetensors").items():
        assert np.array_equal(value, trainer.arrays()[name.replace(".weight", ".default.weight")]), name
    for one in (merged, adapter):
        assert "4 bits (NF4" in (one / "README.md").read_text()
    assert "merged into the unquantised base, in float32, and saved as bfloat16" in (merged / "README.md").read_text()


def test_full_tuning_leaves_the_merged_model_alone(tmp_path):
    folder, trainer = finished_runs.finished(tmp_path, finished_runs.spec("gsfs", training={"adaptation": "full"}))
    written, without = export(find(str(folder)), tmp_path / "out")
    assert [one.name for one in written] == ["merged"]
    assert "every weight" in without
    assert close(AutoModelForSequenceClassification.from_pretrained(written[0]), trainer.loaded.model)


def test_the_card_tells_data_method_scores_licences_and_commit(tmp_path):
    run = finished_runs.spec("gsfs")
    folder, _ = finished_runs.finished(tmp_path, run)
    written, _ = export(find(str(folder)), tmp_path / "out")
    score(folder, tmp_path / "scores.parquet", 1000)
    import polars as pl

    rows = pl.read_parquet(tmp_path / "scores.parquet").filter(metric="f1_macro", unit="flow").to_dicts()
    for one in written:
        card = (one / "README.md").read_text()
        front = yaml.safe_load(card.split("---")[1])
        assert "synthetic-data" in front["tags"]
        assert front["library_name"] == ("peft" if one.name == "adapter" else "transformers")
        shown = f"| F1 (macro) | 10 flows | {rows[0]['value']:.4f} | {rows[0]['low']:.4f} to {rows[0]['high']:.4f} |"
        assert shown in card
        assert "| accuracy | 10 flows | 0.7000 |" in card
        for needed in ("**Synthetic data.**", "commit `c0ffee`", "random weights", "learning_rate: 0.0002", "FedAvg"):
            assert needed in card, needed
        assert (
            str(tmp_path)
            not in card + (one / "config.json" if one.name == "merged" else one / "adapter_config.json").read_text()
        )


def test_the_card_of_a_real_run_names_the_data_and_their_terms(tmp_path):
    for study, words in (("gsfs", "IoT-23.*CC BY 4.0"), ("edge-fit", "Dolly.*CC BY-SA 3.0")):
        folder, _ = finished_runs.finished(tmp_path, finished_runs.spec(study, synthetic=False))
        (merged, _), _ = export(find(str(folder)), tmp_path / study)
        card = (merged / "README.md").read_text()
        assert re.search(words, card, re.DOTALL)
        assert "ynthetic" not in card


def test_a_client_of_a_local_only_run_is_exported_with_its_own_scores(tmp_path):
    run = finished_runs.spec(procedure="local-only", clients=2, alone=True)
    trainers = [finished_runs.trained(tmp_path, run, seed=seed) for seed in (1, 2)]
    arrays = {f"client.{k}.{name}": value for k, t in enumerate(trainers) for name, value in t.arrays().items()}
    folder = finished_runs.write(tmp_path, run, arrays)
    (merged, _), _ = export(find(str(folder)), tmp_path / "out", client=1)
    assert close(AutoModelForCausalLM.from_pretrained(merged), trainers[1].loaded.model)
    card = (merged / "README.md").read_text()
    assert "client 1: merged model" in card
    assert "| accuracy | 10 records | 0.6000 |" in card


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path):
    zero = finished_runs.spec(procedure="zero-shot", alone=True)
    finished_runs.snapshot(tmp_path, zero)
    with pytest.raises(FedbenchError, match="trains nothing"):
        export(find(str(finished_runs.write(tmp_path, zero, {}))), tmp_path / "out")
    folder, _ = finished_runs.finished(tmp_path, finished_runs.spec("gsfs"))
    (folder / "predictions.parquet").unlink()
    with pytest.raises(FileNotFoundError):
        export(find(str(folder)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(FedbenchError, match="is there already"):
        export(find(str(folder)), tmp_path / "used")
