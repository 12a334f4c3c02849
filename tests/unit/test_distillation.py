"""Knowledge distillation: known answers of its loss, and a student that follows its teacher rather than the labels."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from safetensors.numpy import load_file, save_file
from torch.nn.functional import cross_entropy

from fedbench import running
from fedbench.files import read_json
from fedbench.models.loading import load
from fedbench.spec import DistillationSpec, TeacherRun
from fedbench.training.examples import flows
from fedbench.training.loop import Trainer, distilled

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_student_that_agrees_with_its_teacher_has_only_the_loss_on_labels(temperature):
    spec = DistillationSpec(teacher="t", temperature=temperature, weight=0.5)
    loss = cross_entropy(LOGITS, torch.tensor([0, 1]))
    assert distilled(loss, LOGITS, LOGITS, spec) == pytest.approx(0.5 * float(loss))


def test_the_divergence_is_that_of_the_softened_distributions():
    spec = DistillationSpec(teacher="t", temperature=2.0, weight=1.0)
    taught = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    p, q = torch.softmax(taught / 2, -1), torch.softmax(LOGITS / 2, -1)
    by_hand = 4 * float((p * (p / q).log()).sum(-1).mean())
    assert float(distilled(torch.tensor(9.0), LOGITS, taught, spec)) == pytest.approx(by_hand, rel=1e-5)


def test_a_student_learns_what_the_teacher_says_where_the_labels_say_otherwise(tmp_path):
    run = tiny.run()
    training = run.training.model_copy(update={"learning_rate": 2e-2, "batch_size": 4})
    loaded = load(tiny.snapshot(tmp_path), "classify", training, ["a", "b"], 0)
    trainer = Trainer(loaded, training)
    texts = ["tcp S0", "udp SF"] * 8
    examples = flows(loaded.tokenizer, texts, [0, 0] * 8, 16)
    taught = np.array([[8.0, -8.0], [-8.0, 8.0]] * 8, dtype=np.float32)
    trainer.distillation = DistillationSpec(teacher="t", temperature=1.0, weight=1.0)
    trainer.train(replace(examples, taught=taught), 60, (0,))
    assert trainer.classify(examples) == [0, 1] * 8


def test_rows_keep_their_teacher_when_they_are_dealt_out():
    taught = np.arange(6, dtype=np.float32).reshape(3, 2)
    examples = flows(_Words(), ["a", "b", "c"], [0, 1, 0], 8)
    assert replace(examples, taught=taught).take([2, 0]).taught.tolist() == [[4, 5], [0, 1]]
    assert examples.take([1]).taught is None


def test_a_run_learns_from_a_finished_one_and_says_so_where_that_one_failed(tmp_path):
    dataset, clients = tiny.data(tmp_path)
    snapshot = tiny.snapshot(tmp_path)

    def execute(spec, teacher=None):
        out = tmp_path / spec.folder
        running.execute(spec, dataset, clients, snapshot, out, tmp_path / "checkpoints", teacher=teacher)
        return out / "adapter.safetensors", read_json(out / "manifest.json")

    nothing = {"strategy": None, "federation": None, "client_tier": None}
    alone = tiny.run().model_copy(update={"label": "central", "procedure": "centralised", **nothing})
    adapter, manifest = execute(alone)
    assert manifest["status"] == "ok"
    taught = TeacherRun(run=alone.folder, model=alone.model, training=alone.training)
    spec = DistillationSpec(teacher="tiny-bert", weight=1.0)
    strategy = tiny.run().strategy.model_copy(update={"distillation": spec})
    student = tiny.run().model_copy(update={"teacher": taught, "strategy": strategy})
    learnt, manifest = execute(student, (adapter, snapshot))
    assert manifest["status"] == "ok", manifest["message"]
    plain, _ = execute(tiny.run())
    assert any((load_file(learnt)[k] != v).any() for k, v in load_file(plain).items())

    save_file({}, adapter)
    _, manifest = execute(student, (adapter, snapshot))
    assert manifest["status"] == "failed"
    assert f"the teacher {alone.folder} has no model" in manifest["message"]


class _Words:
    def __call__(self, texts, **_):
        return {"input_ids": [[ord(char) for char in text] for text in texts]}
