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
    """An instruction with its answer; `label` is the right one of `labels` where the label set is closed.

    `case` is the part of a closed-label instruction that is classified, where it is known apart from the question.
    """

    instruction: str
    response: str
    category: str
    context: str = ""
    label: str | None = None
    labels: tuple[str, ...] | None = None
    case: str = ""


class Teacher(Protocol):
    """Writes new tasks in the manner of a few examples (the few-shot prompt of a model teacher)."""

    @property
    def name(self) -> str:
        """As shown in the column `teacher`."""
        ...

    @property
    def batch(self) -> int:
        """How many candidates to ask for at once."""
        ...

    def propose(self, examples: Sequence[Sequence[Task]], rngs: Sequence[random.Random]) -> Sequence[Task | None]:
        """Return a candidate for each set of examples, unchecked; None where the output could not be read.

        A candidate is of the category of the first example. `rngs` holds a generator for each; nothing else may decide
        what comes out.
        """
        ...


class TemplateTeacher:
    """Fills seeded templates."""

    name = "template"
    batch = 100

    def propose(self, examples: Sequence[Sequence[Task]], rngs: Sequence[random.Random]) -> list[Task]:
        """Return a candidate of the first example's category for each set of examples."""
        return [self._fill(shown[0].category, rng) for shown, rng in zip(examples, rngs, strict=True)]

    def _fill(self, category: str, rng: random.Random) -> Task:
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


def question(category: str) -> str:
    """Return the question that a seed task of a closed-label category ends with."""
    return f" Classify this {QUESTIONS[category].noun} as {options(QUESTIONS[category].labels)} and explain why."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
