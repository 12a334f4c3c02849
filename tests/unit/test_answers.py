"""Answers of a causal model: batches are bounded and change nothing, ranking is the likelihood of whole labels."""

import finished_runs
import pytest
import torch

from fedbench.evaluation import answers
from fedbench.evaluation.answers import answered, generate, rank
from fedbench.training.examples import prompt_ids

ROWS = [
    {
        "instruction": f"Sensor {k} reports motion" + " again" * (k % 4),
        "context": "",
        "labels": ["Normal", "Anomaly", "No idea at all"],
    }
    for k in range(9)
]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    return finished_runs.trained(tmp_path_factory.mktemp("results"), finished_runs.spec())


def test_batches_are_of_like_length_and_within_both_bounds(monkeypatch):
    monkeypatch.setattr(answers, "POSITIONS", 100)
    lengths = [40, 10, 90, 20, 30, 10, 10, 500]
    batches = list(answers._batches(lengths, 10, 3))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert [[lengths[i] for i in batch] for batch in batches] == [[10, 10, 10], [20, 30], [40], [90], [500]]


def test_answers_do_not_depend_on_the_batch_in_float32(trainer):
    alone = generate(trainer, ROWS, 6, batch_size=1)
    assert generate(trainer, ROWS, 6) == alone
    assert generate(trainer, ROWS, 6, batch_size=4) == alone
    assert len(set(alone)) > 1


def test_ranking_chooses_the_label_of_the_highest_likelihood_as_a_whole_answer(trainer):
    model, tokenizer = trainer.loaded.model, trainer.loaded.tokenizer
    wanted = []
    for row in ROWS:
        prompt, scores = prompt_ids(tokenizer, row["instruction"], ""), []
        for label in row["labels"]:
            tail = tokenizer(label, add_special_tokens=False)["input_ids"]
            with torch.inference_mode():
                odds = model(input_ids=torch.tensor([prompt + tail])).logits[0].log_softmax(-1)
            scores.append(sum(float(odds[len(prompt) - 1 + k, token]) for k, token in enumerate(tail)))
        wanted.append(row["labels"][scores.index(max(scores))])
    assert rank(trainer, ROWS) == wanted
    assert answered(trainer, ROWS, "rank", 4) == [(label, label) for label in wanted]
