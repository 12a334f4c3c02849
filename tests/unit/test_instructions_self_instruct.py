"""Self-Instruct adds well-formed, new pairs, says where each came from, and admits when it runs dry."""

import itertools
import json
import random
import re

import polars as pl
import pytest

from fedbench.files import read_json
from fedbench.instructions import schema, self_instruct
from fedbench.instructions.answer import parse
from fedbench.instructions.open_tasks import OPEN_TASKS
from fedbench.instructions.rouge import f_measure, tokens
from fedbench.instructions.seed_tasks import SEED_TASKS
from fedbench.instructions.teacher import QUESTIONS, Task, TemplateTeacher
from fedbench.spec import InstructionsSpec

BASE = [
    {"row_id": i, "instruction": text, "context": "", "response": "Yes.", "category": "open_qa", "source": "dolly"}
    for i, text in enumerate(["Is the oven still hot today?", "What is love?"])
]


def augment(folder, seed=0, **keys):
    spec = InstructionsSpec(source={"kind": "synthetic"}, self_instruct=keys)
    schema.write(schema.table(BASE, schema.FILTERED), folder / "filtered.parquet")
    self_instruct.augment(folder / "filtered.parquet", spec, seed, folder / "out.parquet", folder / "ledger.json")
    return pl.read_parquet(folder / "out.parquet"), read_json(folder / "ledger.json")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The published count: 2,500 pairs."""
    return augment(tmp_path_factory.mktemp("full"), count=2500)


def test_2500_pairs_are_added_behind_the_base_set(full):
    frame, ledger = full
    assert frame.schema == pl.Schema(schema.AUGMENTED)
    assert frame["row_id"].to_list() == list(range(2502))
    assert frame["instruction"].to_list()[:2] == [row["instruction"] for row in BASE]
    assert (ledger["made"], ledger["wanted"], ledger["saturated"]) == (2500, 2500, False)
    assert ledger["attempts"] == 2500 + sum(ledger["rejected"].values()) - len(SEED_TASKS)


def test_no_two_instructions_are_near_copies(full):
    words = [tokens(text) for text in full[0]["instruction"]]
    sample = random.Random(0).sample(range(len(words)), 400)
    assert max(f_measure(words[i], words[j]) for i, j in itertools.combinations(sample, 2)) < 0.7


def test_most_pairs_are_closed_label_and_begin_with_a_balanced_label(full):
    frame, ledger = full
    closed = frame.drop_nulls("label")
    assert 0.6 * 2500 <= closed.height == ledger["closed_label"]
    for row in closed.iter_rows(named=True):
        assert row["response"].startswith(f"{row['label']}.")
        assert parse(row["response"], row["labels"]) == row["label"]
        assert row["label"] in row["labels"]
        assert all(f"'{label}'" in row["instruction"] for label in row["labels"])
    for category, answers in ledger["answers"].items():
        assert set(answers) == set(QUESTIONS[category].labels)
        assert max(answers.values()) < 3 * min(answers.values())


def test_no_slot_of_a_template_is_left_open(full):
    made = full[0].filter(pl.col("source") == "self-instruct")
    assert not [text for text in made["instruction"].to_list() if re.search(r"[{}<>]", text)]
    assert not [text for text in made["response"].to_list() if re.search(r"\{\w+\}|[<>]", text)]


def test_every_pair_names_teacher_seed_tasks_and_attempt(full):
    made = full[0].filter(pl.col("source") == "self-instruct")
    assert set(made["teacher"]) == {"template"}
    seeds, grown = made.head(len(SEED_TASKS)), made.tail(-len(SEED_TASKS))
    assert seeds["instruction"].to_list() == [task.instruction for task in SEED_TASKS]
    assert seeds["seed_tasks"].to_list() == [[i] for i in range(len(SEED_TASKS))]
    assert set(seeds["attempt"]) == {0}
    assert grown["attempt"].is_unique().all()
    assert grown["attempt"].is_sorted()
    for category, shown in grown["category", "seed_tasks"].iter_rows():
        assert category in {SEED_TASKS[i].category for i in shown}
    base = full[0].head(2)
    assert base["teacher"].null_count() == base["seed_tasks"].null_count() == base["attempt"].null_count() == 2


def test_the_papers_example_is_a_seed_task():
    example = SEED_TASKS[0]
    assert "3:00 AM" in example.instruction
    assert "living room" in example.instruction
    assert (example.label, example.labels) == ("Anomaly", ("Normal", "Anomaly"))


def test_json_tasks_answer_in_json_that_follows_the_instruction(full):
    for row in full[0].filter(pl.col("category") == "log_extraction").iter_rows(named=True):
        value = json.loads(row["response"])
        assert set(value) == {"device", "room", "value"}
        assert value["device"] in row["instruction"]
        assert str(value["value"]) in row["instruction"]
    for text in full[0].filter(pl.col("category") == "routine_definition")["response"]:
        assert set(json.loads(text)) == {"trigger", "action"}


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        augment(tmp_path / name, seed, count=60)
        files.append((tmp_path / name / "out.parquet").read_bytes())
    assert files[0] == files[1] != files[2]


def test_a_saturated_teacher_is_admitted_in_the_ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(self_instruct, "SATURATION", 50)
    frame, ledger = augment(tmp_path, count=2500, rouge_max=0.2)
    assert ledger["saturated"] is True
    assert frame.height - 2 == ledger["made"] < 2500
    assert f"{ledger['made']} of 2500" in ledger["steps"][0]["reason"]
    assert ledger["rejected"]["near-copy"] >= 50


def test_nothing_is_added_where_nothing_is_wanted(tmp_path):
    frame, ledger = augment(tmp_path, count=0)
    assert frame.height == 2
    assert ledger["made"] == 0
    assert ledger["saturated"] is False


def test_a_near_copy_of_the_base_set_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(BASE[0], "instruction", SEED_TASKS[0].instruction + " Please.")
    frame, ledger = augment(tmp_path, count=30)
    assert SEED_TASKS[0].instruction not in frame["instruction"].to_list()
    assert ledger["rejected"]["near-copy"] >= 1


GOOD = {
    "instruction": "A lamp burns. Is it 'On' or 'Off'?",
    "response": "On. It burns.",
    "category": "state",
    "label": "On",
    "labels": ("On", "Off"),
}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"instruction": "Go on"}, "instruction length"),
        ({"response": "On. " + "word " * 150}, "response length"),
        ({"response": "On. It burns. "}, "response format"),
        ({"instruction": "A lamp\x00 burns. Is it 'On' or 'Off'?"}, "instruction format"),
        ({"label": None, "labels": None, "response": "a LAMP burns. Is it 'on' or 'off'?"}, "response repeats"),
        ({"labels": None}, "label without label set"),
        ({"response": "It is On."}, "response does not begin with its label"),
        ({"label": "Dim"}, "response does not begin with its label"),
        ({"response": "Only Off."}, "response names another label first"),
        ({"label": "Off", "response": "Offline, so On, not Off."}, "response names another label first"),
        ({"instruction": "A lamp burns. Is it 'On'?"}, "instruction does not state the label set"),
    ],
)
def test_length_and_format_checks(change, fault):
    found = self_instruct.fault(Task(**(GOOD | change)))
    assert str(found).startswith(str(fault))


@pytest.mark.parametrize("category", sorted({*QUESTIONS, *OPEN_TASKS}))
def test_every_category_has_a_seed_and_well_formed_templates(category):
    (seed, *_) = [task for task in SEED_TASKS if task.category == category]
    rng = random.Random(0)
    assert self_instruct.fault(seed) is None
    for _ in range(100):
        task = TemplateTeacher().propose([seed], rng)
        assert task.category == category
        assert self_instruct.fault(task) is None, task
