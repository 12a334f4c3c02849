"""The few-shot prompt of a model teacher, and reading a task back from what the model writes.

An open task is written as instruction and response. Of a closed-label one the teacher writes the case and the reason
only: its label is fixed before the case is written, which is how Self-Instruct makes classification tasks (a model that
writes the case first gives one label nearly always), and the question that states the label set is one of FRAMES.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fedbench.instructions.classification import FRAMES
from fedbench.instructions.prompt import Messages
from fedbench.instructions.teacher import QUESTIONS, Task, options

END = "### Request"
"""Ends an answer where the model has no chat template, and so no end-of-turn mark."""
_PLAIN = {"user": END, "assistant": "### Task"}
_FRAMES = [frame for frame in FRAMES if "{background}" not in frame]


@dataclass(frozen=True)
class Request:
    """What a teacher is asked for: a category and, where the label set is closed, the right answer."""

    category: str
    label: str | None = None

    @property
    def marks(self) -> tuple[str, str]:
        """What the two parts of an answer begin with."""
        return ("Instruction:", "Response:") if self.label is None else ("Case:", "Reason:")

    def __str__(self) -> str:
        """The words of the request."""
        if self.label is None:
            return f"Write a new smart home task: {self.category.replace('_', ' ')}."
        asked = QUESTIONS[self.category]
        others = " or ".join(repr(label) for label in asked.labels if label != self.label)
        meaning = asked.reasons[self.label]
        return f"Write a new {asked.noun} of a smart home that is {self.label!r}, not {others}. {meaning}"


def choose(examples: Sequence[Task], rng: random.Random) -> tuple[list[Task], Request]:
    """Return the examples, the likest ones last, and what to ask for: the first one's category, any of its labels."""
    first = examples[0]
    label = None if first.labels is None else rng.choice(first.labels)
    ordered = sorted(examples, key=lambda task: (task.category == first.category, task.label == label))
    return ordered, Request(first.category, label)


def conversation(examples: Sequence[Task], wanted: Request) -> Messages:
    """Return the prompt: each example as a request and its answer, then the request."""
    messages: Messages = []
    for task in examples:
        asked = Request(task.category, task.label)
        parts = task.instruction, task.response
        if task.label is not None:
            parts = task.case, task.response.removeprefix(f"{task.label}.")
        answer = "\n".join(f"{mark} {part.strip()}" for mark, part in zip(asked.marks, parts, strict=True))
        messages += [{"role": "user", "content": str(asked)}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": str(wanted)}]


def plain(messages: Messages) -> str:
    """Return a prompt for a model without a chat template."""
    turns = [f"{_PLAIN[message['role']]}\n{message['content']}\n" for message in messages]
    return "\n".join([*turns, f"{_PLAIN['assistant']}\n"])


def read(first: str, second: str, wanted: Request, rng: random.Random) -> Task | None:
    """Return the task whose two parts a model wrote, or None where one is empty.

    Of the first part one line counts; the second ends where another part or a new request begins. Markdown marks and
    quotation marks around a part are dropped. What a task must be besides is for `growth.fault` to say.
    """
    opening, closing = _clean(first.strip().split("\n")[0]), _clean(_until_next(second))
    if not opening or not closing:
        return None
    if wanted.label is None:
        return Task(opening, closing, wanted.category)
    asked = QUESTIONS[wanted.category]
    frame = rng.choice(_FRAMES).replace("{case}", opening if opening[-1] in ".?!" else f"{opening}.")
    instruction = frame.replace("{noun}", asked.noun).replace("{options}", options(asked.labels))
    response = closing if closing.startswith(f"{wanted.label}.") else f"{wanted.label}. {closing}"
    return Task(instruction, response, wanted.category, label=wanted.label, labels=tuple(asked.labels), case=opening)


_NEXT = re.compile(r"^[ \t>#*-]*(?:instruction|response|case|reason|request|task)\b[ \t*]*:", re.IGNORECASE | re.M)


def _until_next(text: str) -> str:
    bare = text.split(END)[0].strip()
    following = _NEXT.search(bare)
    return bare[: following.start()] if following else bare


def _clean(text: str) -> str:
    bare = text.strip().strip("*").strip()
    for left, right in (('"', '"'), ("“", "”")):
        if len(bare) > 1 and bare.startswith(left) and bare.endswith(right):
            bare = bare[1:-1].strip()
    return bare
