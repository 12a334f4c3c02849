"""Every model type of the architecture table trains, evaluates, quantises, saves, reloads and predicts the same."""

import gc
from collections.abc import Callable
from pathlib import Path

import families
import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForPreTraining,
    AutoModelForSeq2SeqLM,
)

from fedbench.errors import FedbenchError
from fedbench.evaluation.answers import generate
from fedbench.models.architectures import ARCHITECTURES, architecture, block_of
from fedbench.models.loading import load
from fedbench.reporting.verdicts import read_published
from fedbench.spec import HubWeights, LoraSpec, RandomWeights, TrainingSpec
from fedbench.training.batches import collate
from fedbench.training.examples import Examples, flows, instructions
from fedbench.training.loop import Trainer, batch_loss

TEXTS = [f"tcp {'http SF' if k % 2 else '- S0'} packets={k} bytes={k**3}" for k in range(16)]
CLASSES = [k % 2 for k in range(16)]
ROWS = [
    {"instruction": f"is {word} normal", "context": "", "response": answer}
    for word, answer in (("SF", "normal"), ("S0", "anomaly port")) * 4
]
GENERATIVE = sorted(name for name, facts in ARCHITECTURES.items() if facts.generative)
# Without a gradient whatever the data: a masked token's embedding, and XLNet's segments, which nothing names.
UNUSED = ("mask_emb", "seg_embed", "r_s_bias")


def spec(**changes) -> TrainingSpec:
    values = {"learning_rate": 1e-2, "batch_size": 8, "max_length": 60, "lora": LoraSpec(r=4, alpha=8)}
    return TrainingSpec(**{**values, **changes})


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("families")
    gc.freeze()  # loading a quantised model collects garbage; what the imports made need not be searched each time
    return lambda family: families.snapshot(folder, family)


def classifier(folder: Path, training: TrainingSpec, seed: int = 0) -> tuple[Trainer, Examples]:
    trainer = Trainer(load(folder, "classify", training, ["Benign", "DDoS"], seed), training)
    return trainer, flows(trainer.loaded.tokenizer, TEXTS, CLASSES, training.max_length)


def without_gradient(trainer: Trainer, examples: Examples) -> list[str]:
    batch = collate(examples, list(range(8)), 0, trainer.loaded.device, left=trainer.loaded.left)
    trainer.loaded.model.train()
    with trainer.autocast():
        batch_loss(trainer.loaded.model, batch)[0].backward()
    missing = [n for n, p in trainer.parameters.items() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    trainer.optimizer.zero_grad()
    return missing


def test_every_type_of_the_table_is_tested():
    assert set(families.CONFIGS) == set(ARCHITECTURES)


@pytest.mark.parametrize("family", families.CONFIGS)
def test_classifier_learns_and_a_reloaded_adapter_predicts_the_same(snapshot, tmp_path, family):
    trainer, examples = classifier(snapshot(family), spec())
    before = trainer.evaluate(examples)[0]
    trainer.train(examples, 8, (0,))
    after = trainer.evaluate(examples)[0]
    assert after < before
    assert without_gradient(trainer, examples) == []
    for head in architecture(family).heads:
        assert any(head in name.split(".") for name in trainer.parameters), "the adapter carries the new head"
    predicted = trainer.classify(examples)
    alone = [trainer.classify(examples.take([k]))[0] for k in range(4)]
    assert alone == predicted[:4], "padding changes nothing"
    save_file({name: torch.from_numpy(a) for name, a in trainer.arrays().items()}, tmp_path / "adapter.safetensors")
    fresh, _ = classifier(snapshot(family), spec(), seed=7)
    fresh.load({name: value.numpy() for name, value in load_file(tmp_path / "adapter.safetensors").items()})
    assert fresh.classify(examples) == predicted
    assert fresh.evaluate(examples)[0] == pytest.approx(after, rel=1e-6)


@pytest.mark.parametrize("family", families.CONFIGS)
def test_nf4_keeps_the_weights_and_trains_on_after_an_evaluation(snapshot, family):
    import bitsandbytes as bnb
    from transformers.pytorch_utils import Conv1D

    trainer, examples = classifier(snapshot(family), spec(quantisation="nf4", dtype="bfloat16"))
    whole = dict(classifier(snapshot(family), spec())[0].loaded.model.named_modules())
    quantised = {n: m for n, m in trainer.loaded.model.named_modules() if isinstance(m, bnb.nn.Linear4bit)}
    assert quantised
    assert not [n for n in quantised if any(head in n.split(".") for head in architecture(family).heads)]
    for name, module in quantised.items():
        original = whole[name].weight.detach()
        original = original.T if isinstance(whole[name], Conv1D) else original
        kept = bnb.functional.dequantize_4bit(module.weight.data, module.weight.quant_state).float()
        assert float(torch.nn.functional.cosine_similarity(kept.flatten(), original.flatten(), dim=0)) > 0.95, name
    before = trainer.evaluate(examples)[0]
    trainer.train(examples, 2, (0,))
    trainer.evaluate(examples)
    assert without_gradient(trainer, examples) == []
    trainer.train(examples, 4, (0,), start=2)
    assert trainer.evaluate(examples)[0] < before


@pytest.mark.parametrize("family", families.CONFIGS)
def test_full_tuning_trains_every_weight_in_float32_under_bfloat16_products(snapshot, family):
    trainer, examples = classifier(snapshot(family), spec(adaptation="full", dtype="bfloat16", learning_rate=2e-3))
    assert {p.dtype for p in trainer.loaded.model.parameters()} == {torch.float32}
    assert sum(p.numel() for p in trainer.parameters.values()) == trainer.loaded.model.num_parameters()
    start, before = trainer.arrays(), trainer.evaluate(examples)[0]
    trainer.train(examples, 4, (0,))
    assert trainer.evaluate(examples)[0] < before
    still = {name for name, value in trainer.arrays().items() if np.array_equal(value, start[name])}
    assert not [name for name in still if not name.endswith(UNUSED)]
    fresh, _ = classifier(snapshot(family), spec(adaptation="full", dtype="bfloat16"), seed=7)
    fresh.load(trainer.arrays())
    assert fresh.classify(examples) == trainer.classify(examples)


@pytest.mark.parametrize("family", GENERATIVE)
def test_language_model_learns_and_a_reloaded_adapter_writes_the_same(snapshot, family):
    training = spec()
    trainer = Trainer(load(snapshot(family), "instruct", training), training)
    examples = instructions(trainer.loaded.tokenizer, ROWS, training.max_length)
    batch = collate(examples, list(range(8)), 0, trainer.loaded.device)
    trainer.loaded.model.eval()
    with torch.no_grad():
        ours, theirs = batch_loss(trainer.loaded.model, batch)[0], trainer.loaded.model(**batch).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-4)
    progress = trainer.train(examples, 4, (0,))
    assert progress.losses[-1] < progress.losses[0]
    assert without_gradient(trainer, examples) == []
    fresh = Trainer(load(snapshot(family), "instruct", training, seed=7), training)
    fresh.load(trainer.arrays())
    assert generate(fresh, ROWS[:3], 4) == generate(trainer, ROWS[:3], 4)


@pytest.mark.parametrize(
    ("family", "blocks"),
    {
        "bert": {"layer.0", "layer.1", "head"},
        "albert": {"albert_layer_groups.0", "head"},
        "xlnet": {"layer.0", "layer.1", "head"},
        "t5": {"encoder.block.0", "encoder.block.1", "decoder.block.0", "decoder.block.1", "head"},
        "gpt2": {"h.0", "h.1", "head"},
        "opt": {"layers.0", "layers.1", "head"},
        "palm": {"layers.0", "layers.1", "head"},
    }.items(),
)
def test_gradients_are_measured_by_block(snapshot, family, blocks):
    trainer, examples = classifier(snapshot(family), spec())
    assert set(trainer.train(examples, 1, (0,), norms=True).norms) == blocks
    whole, _ = classifier(snapshot(family), spec(adaptation="full"))
    assert {block_of(name) for name in whole.parameters} == blocks | {"embeddings"}


@pytest.mark.parametrize(
    ("family", "published"),
    {
        "bert": AutoModelForPreTraining,
        "albert": AutoModelForPreTraining,
        "roberta": AutoModelForMaskedLM,
        "deberta": AutoModelForMaskedLM,
        "xlnet": AutoModelForCausalLM,
        "t5": AutoModelForSeq2SeqLM,
    }.items(),
)
def test_checkpoint_of_the_published_class_is_loaded_whole(snapshot, tmp_path, family, published):
    """The hub holds these types with the head that they were pretrained with."""
    torch.manual_seed(3)
    source = published.from_config(AutoConfig.from_pretrained(snapshot(family)))
    source.save_pretrained(tmp_path)
    for path in snapshot(family).glob("*token*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = load(tmp_path, "classify", spec(adaptation="full")).model
    theirs, ours = source.base_model.state_dict(), model.base_model.state_dict()
    shared = theirs.keys() & ours.keys()
    assert len(shared) >= len(ours) - 2
    assert all(torch.equal(theirs[name], ours[name]) for name in shared)


def test_snapshot_without_some_of_its_weights_is_refused(snapshot, tmp_path):
    for path in snapshot("bert").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["encoder.layer.1.attention.self.query.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FedbenchError, match=r"1 weights .*layer\.1\.attention\.self\.query\.weight"):
        load(tmp_path, "classify", spec())


def test_text_that_spells_a_special_token_is_text(snapshot):
    trainer, _ = classifier(snapshot("t5"), spec())
    end = trainer.loaded.tokenizer.eos_token_id
    examples = flows(trainer.loaded.tokenizer, ["tcp </s> SF </s>", "udp S0", "tcp <pad> " * 40], [0, 1, 0], 60)
    assert [row.count(end) for row in examples.inputs] == [1, 1, 1]
    assert len(trainer.classify(examples)) == 3


@pytest.mark.parametrize("family", ["bert", "t5", "opt", "palm"])
def test_recomputed_activations_give_the_same_gradients(snapshot, family):
    kept = []
    for recompute in (False, True):
        trainer, examples = classifier(snapshot(family), spec(gradient_checkpointing=recompute, gradient_clip=0.0))
        trainer.loaded.model.train()
        torch.manual_seed(0)
        batch = collate(examples, list(range(8)), 0, trainer.loaded.device)
        batch_loss(trainer.loaded.model, batch)[0].backward()
        kept.append({name: p.grad.clone() for name, p in trainer.parameters.items()})
        layers = [m for m in trainer.loaded.model.modules() if getattr(m, "gradient_checkpointing", False)]
        assert bool(layers) == recompute
    for name, gradient in kept[0].items():
        torch.testing.assert_close(kept[1][name], gradient, msg=name)


@pytest.mark.parametrize("family", ["albert", "xlnet"])
def test_types_that_cannot_recompute_activations_say_so(snapshot, family):
    with pytest.raises(FedbenchError, match=rf"{family}.*gradient_checkpointing to false"):
        load(snapshot(family), "classify", spec(gradient_checkpointing=True))


def test_encoder_as_a_language_model_is_refused(snapshot):
    with pytest.raises(FedbenchError, match="a t5 model writes no text"):
        load(snapshot("t5"), "instruct", spec())


def test_all_rows_of_the_papers_tables_have_a_model():
    models = tiny.REGISTRY.models.values()
    for study, table, count in (("gsfs", "II", 18), ("edge-fit", "IV", 2)):
        published = read_published(tiny.CONFIG / "published", study)
        rows = set(published[published["table"] == table]["row"])
        assert len(rows) == count
        assert {model.published[study] for model in models if study in model.published} == rows


def test_hub_models_are_pinned_and_stand_ins_say_so():
    for model in tiny.REGISTRY.models.values():
        if isinstance(model.weights, HubWeights):
            assert len(model.weights.revision) == 40 or model.weights.revision == "main", model.name
        if isinstance(model.weights, RandomWeights):
            assert "random weights" in model.title
            assert model.weights.config["model_type"] in ARCHITECTURES
