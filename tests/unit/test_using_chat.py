"""Chat with a finished run: the adapter answers, labels become actions, lines come and go as JSON."""

import io
import json
from pathlib import Path

import finished_runs
import pytest
from typer.testing import CliRunner

from fedbench.cli import app
from fedbench.errors import FedbenchError
from fedbench.evaluation.answers import generate, rank
from fedbench.using.chat import Chat, Question, Reply, read, talk
from fedbench.using.finished import find

ASKED = [f"Sensor {k} reports motion at {k}:00 AM" for k in range(1, 6)]
ROWS = [{"instruction": text, "context": ""} for text in ASKED]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def run(results):
    return finished_runs.finished(results, finished_runs.spec(label="plain"))


def test_the_answers_are_those_of_the_runs_adapter(results, run):
    folder, trainer = run
    chat = Chat(find(str(folder)), max_new_tokens=8)
    answers = [chat.ask(Question(text)).answer for text in ASKED]
    assert answers == [text.strip() for text in generate(trainer, ROWS, 8, batch_size=1)]
    other = finished_runs.trained(results, finished_runs.spec(label="plain"), seed=9)
    assert answers != [text.strip() for text in generate(other, ROWS, 8, batch_size=1)]


def test_a_context_is_part_of_the_question(run):
    folder, trainer = run
    reply = Chat(find(str(folder)), max_new_tokens=8).ask(Question(ASKED[0], "The door is open."))
    row = {"instruction": ASKED[0], "context": "The door is open."}
    assert reply.answer == generate(trainer, [row], 8)[0].strip()
    assert reply.answer != generate(trainer, ROWS[:1], 8)[0].strip()


def test_a_run_scored_by_likelihood_answers_one_of_the_labels(results):
    spec = finished_runs.spec(label="ranked", scoring="rank")
    folder, trainer = finished_runs.finished(results, spec)
    chat, labels = Chat(find(str(folder))), ("Normal", "Anomaly", "No idea")
    replies = [chat.ask(Question(text, labels=labels)) for text in ASKED]
    assert [reply.label for reply in replies] == rank(trainer, [row | {"labels": list(labels)} for row in ROWS])
    assert all(reply.action == {"label": reply.label} for reply in replies)


def test_each_client_of_a_local_only_run_has_its_own_answers(results):
    spec = finished_runs.spec(label="local", procedure="local-only", clients=2, alone=True)
    trainers = [finished_runs.trained(results, spec, seed=seed) for seed in (1, 2)]
    arrays = {f"client.{k}.{name}": value for k, t in enumerate(trainers) for name, value in t.arrays().items()}
    folder = finished_runs.write(results, spec, arrays)
    answers = [
        [Chat(find(str(folder)), client=client, max_new_tokens=8).ask(Question(text)).answer for text in ASKED]
        for client in (0, 1)
    ]
    assert answers[0] != answers[1]
    assert answers[1] == [text.strip() for text in generate(trainers[1], ROWS, 8, batch_size=1)]


def test_a_zero_shot_run_answers_with_the_base_model(results):
    spec = finished_runs.spec(label="zero", procedure="zero-shot", alone=True)
    folder = finished_runs.write(results, spec, {})
    assert isinstance(Chat(find(str(folder)), max_new_tokens=4).ask(Question(ASKED[0])).answer, str)


def test_what_is_streamed_is_the_answer(run):
    stream = io.StringIO()
    reply = Chat(find(str(run[0])), max_new_tokens=8).ask(Question(ASKED[0]), stream)
    assert stream.getvalue().strip() == reply.answer
    assert reply.answer


def test_a_question_that_does_not_fit_the_model_is_refused(run):
    with pytest.raises(FedbenchError, match="the model holds 256"):
        Chat(find(str(run[0]))).ask(Question("packet " * 300))


@pytest.mark.parametrize(
    ("answer", "labels", "label", "action"),
    [
        ("Anomaly. Nobody is up.", ("Normal", "Anomaly"), "Anomaly", {"label": "Anomaly"}),
        ("Hard to say.", ("Normal", "Anomaly"), None, None),
        ('Here: {"service": "light.turn_off"} as asked', (), None, {"service": "light.turn_off"}),
        ('{broken {"a": 1}', (), None, {"a": 1}),
        ("A thermostat.", (), None, None),
    ],
)
def test_an_answer_becomes_an_action(answer, labels, label, action):
    reply = Reply(Question("Q", "C", labels), answer, label, 12.345)
    told = json.loads(reply.to_json())
    assert reply.action == told["action"] == action
    assert told["latency_ms"] == 12.3
    assert (told["instruction"], told["context"], told["answer"]) == ("Q", "C", answer)
    assert told.get("labels") == (list(labels) or None)


def test_lines_are_instructions_or_objects_that_may_bring_context_and_labels():
    lines = ["What is MQTT?\n", "\n", '{"instruction": "Classify", "context": "log", "labels": ["a", "b"]}\n']
    first, second = read(lines, "given", ["x", "y"])
    assert first == Question("What is MQTT?", "given", ("x", "y"))
    assert second == Question("Classify", "log", ("a", "b"))


@pytest.mark.parametrize(
    "line", ["{oops", '{"context": "c"}', '{"instruction": 3}', '{"instruction": "i", "labels": "a"}']
)
def test_a_line_that_is_no_such_object_is_named(line):
    with pytest.raises(FedbenchError, match="stdin:2"):
        list(read(["fine", line]))


def test_a_conversation_keeps_labels_and_context_until_they_change_and_ends_with_the_input(run, monkeypatch):
    chat, out, asked = Chat(find(str(run[0])), max_new_tokens=3), io.StringIO(), []
    answer = chat.ask
    monkeypatch.setattr(
        chat, "ask", lambda question, stream=None: (asked.append(question), answer(question, stream))[1]
    )
    typed = iter(
        ["/labels Normal, Anomaly", "one", "/context at night", "two", "/labels", "", "/what", "three", "x " * 300]
    )

    def ask(prompt: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    talk(chat, ask, out, Question("", "", ()))
    labels = ("Normal", "Anomaly")
    assert asked[:3] == [
        Question("one", "", labels),
        Question("two", "at night", labels),
        Question("three", "at night"),
    ]
    assert out.getvalue().count("ms]") == 3
    assert "the model holds 256" in out.getvalue()
    assert out.getvalue().count("Ctrl-D") == 2  # at the start, and for what is no command


def test_the_command_answers_once_or_every_line_of_a_pipe(results, run):
    base = ["chat", f"tiny/{find(str(run[0])).run.label}", "--results", str(results), "--max-new-tokens", "4"]
    once = CliRunner().invoke(app, [*base, "--instruction", ASKED[0], "--json", "--labels", "a,b"])
    assert once.exit_code == 0, once.output
    told = json.loads(once.stdout)
    assert told["labels"] == ["a", "b"]
    assert told["latency_ms"] > 0
    piped = CliRunner().invoke(app, [*base, "--json"], input="\n".join(ASKED))
    assert [json.loads(line)["instruction"] for line in piped.stdout.splitlines()] == ASKED
