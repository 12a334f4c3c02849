"""Batches, tokenised examples, the loop and its checkpoints, on tiny random models."""

import math

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.models.loading import load
from fedbench.spec import LoraSpec, TrainingSpec
from fedbench.training.batches import collate, epoch_batches, steps_per_epoch, stream
from fedbench.training.checkpoint import Checkpoint
from fedbench.training.examples import IGNORED, Examples, instructions
from fedbench.training.loop import Trainer, batch_loss


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(1, 16), st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_an_epoch_is_a_partition_of_the_rows(lengths, size, seed):
    batches = epoch_batches(lengths, size, (seed,))
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert max(len(batch) for batch in batches) <= size


def test_a_stream_resumed_anywhere_goes_on_with_the_same_batches():
    examples = Examples([[1] * n for n in range(1, 30)], [0] * 29)
    whole = list(stream(examples, 4, (0, 7), 0, 20))
    assert list(stream(examples, 4, (0, 7), 9, 11)) == whole[9:]
    assert steps_per_epoch(29, 4) == 8


def test_length_buckets_keep_padding_below_a_tenth():
    rng = np.random.default_rng(0)
    examples = Examples([[1] * int(n) for n in rng.integers(20, 64, 400)], [0] * 400)
    real = padded = 0
    for rows in epoch_batches([len(r) for r in examples.inputs], 16, (0,)):
        batch = collate(examples, rows, 0, torch.device("cpu"))
        real += int(batch["attention_mask"].sum())
        padded += batch["input_ids"].numel()
    assert 1 - real / padded < 0.10


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return tiny.snapshot(tmp_path_factory.mktemp("models"), "tiny-llama")


ROWS = [
    {"instruction": f"Classify {word} as 'Normal' or 'Anomaly'", "context": "", "response": answer}
    for word, answer in (("a calm day", "Normal"), ("a break-in at night", "Anomaly. Call for help.")) * 4
]


def test_loss_falls_on_the_response_only(llama):
    training = TrainingSpec(max_length=128)
    tokenizer = load(llama, "instruct", training).tokenizer
    examples = instructions(tokenizer, ROWS, 128)
    for ids, targets, row in zip(examples.inputs, examples.targets, ROWS, strict=True):
        kept = [t for t in targets if t != IGNORED]
        assert tokenizer.decode(kept[:-1]) == row["response"]
        assert kept[-1] == tokenizer.eos_token_id
        assert ids[-len(kept) :] == kept


def test_long_records_keep_the_response_and_are_counted(llama):
    tokenizer = load(llama, "instruct", TrainingSpec()).tokenizer
    examples = instructions(tokenizer, [{"instruction": "word " * 300, "context": "", "response": "Normal"}], 32)
    assert len(examples.inputs[0]) == 32
    assert examples.truncated == 1
    assert any(t != IGNORED for t in examples.targets[0])


def test_windowed_loss_equals_the_loss_of_transformers(llama):
    loaded = load(llama, "instruct", TrainingSpec(max_length=128))
    examples = instructions(loaded.tokenizer, ROWS, 128)
    batch = collate(examples, list(range(len(examples))), 0, torch.device("cpu"))
    with torch.no_grad():
        ours, _ = batch_loss(loaded.model, batch)
        theirs = loaded.model(**batch).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("quantisation", ["none", "nf4"])
def test_training_goes_on_after_an_evaluation(llama, quantisation):
    """bitsandbytes loses gradients in silence after an evaluation on some processors; see fedbench.models.loading."""
    training = TrainingSpec(
        quantisation=quantisation, dtype="bfloat16", learning_rate=2e-2, batch_size=8, lora=LoraSpec(r=4, alpha=8)
    )
    trainer = Trainer(load(llama, "instruct", training), training)
    examples = instructions(trainer.loaded.tokenizer, ROWS, 128)
    first = trainer.train(examples, 5, (0,))
    trainer.evaluate(examples)
    batch = collate(examples, list(range(8)), 0, torch.device("cpu"))
    trainer.loaded.model.train()
    with trainer.autocast():
        batch_loss(trainer.loaded.model, batch)[0].backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in trainer.parameters.values())
    trainer.optimizer.zero_grad()
    second = trainer.train(examples, 15, (0,), start=5)
    assert second.losses[-1] < first.losses[0]
    assert second.losses[-1] < first.losses[-1]


def test_adapter_parameters_stay_float32_over_a_bfloat16_base(llama):
    loaded = load(llama, "instruct", TrainingSpec(dtype="bfloat16"))
    kinds = {p.dtype for p in loaded.model.parameters() if p.requires_grad}
    assert kinds == {torch.float32}
    assert loaded.model.get_input_embeddings().weight.dtype == torch.bfloat16


def test_saved_and_reloaded_adapter_predicts_the_same(llama):
    training = TrainingSpec(learning_rate=1e-2, batch_size=8)
    trainer = Trainer(load(llama, "instruct", training), training)
    examples = instructions(trainer.loaded.tokenizer, ROWS, 128)
    before = trainer.evaluate(examples)[0]
    trainer.train(examples, 5, (0,))
    arrays, after = trainer.arrays(), trainer.evaluate(examples)[0]
    fresh = Trainer(load(llama, "instruct", training, seed=5), training)
    fresh.load(arrays)
    assert fresh.evaluate(examples)[0] == pytest.approx(after, rel=1e-6)
    assert abs(after - before) > 1e-3, "the trained adapter differs from the initial one"


def test_checkpoint_returns_what_was_saved_and_refuses_other_runs(tmp_path):
    path = tmp_path / "run.safetensors"
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T, "step": np.array(3.0, dtype=np.float32)}
    Checkpoint(path, "mine").save({"round": 2, "note": "x"}, arrays)
    facts, loaded = Checkpoint(path, "mine").load()
    assert facts == {"round": 2, "note": "x"}
    np.testing.assert_array_equal(loaded["a"], arrays["a"])
    assert loaded["step"].shape == ()
    assert Checkpoint(path, "other").load() is None
    assert not path.exists()


def test_damaged_checkpoint_is_reported_and_not_used(tmp_path, caplog):
    path = tmp_path / "run.safetensors"
    path.write_bytes(b"half a file")
    assert Checkpoint(path, "mine").load() is None
    assert "damaged" in caplog.text
    assert str(path) in caplog.text


def test_empty_evaluation_is_not_a_number(llama):
    training = TrainingSpec()
    trainer = Trainer(load(llama, "instruct", training), training)
    assert math.isnan(trainer.evaluate(Examples([], []))[0])
