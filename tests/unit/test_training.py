"""Batches, tokenised examples, the loop and its checkpoints, on tiny random models."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench import running
from fedbench.errors import FedbenchError
from fedbench.models.loading import load
from fedbench.spec import LoraSpec, RunSpec, TrainingSpec
from fedbench.training.batches import collate, epoch_batches, groups, steps_per_epoch, stream
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


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 5), st.integers(0, 30), st.integers(1, 30))
@settings(max_examples=50, deadline=None)
def test_groups_are_the_stream_cut_at_epochs(rows, size, together, start, count):
    examples = Examples([[1] * (n % 9 + 1) for n in range(rows)], [0] * rows)
    made = list(groups(examples, size, (0,), start, count, together))
    assert [batch for group in made for batch in group] == list(stream(examples, size, (0,), start, count))
    assert max(len(group) for group in made) <= together
    for group in made:
        seen = [row for batch in group for row in batch]
        assert len(seen) == len(set(seen)), "no row twice: no group reaches into another epoch"


def test_left_padding_keeps_the_last_position_real():
    examples = Examples([[5, 6, 7], [8]], [[IGNORED, 6, 7], [8]])
    batch = collate(examples, [0, 1], 0, torch.device("cpu"), left=True)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [0, 0, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7], [IGNORED, IGNORED, 8]]


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


def steady(folder: Path, training: TrainingSpec) -> Trainer:
    """Return a trainer whose gradients do not depend on a draw: without dropout."""
    task = "instruct" if "llama" in folder.name else "classify"
    trainer = Trainer(load(folder, task, training, ["a", "b"]), training)
    for module in trainer.loaded.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return trainer


def gradients_of(trainer: Trainer, *arguments, **options) -> list[dict[str, torch.Tensor]]:
    """Train without moving; return the gradients of each optimiser step."""
    steps: list[dict[str, torch.Tensor]] = []

    def note(*_: object) -> None:
        steps.append({name: p.grad.clone() for name, p in trainer.parameters.items()})

    trainer.optimizer.step = note
    trainer.train(*arguments, **options)
    return steps


def assert_same(left: list[dict[str, torch.Tensor]], right: list[dict[str, torch.Tensor]]) -> None:
    for one, other in zip(left, right, strict=True):
        for name in one:
            torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6, msg=name)


SEEN = [0, 0, 0, 0, 0, 1, 1]


def uneven() -> Examples:
    return Examples([[5 + k] * (3 + k) for k in range(7)], SEEN)


@pytest.mark.parametrize("kind", ["classes", "weighted classes", "responses"])
def test_accumulated_batches_are_one_step_on_their_union(llama, tmp_path, kind):
    """Rows, class weights and response tokens are unevenly spread over the batches, and the last batch is short."""
    folder = llama if kind == "responses" else tiny.snapshot(tmp_path)
    steps = {}
    for size, together in ((2, 4), (7, 1), (2, 1)):
        balanced = "balanced" if kind == "weighted classes" else "none"
        training = TrainingSpec(batch_size=size, accumulate=together, gradient_clip=0.0, class_weights=balanced)
        trainer = steady(folder, training)
        tokenizer = trainer.loaded.tokenizer
        rows = instructions(tokenizer, ROWS[:7], 128) if kind == "responses" else uneven()
        if balanced == "balanced":
            trainer.balance(SEEN, 2)
        steps[size, together] = gradients_of(trainer, rows, steps_per_epoch(7, size), (0,))
    assert [len(made) for made in steps.values()] == [1, 1, 4]
    assert_same(steps[2, 4], steps[7, 1])


def test_proximal_term_adds_mu_times_the_distance_to_the_gradient(tmp_path):
    training = TrainingSpec(learning_rate=1e-2, batch_size=7, gradient_clip=0.0)
    trainer = steady(tiny.snapshot(tmp_path), training)
    rows, received = uneven(), trainer.arrays()
    trainer.train(rows, 1, (0,))
    here = trainer.arrays()
    assert any(not np.array_equal(here[name], received[name]) for name in here)
    trainer.load(here)
    plain = gradients_of(trainer, rows, 1, (0,))
    trainer.load(here)
    assert_same(gradients_of(trainer, rows, 1, (0,), proximal=0.5), plain)  # no distance to what was loaded last
    trainer.load(here)
    trainer.anchor(received)
    pulled = gradients_of(trainer, rows, 1, (0,), proximal=0.5)
    loss = batch_loss(trainer.loaded.model, collate(rows, list(range(7)), 0, torch.device("cpu")))[0]
    for name, parameter in trainer.parameters.items():
        loss = loss + 0.25 * (parameter - torch.from_numpy(received[name])).square().sum()
    loss.backward()
    assert_same(pulled, [{name: p.grad for name, p in trainer.parameters.items()}])


def test_proximal_training_stays_nearer_to_what_was_received(tmp_path):
    distances = {}
    for strength in (0.0, 100.0):
        trainer = steady(tiny.snapshot(tmp_path), TrainingSpec(learning_rate=1e-2, batch_size=7, gradient_clip=0.0))
        received = trainer.arrays()
        trainer.load(received)
        trainer.train(uneven(), 10, (0,), proximal=strength)
        distances[strength] = sum(float(np.square(v - received[n]).sum()) for n, v in trainer.arrays().items())
    assert distances[100.0] < 0.5 * distances[0.0]


def test_balanced_classes_weigh_inversely_to_their_rows(tmp_path):
    training = TrainingSpec(class_weights="balanced", batch_size=2)
    trainer = Trainer(load(tiny.snapshot(tmp_path), "classify", training, ["a", "b", "c"]), training)
    with pytest.raises(FedbenchError, match=r"class_weights.*none were counted"):
        trainer.train(Examples([[5]] * 7, SEEN), 1, (0,))
    trainer.balance(SEEN, 3)
    np.testing.assert_allclose(trainer.class_weights.numpy(), [7 / (2 * 5), 7 / (2 * 2), 1.0], rtol=1e-6)
    rows = uneven()
    whole = collate(rows, list(range(7)), 0, torch.device("cpu"))
    with torch.inference_mode():
        logits = trainer.loaded.model.eval()(whole["input_ids"], attention_mask=whole["attention_mask"]).logits
    loss = torch.nn.functional.cross_entropy(logits, whole["labels"], weight=trainer.class_weights)
    assert trainer.evaluate(rows)[0] == pytest.approx(float(loss), rel=1e-5)


def test_class_weights_for_instructions_are_refused(llama):
    training = TrainingSpec(class_weights="balanced")
    trainer = Trainer(load(llama, "instruct", training), training)
    with pytest.raises(FedbenchError, match="instructions have none"):
        trainer.train(instructions(trainer.loaded.tokenizer, ROWS, 128), 1, (0,))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_paged_optimizer_without_a_gpu_says_what_it_needs(llama):
    training = TrainingSpec(optimizer="paged-adamw-8bit")
    with pytest.raises(FedbenchError, match="paged-adamw-8bit needs a CUDA device"):
        Trainer(load(llama, "instruct", training), training)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_paged_optimizer_goes_on_from_its_saved_state(llama):
    training = TrainingSpec(optimizer="paged-adamw-8bit", batch_size=8, lora=LoraSpec(r=64, alpha=64))
    trainer = Trainer(load(llama, "instruct", training), training)
    examples = instructions(trainer.loaded.tokenizer, ROWS, 128)
    first = trainer.train(examples, 3, (0,))
    arrays, state = trainer.arrays(), trainer.optimizer_arrays()
    assert {value.dtype for value in state.values()} >= {np.dtype("uint8")}
    second = trainer.train(examples, 3, (0,), start=3)
    trainer.load(arrays)
    trainer.load_optimizer(state)
    assert trainer.train(examples, 3, (0,), start=3).losses == pytest.approx(second.losses, rel=1e-4)
    assert second.losses[-1] < first.losses[0]


def test_four_bit_weights_are_not_tuned_in_full():
    with pytest.raises(ValueError, match="4-bit weights cannot be trained"):
        TrainingSpec(adaptation="full", quantisation="nf4")


def alone(epochs: int, **changes) -> RunSpec:
    training = TrainingSpec(learning_rate=5e-3, epochs=epochs, batch_size=24, max_length=64, **changes)
    without = {"strategy": None, "federation": None, "client_tier": None}
    return tiny.run().model_copy(update={"procedure": "centralised", "training": training, **without})


def execute(place: Path, run: RunSpec, name: str) -> Path:
    dataset, held = tiny.data(place)
    running.execute(run, dataset, held, tiny.snapshot(place), place / name, place / "checkpoints")
    return place / name


@pytest.fixture
def scripted(monkeypatch):
    """Let validation losses be what the test says, one an evaluation; the first is that before training."""

    def script(*losses: float) -> None:
        left = iter(losses)
        monkeypatch.setattr(Trainer, "evaluate", lambda self, examples: (next(left), 0.5))

    return script


def adapter(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "ok", manifest["message"]
    return load_file(folder / "adapter.safetensors")


def test_early_stopping_keeps_the_best_epoch_and_says_where_it_stopped(tmp_path, scripted):
    scripted(9, 5, 3, 4, 3.5, 0, 0)
    stopped = execute(tmp_path, alone(8, patience=2), "stopped")
    history = pl.read_parquet(stopped / "history.parquet")
    row = history.filter(pl.col("phase") == "early-stop").row(0, named=True)
    assert json.loads(row["metrics"]) == {"best_epoch": 2, "epochs": 4, "stopped": True}
    assert row["loss"] == 3
    assert history.filter(pl.col("phase") == "validation")["loss"].to_list() == [9, 5, 3, 4, 3.5]
    scripted(9, 5, 3)
    two = adapter(execute(tmp_path, alone(2), "two"))
    assert all(np.array_equal(value, two[name]) for name, value in adapter(stopped).items())


def test_early_stopping_that_never_stops_still_ends_with_the_best_epoch(tmp_path, scripted):
    scripted(9, 3, 4, 5)
    folder = execute(tmp_path, alone(3, patience=5), "patient")
    told = pl.read_parquet(folder / "history.parquet").filter(pl.col("phase") == "early-stop")["metrics"][0]
    assert json.loads(told) == {"best_epoch": 1, "epochs": 3, "stopped": False}
    scripted(9, 3)
    one = adapter(execute(tmp_path, alone(1), "one"))
    assert all(np.array_equal(value, one[name]) for name, value in adapter(folder).items())


@pytest.mark.parametrize("last", [2, 3, 4])
def test_early_stopping_goes_on_from_its_checkpoint(tmp_path, scripted, monkeypatch, last):
    """Killed after epoch `last`: 2 is the best, 3 is past it, and after 4 there is nothing left but to stop."""
    losses = (9, 5, 3, 4, 3.5)
    scripted(*losses)
    whole = execute(tmp_path, alone(8, patience=2), "whole")
    saved = Checkpoint.save

    def dies(self, facts, arrays):
        saved(self, facts, arrays)
        if facts["epoch"] == last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", dies)
        scripted(*losses)
        with pytest.raises(KeyboardInterrupt):
            execute(tmp_path, alone(8, patience=2), "resumed")
    scripted(*losses[last + 1 :])
    resumed = execute(tmp_path, alone(8, patience=2), "resumed")
    assert pl.read_parquet(resumed / "history.parquet").equals(pl.read_parquet(whole / "history.parquet"))
    assert all(np.array_equal(value, adapter(whole)[name]) for name, value in adapter(resumed).items())


def test_early_stopping_without_validation_rows_is_refused(tmp_path, scripted):
    scripted(math.nan, math.nan)
    manifest = json.loads((execute(tmp_path, alone(2, patience=1), "blind") / "manifest.json").read_text())
    assert manifest["status"] == "failed"
    assert "no validation rows" in manifest["message"]


def test_balanced_run_counts_the_training_rows_of_all_clients(tmp_path, monkeypatch):
    counted = []
    monkeypatch.setattr(Trainer, "balance", lambda self, classes, count: counted.append((len(classes), count)))
    manifest = json.loads((execute(tmp_path, alone(1, class_weights="balanced"), "b") / "manifest.json").read_text())
    assert counted == [(72, 2)]
    assert "none were counted" in manifest["message"]
