"""Self-Instruct adds well-formed, new pairs, says where each came from, and admits when it runs dry."""

import itertools
import json
import random
import re
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.files import read_json
from fedbench.instructions import growth, schema, self_instruct
from fedbench.instructions.answer import parse
from fedbench.instructions.open_tasks import OPEN_TASKS
from fedbench.instructions.rouge import NearCopies, f_measure, tokens
from fedbench.instructions.seed_tasks import SEED_TASKS
from fedbench.instructions.teacher import QUESTIONS, Task, TemplateTeacher
from fedbench.spec import InstructionsSpec, SelfInstructSpec

BASE = [
    {"row_id": i, "instruction": text, "context": "", "response": "Yes.", "category": "open_qa", "source": "dolly"}
    for i, text in enumerate(["Which oven bakes the best bread?", "What is love?"])
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
    seeds, grown = made.head(len(SEED_TASKS)), made.tail(-len(SEED_TASKS))
    assert set(grown["teacher"]) == {"template"}
    assert set(seeds["teacher"]) == {"seed"}
    assert seeds["instruction"].to_list() == [task.instruction for task in SEED_TASKS]
    assert seeds["seed_tasks"].to_list() == [[i] for i in range(len(SEED_TASKS))]
    assert set(seeds["attempt"]) == {0}
    assert grown["attempt"].is_unique().all()
    assert grown["attempt"].is_sorted()
    for category, shown in grown["category", "seed_tasks"].iter_rows():
        assert category == SEED_TASKS[shown[0]].category
        assert len(set(shown)) == len(shown) >= self_instruct.EXAMPLES
    base = full[0].head(2)
    assert base["teacher"].null_count() == base["seed_tasks"].null_count() == base["attempt"].null_count() == 2


def test_the_papers_example_is_a_seed_task_and_a_row():
    example = SEED_TASKS[0]
    for word in ("motion sensor", "living room", "3:00 AM", "'Normal' or 'Anomaly'"):
        assert word in example.instruction
    assert (example.label, example.labels) == ("Anomaly", ("Normal", "Anomaly"))
    assert example.response.startswith("Anomaly.")


def test_every_label_has_a_seed_task_and_every_open_category_two():
    for category, question in QUESTIONS.items():
        assert sorted(task.label for task in SEED_TASKS if task.category == category) == sorted(question.labels)
    for category in OPEN_TASKS:
        assert len([task for task in SEED_TASKS if task.category == category]) == 2


def test_no_seed_task_is_refused(full):
    frame, ledger = full
    assert frame.filter(pl.col("attempt") == 0).height == len(SEED_TASKS) == ledger["seed_tasks"]


def test_a_model_without_a_snapshot_is_refused(tmp_path):
    with pytest.raises(FedbenchError, match="'smollm2' is a model, and no snapshot") as caught:
        augment(tmp_path, teacher="smollm2")
    assert caught.value.remedy


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


def test_a_saturated_teacher_is_admitted_in_the_ledger(tmp_path):
    frame, ledger = augment(tmp_path, count=2500, rouge_max=0.2, patience=50)
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
    assert ledger["rejected"]["near-copy"] == 1


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
        ({"response": "On. It burns now. It burns now."}, "response repeats itself"),
        ({"response": "On.\n1. Open the door.\n2. Open the door."}, "response repeats itself"),
        ({"response": "On. A lamp burns, so.", "case": "A lamp burns."}, "response repeats instruction"),
        ({"case": "A lamp that is on."}, "case names a label"),
        ({"labels": None}, "label without label set"),
        ({"response": "It is On."}, "response does not begin with its label"),
        ({"label": "Dim"}, "response does not begin with its label"),
        ({"response": "Only Off."}, "response names another label first"),
        ({"label": "Off", "response": "Offline, so On, not Off."}, "response names another label first"),
        ({"instruction": "A lamp burns. Is it 'On'?"}, "instruction does not state the label set"),
    ],
)
def test_length_and_format_checks(change, fault):
    found = growth.fault(Task(**(GOOD | change)))
    assert str(found).startswith(str(fault))


@pytest.mark.parametrize(
    ("category", "response", "fault"),
    [
        ("log_extraction", '{"device": "T2", "room": "bath", "value": 23}', None),
        ("log_extraction", '{"device": "T2", "room": "attic", "value": 23}', "response extracts what the instruction"),
        ("log_extraction", '{"device": "T2", "value": 23}', "response has other JSON keys"),
        ("log_extraction", '["T2", "bath", 23]', "response has other JSON keys"),
        ("routine_definition", '{"trigger": {}, "action": {}}', None),
        ("routine_definition", '{"trigger": {}, "action":', "response is not JSON"),
    ],
)
def test_json_answers_are_checked(category, response, fault):
    found = growth.fault(Task("Read the log as JSON: T2, bath, 23.", response, category))
    assert str(found).startswith(str(fault))


def grown(*tasks, rouge_max=0.7, count=9):
    """Judge tasks one after the other; return their rows and the reasons of rejection."""
    state = growth.Growth(SelfInstructSpec(count=count), "somebody", NearCopies(rouge_max))
    for attempt, task in enumerate(tasks, start=1):
        state.judge(task, [0], attempt)
    return state.rows, dict(state.rejected)


def test_the_same_case_under_another_question_is_a_near_copy():
    first = Task(
        "It rings. Is it 'On' or 'Off'?", "On. So.", "state", label="On", labels=("On", "Off"), case="It rings."
    )
    second = replace(first, instruction="Please tell me at once which of 'Off' and 'On' fits this device: It rings.")
    rows, rejected = grown(first, second)
    assert (len(rows), rejected) == (1, {"near-copy": 1})


def test_a_free_answer_given_before_is_refused():
    answer = ("The window is open.", "fault_explanation")
    rows, rejected = grown(Task("Why is it so cold?", *answer), Task("What makes that noise at night?", *answer), None)
    assert (len(rows), rejected) == (1, {"answer repeats another": 1, "unparsed": 1})


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from([None, "On", "Off", ""]), st.text(max_size=10))
def test_whatever_passes_the_checks_states_its_labels_and_answers_with_one(instruction, response, label, case):
    labels = None if label is None else ("On", "Off")
    task = Task(instruction, response, "state", label=label, labels=labels, case=case)
    if growth.fault(task) is None:
        assert len(instruction.split()) >= 3
        assert response.strip() == response != ""
        if label is not None:
            assert parse(response, labels) == label
            assert parse(instruction, ["On"]) == "On"
            assert parse(instruction, ["Off"]) == "Off"
            assert parse(case, labels) is None


@pytest.mark.parametrize("category", sorted({*QUESTIONS, *OPEN_TASKS}))
def test_every_category_has_a_seed_and_well_formed_templates(category):
    (seed, *_) = [task for task in SEED_TASKS if task.category == category]
    rng = random.Random(0)
    assert growth.fault(seed) is None
    for task in TemplateTeacher().propose([[seed]] * 100, [rng] * 100):
        assert task.category == category
        assert growth.fault(task) is None, task
