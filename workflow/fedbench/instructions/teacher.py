"""Teachers of Self-Instruct: from a few example tasks to a new candidate. Here: templates, no model."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fedbench.instructions import classification, classification_more
from fedbench.instructions.grammar import Filler
from fedbench.instructions.open_tasks import OPEN_TASKS
from fedbench.instructions.vocabulary import HOME

QUESTIONS = {question.category: question for question in classification.QUESTIONS + classification_more.QUESTIONS}
"""The closed-label tasks by category."""


@dataclass(frozen=True)
class Task:
    """An instruction with its answer; `label` is the right one of `labels` where the label set is closed."""

    instruction: str
    response: str
    category: str
    context: str = ""
    label: str | None = None
    labels: tuple[str, ...] | None = None


class Teacher(Protocol):
    """Writes new tasks in the manner of a few examples (the few-shot prompt of a model teacher)."""

    @property
    def name(self) -> str:
        """As shown in the column `teacher`."""
        ...

    def propose(self, examples: Sequence[Task], rng: random.Random) -> Task | None:
        """Return a candidate, unchecked, or None where nothing could be made of the teacher's output."""
        ...


class TemplateTeacher:
    """Fills seeded templates: a new task of the category of one of the examples."""

    name = "template"

    def propose(self, examples: Sequence[Task], rng: random.Random) -> Task:
        """Return a candidate of one example's category."""
        category = rng.choice(examples).category
        filler = Filler(HOME, rng)
        if category in OPEN_TASKS:
            instruction, response = OPEN_TASKS[category](filler)
            return Task(_sentence(instruction), response, category)
        question = QUESTIONS[category]
        label = rng.choice(question.labels)
        case = _sentence(filler.fill(rng.choice(question.cases[label])))
        background = filler.fill(rng.choice(HOME["background"]))  # type: ignore[arg-type]
        frame = rng.choice(classification.FRAMES).replace("{background}", background).replace("{case}", case)
        instruction = frame.replace("{noun}", question.noun).replace("{options}", options(question.labels))
        response = f"{label}. {question.reasons[label]}"
        return Task(instruction, response, category, label=label, labels=tuple(question.labels))


def options(labels: Sequence[str]) -> str:
    """Return the labels as an instruction states them: 'A', 'B' or 'C'."""
    quoted = [f"'{label}'" for label in labels]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
