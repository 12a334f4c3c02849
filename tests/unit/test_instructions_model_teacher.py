"""A model teaches: what it is asked, how its answers are read, and that equal seeds give equal candidates."""

import random
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedbench.errors import FedbenchError
from fedbench.files import read_json
from fedbench.instructions import few_shot, growth, schema, self_instruct
from fedbench.instructions.answer import parse
from fedbench.instructions.model_teacher import ModelTeacher
from fedbench.instructions.seed_tasks import SEED_TASKS
from fedbench.instructions.teacher import QUESTIONS
from fedbench.models.snapshot import fetch
from fedbench.spec import GenerationSpec, InstructionsSpec

GENERATION = GenerationSpec(temperature=1.0, top_p=1.0, max_new_tokens=8, batch=3)
EVENT = few_shot.Request("anomaly_detection", "Anomaly")
OPEN = few_shot.Request("event_summary")


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    """A tiny Llama with room for a prompt, and a tiny BERT."""
    folder = tmp_path_factory.mktemp("snapshots")
    for name in ("tiny-llama", "tiny-bert"):
        model = tiny.REGISTRY.models[name]
        config = model.weights.config | {"max_position_embeddings": 4096}
        weights = model.weights.model_copy(update={"config": config}) if name == "tiny-llama" else model.weights
        fetch(model.model_copy(update={"weights": weights}), folder / name)
    return folder


@pytest.fixture(scope="module")
def teacher(snapshots):
    return ModelTeacher("tiny-llama", snapshots / "tiny-llama", GENERATION)


def attempts(*numbers):
    """Examples and generators of attempts."""
    rngs = [random.Random(number) for number in numbers]
    return [[SEED_TASKS[i] for i in self_instruct._shown(rng)] for rng in rngs], rngs


def test_the_prompt_shows_the_examples_likest_last_and_asks_for_a_fixed_label():
    shown = [task for task in SEED_TASKS if task.category == "severity"] + [SEED_TASKS[-1]]
    ordered, wanted = few_shot.choose(shown, random.Random(1))
    assert wanted.category == "severity"
    assert ordered[0] is SEED_TASKS[-1]
    assert ordered[-1].label == wanted.label
    messages = few_shot.conversation(ordered, wanted)
    assert [message["role"] for message in messages] == ["user", "assistant"] * 4 + ["user"]
    assert f"'{wanted.label}'" in messages[-1]["content"]
    assert messages[-2]["content"].startswith(f"Case: {ordered[-1].case}\nReason: ")
    assert messages[1]["content"].startswith("Instruction: 22:40 television off")


def test_every_label_is_asked_for_about_as_often():
    shown = [task for task in SEED_TASKS if task.category == "intent"]
    rng = random.Random(0)
    asked = [few_shot.choose(shown, rng)[1].label for _ in range(400)]
    assert all(70 < asked.count(label) < 130 for label in QUESTIONS["intent"].labels)


@pytest.mark.parametrize(
    ("first", "second", "case", "response"),
    [
        (" A lock opens at noon.\n", " Nobody is home.", "A lock opens at noon.", "Anomaly. Nobody is home."),
        (" **A lock opens**\nReason: x", ' "It is odd."\n', "A lock opens", "Anomaly. It is odd."),
        ("A lock opens?", "Anomaly. It is odd.", "A lock opens?", "Anomaly. It is odd."),
        ("A lock opens", "It is odd.\n\nCase: Another.\nReason: y", "A lock opens", "Anomaly. It is odd."),
        ("A lock opens", "It is odd.\n### Request\nWrite", "A lock opens", "Anomaly. It is odd."),
        ("“Das Schloss öffnet sich”", "Das ist selten.", "Das Schloss öffnet sich", "Anomaly. Das ist selten."),
    ],
)  # fmt: skip
def test_a_case_and_its_reason_become_a_task_that_states_its_label_set(first, second, case, response):
    task = few_shot.read(first, second, EVENT, random.Random(0))
    assert (task.case, task.response, task.label, task.labels) == (case, response, "Anomaly", ("Normal", "Anomaly"))
    assert case in task.instruction
    assert "'Normal' or 'Anomaly'" in task.instruction
    assert growth.fault(task) is None


@pytest.mark.parametrize(
    ("first", "second"), [("", "x"), ("x", ""), ("\n\n", "x"), ("**", "x"), ('""', "x"), ("x", "### Request")]
)
def test_an_answer_without_one_of_its_parts_is_no_task(first, second):
    assert few_shot.read(first, second, EVENT, random.Random(0)) is None
    assert few_shot.read(first, second, OPEN, random.Random(0)) is None


def test_a_case_that_gives_its_label_away_is_refused():
    task = few_shot.read("This anomaly is a lock that opens.", "It is odd.", EVENT, random.Random(0))
    assert growth.fault(task) == "case names a label"


@settings(deadline=None)
@given(st.text(), st.text(), st.sampled_from([EVENT, OPEN, few_shot.Request("log_source", "Router")]))
def test_no_garbage_stops_the_reading_and_what_passes_is_well_formed(first, second, wanted):
    task = few_shot.read(first, second, wanted, random.Random(0))
    if task is not None and growth.fault(task) is None and task.labels is not None:
        assert parse(task.response, task.labels) == wanted.label
        assert all(parse(task.instruction, [label]) for label in task.labels)


def test_equal_seeds_give_equal_candidates_and_leave_other_random_numbers_alone(teacher, monkeypatch):
    monkeypatch.setattr(teacher, "_ended", lambda row, stops: str(row))
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, second = (teacher._sample(["a", "bb bb", "c"], 5, ["\n"]) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert first == second
    assert first != teacher._sample(["a", "bb bb", "c"], 6, ["\n"])


def test_a_random_model_proposes_nothing_that_breaks_the_run(teacher):
    proposed = teacher.propose(*attempts(1, 2, 3))
    assert len(proposed) == 3
    assert proposed == teacher.propose(*attempts(1, 2, 3))


class Scripted(ModelTeacher):
    """Gives written answers: half of the cases are new, the others repeat, are cut off or are garbage."""

    def __init__(self, name="scripted", snapshot=None, generation=GENERATION):
        self.name, self.batch, self.generation, self.seen = name, generation.batch, generation, []
        self.tokenizer = type("Plain", (), {"chat_template": None, "bos_token": None})

    def _sample(self, prompts, seed, stops):
        self.seen += prompts
        rng = random.Random(seed)
        if stops == [few_shot.END]:
            return [rng.choice([" For a plain reason.\n### Request", "", " As it is."]) for _ in prompts]
        things = ["lamp", "fan", "pump", "hub", "robot", "gate", "oven", "kettle", "meter", "siren"]
        return [
            rng.choice(
                [f" The {rng.choice(things)} {rng.randint(0, 99)} {rng.choice(things)} hums.\n", "", "* *", " ok"]
            )
            for _ in prompts
        ]


def test_answers_pass_the_same_checks_and_carry_their_provenance(tmp_path, monkeypatch):
    base = {"row_id": 0, "instruction": "What is love?", "context": "", "response": "It is.", "category": "open_qa"}
    schema.write(schema.table([base | {"source": "dolly"}], schema.FILTERED), tmp_path / "filtered.parquet")
    monkeypatch.setattr("fedbench.instructions.model_teacher.ModelTeacher", Scripted)
    spec = InstructionsSpec(
        source={"kind": "synthetic"}, self_instruct={"teacher": "smollm2", "count": 80, "generation": {"batch": 4}}
    )
    files = [tmp_path / name for name in ("filtered.parquet", "out.parquet", "ledger.json")]
    self_instruct.augment(files[0], spec, 0, files[1], files[2], tmp_path)
    made = pl.read_parquet(files[1]).filter(pl.col("attempt") > 0)
    ledger = read_json(files[2])
    assert made.height == 80 - len(SEED_TASKS)
    assert set(made["teacher"]) == {"smollm2"} == {ledger["teacher"]}
    assert ledger["generation"]["batch"] == 4
    assert ledger["attempts"] == made.height + sum(ledger["rejected"].values())
    assert ledger["rejected"]["unparsed"] > 10
    for row in made.drop_nulls("label").iter_rows(named=True):
        assert parse(row["response"], row["labels"]) == row["label"]
        assert row["category"] == SEED_TASKS[row["seed_tasks"][0]].category
    assert made.filter(pl.col("label").is_null() & (pl.col("category") == "log_extraction")).is_empty()
    before = files[1].read_bytes()
    self_instruct.augment(files[0], spec, 0, files[1], files[2], tmp_path)
    assert files[1].read_bytes() == before


def test_a_model_without_a_chat_template_gets_plain_text():
    teacher = Scripted()
    teacher.propose(*attempts(1))
    assert teacher.seen[0].startswith("### Request\nWrite a new ")
    assert "### Task\nCase: " in teacher.seen[0] or "### Task\nInstruction: " in teacher.seen[0]
    assert teacher.seen[0].endswith(("### Task\nCase:", "### Task\nInstruction:"))
    assert teacher.seen[1].endswith(("\nReason:", "\nResponse:"))


def test_the_chat_template_of_the_model_is_used(teacher, monkeypatch):
    seen = []
    monkeypatch.setattr(teacher, "_sample", lambda prompts, seed, stops: seen.append(prompts) or [" x"] * len(prompts))
    teacher.propose(*attempts(1, 2))
    assert all(prompt.startswith("<s>user\nWrite a new ") for prompt in seen[0])
    assert all("</s>\n<s>assistant\n" in prompt for prompt in seen[0])


def test_an_answer_that_does_not_end_in_time_is_not_read(teacher):
    assert teacher._ended([40, 41, 42], ["\n"]) == ""
    assert teacher._ended([40, 3, 0], ["\n"]) != ""


def test_an_encoder_is_refused(snapshots):
    with pytest.raises(FedbenchError, match="'tiny-bert' is no causal language model but a bert") as caught:
        ModelTeacher("tiny-bert", snapshots / "tiny-bert", GENERATION)
    assert "self_instruct.teacher" in caught.value.remedy


def test_a_prompt_beyond_the_models_positions_is_refused(tmp_path):
    fetch(tiny.REGISTRY.models["tiny-llama"], tmp_path / "short")
    teacher = ModelTeacher("tiny-llama", tmp_path / "short", GENERATION.model_copy(update={"max_new_tokens": 500}))
    with pytest.raises(FedbenchError, match="exceed the 512 positions"):
        teacher.propose(*attempts(1))


def test_the_template_teacher_needs_no_torch():
    package = Path(self_instruct.__file__).parents[2]
    code = "import sys; from fedbench.instructions import self_instruct; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(package)}, check=False).returncode == 0
