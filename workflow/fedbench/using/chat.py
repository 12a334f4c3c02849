"""Ask the model of a finished Edge-FIT run: one question, lines of a pipe, or a conversation's turns on a terminal."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from fedbench.errors import FedbenchError
from fedbench.instructions import answer
from fedbench.using.finished import Finished

FREE_TOKENS = 256  # longest answer to a question without labels; one with labels gets what the run was scored with


@dataclass(frozen=True)
class Question:
    """An instruction; `labels` where one of them is the answer."""

    instruction: str
    context: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        label: the label that the answer names, None where there is none or the question has no labels.
        latency_ms: from the text of the question to the end of the answer.
    """

    question: Question
    answer: str
    label: str | None
    latency_ms: float

    @property
    def action(self) -> dict[str, Any] | None:
        """What a program should do: the label, or the JSON object (a routine) that the answer holds; None: neither."""
        if self.question.labels:
            return None if self.label is None else {"label": self.label}
        return _json_object(self.answer)

    def to_json(self) -> str:
        """Return one line of JSON."""
        asked = self.question
        told: dict[str, Any] = {"instruction": asked.instruction, "context": asked.context, "answer": self.answer}
        if asked.labels:
            told |= {"labels": list(asked.labels), "label": self.label}
        return json.dumps(told | {"action": self.action, "latency_ms": round(self.latency_ms, 1)}, ensure_ascii=False)


class Chat:
    """A loaded run that answers. Each question stands alone, as in training: the model has seen no dialogues."""

    def __init__(
        self,
        finished: Finished,
        *,
        client: int | None = None,
        models: Path | None = None,
        max_new_tokens: int | None = None,
    ) -> None:
        """Load the model; see `Finished.trainer`."""
        finished.require("edge-fit")
        self.run = finished.run
        self._trainer = finished.trainer(client, models)
        self._limit = max_new_tokens

    def ask(self, question: Question, stream: TextIO | None = None) -> Reply:
        """Answer greedily; a question with labels as the run was scored: by its answer's text, or by likelihood.

        Args:
            stream: where to write the answer while it is made (an answer by likelihood is made at once).

        Raises:
            FedbenchError: the question does not fit the model.
        """
        from fedbench.evaluation.answers import complete, rank
        from fedbench.training.examples import prompt_ids

        begun = time.perf_counter()
        tokenizer, labels = self._trainer.loaded.tokenizer, list(question.labels)
        prompt = prompt_ids(tokenizer, question.instruction, question.context)
        limit = self._limit or (self.run.max_new_tokens if labels else FREE_TOKENS)
        room = getattr(self._trainer.loaded.model.config, "max_position_embeddings", None)
        if room and len(prompt) + limit > room:
            raise FedbenchError(
                f"the question has {len(prompt)} tokens; with an answer of up to {limit} the model holds {room}",
                remedy="Shorten the instruction or its context, or lower --max-new-tokens.",
            )
        if labels and self.run.scoring == "rank":
            row = {"instruction": question.instruction, "context": question.context, "labels": labels}
            text = rank(self._trainer, [row])[0]
            if stream:
                stream.write(text)
        else:
            text = complete(self._trainer, [prompt], limit, _streamer(tokenizer, stream))[0].strip()
        label = answer.parse(text, labels) if labels else None
        if stream:
            stream.write("\n")
            stream.flush()
        return Reply(question, text, label, (time.perf_counter() - begun) * 1e3)


def read(lines: Iterable[str], context: str = "", labels: Sequence[str] = ()) -> Iterator[Question]:
    """Read questions, one a line: the instruction as it is, or a JSON object with instruction, context and labels.

    Args:
        context, labels: of questions that bring none.

    Raises:
        FedbenchError: a line that begins with a brace is no such object.
    """
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        if not text.startswith("{"):
            yield Question(text, context, tuple(labels))
            continue
        try:
            told = json.loads(text)
            given, own = told.get("context") or context, told.get("labels") or labels
            if not (isinstance(told["instruction"], str) and isinstance(given, str) and _texts(own)):
                raise TypeError
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise FedbenchError(
                "not a JSON object with an instruction (text) and, if any, context (text) and labels (list of texts)",
                where=f"stdin:{number}",
            ) from error
        yield Question(told["instruction"], given, tuple(own))


HELP = (
    "An instruction gets an answer; /context TEXT and /labels a,b,c set those of the next ones; /quit or Ctrl-D ends."
)


def talk(chat: Chat, ask: Callable[[str], str], out: TextIO, question: Question) -> None:
    """Answer what is typed until the end of input.

    Args:
        ask: reads a line after showing a prompt, as `input` does.
        question: whose context and labels the first questions have.
    """
    context, labels = question.context, question.labels
    out.write(f"{chat.run.label}. {HELP}\n")
    while True:
        try:
            line = ask("> ").strip()
        except (EOFError, KeyboardInterrupt):
            out.write("\n")
            return
        command, _, rest = line.partition(" ")
        match command:
            case "":
                continue
            case "/quit" | "/exit":
                return
            case "/context":
                context = rest.strip()
            case "/labels":
                labels = split_labels(rest)
            case _ if command.startswith("/"):
                out.write(HELP + "\n")
            case _:
                _answer(chat, Question(line, context, labels), out)


def _answer(chat: Chat, question: Question, out: TextIO) -> None:
    try:
        reply = chat.ask(question, out)
    except FedbenchError as error:
        out.write(f"{error}\n")
    except KeyboardInterrupt:
        out.write(" (stopped)\n")
    else:
        found = f"{reply.label or 'no label named'}, " if question.labels else ""
        out.write(f"  [{found}{reply.latency_ms:.0f} ms]\n")


def split_labels(text: str) -> tuple[str, ...]:
    """Return the labels of `a,b,c`."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _streamer(tokenizer: Any, stream: TextIO | None) -> Any:
    """Return what writes an answer to `stream` word by word."""
    if stream is None:
        return None
    from transformers import TextStreamer

    def write(text: str, stream_end: bool = False) -> None:
        stream.write(text)
        stream.flush()

    streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    streamer.on_finalized_text = write
    return streamer


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _json_object(text: str) -> dict[str, Any] | None:
    """Return the first JSON object that begins at a brace of `text`."""
    start = text.find("{")
    while start >= 0:
        try:
            value: dict[str, Any] = json.JSONDecoder().raw_decode(text[start:])[0]
            return value
        except json.JSONDecodeError:
            start = text.find("{", start + 1)
    return None
