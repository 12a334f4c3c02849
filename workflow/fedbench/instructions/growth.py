"""Judging what a teacher of Self-Instruct proposes: well formed, new, and where it came from."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fedbench.instructions.answer import parse
from fedbench.instructions.rouge import NearCopies
from fedbench.instructions.teacher import Task
from fedbench.spec import SelfInstructSpec

WORDS = {"instruction": (3, 150), "context": (0, 150), "response": (1, 150)}
"""Fewest and most words."""
JSON_KEYS = {"routine_definition": {"trigger", "action"}, "log_extraction": {"device", "room", "value"}}
"""Keys of the answer by category, where it is JSON."""
_END = re.compile(r"[.!?\n]+\s*|\b\d+\.\s")
_MARKS = " \t-*0123456789"


def fault(task: Task) -> str | None:
    """Return what is wrong with a candidate's length or format, or None: the checks that every teacher must pass."""
    for name, (fewest, most) in WORDS.items():
        text = getattr(task, name)
        if not fewest <= len(text.split()) <= most:
            return f"{name} length"
        if text != text.strip() or any(char < " " and char not in "\n\t" for char in text):
            return f"{name} format"
    if (task.case or task.instruction).rstrip(".?! ").casefold() in task.response.casefold():
        return "response repeats instruction"
    sentences = [part.strip(_MARKS).casefold() for part in _END.split(task.response)]
    if any(sentences.count(sentence) > 1 for sentence in sentences if len(sentence.split()) > 2):
        return "response repeats itself"
    if task.category in JSON_KEYS and (wrong := _not_json(task)):
        return wrong
    if (task.label is None) != (task.labels is None):
        return "label without label set"
    if task.label is not None and task.labels is not None:
        if task.label not in task.labels or not task.response.startswith(task.label):
            return "response does not begin with its label"
        if parse(task.response, task.labels) != task.label:
            return "response names another label first"
        if any(parse(task.instruction, [label]) is None for label in task.labels):
            return "instruction does not state the label set"
        if parse(task.case, task.labels) is not None:
            return "case names a label"
    return None


def _not_json(task: Task) -> str | None:
    try:
        answer = json.loads(task.response)
    except ValueError:
        return "response is not JSON"
    if not isinstance(answer, dict) or set(answer) != JSON_KEYS[task.category]:
        return "response has other JSON keys"
    if task.category == "log_extraction" and any(str(value) not in task.instruction for value in answer.values()):
        return "response extracts what the instruction does not hold"
    return None


class Growth:
    """The pairs kept so far, and why the others were not.

    Args:
        spec: how many pairs are wanted, and after how many attempts in vain the teacher counts as exhausted.
        teacher: its name, for the rows.
        copies: knows the instructions of the base set, and learns those of the pairs.
    """

    def __init__(self, spec: SelfInstructSpec, teacher: str, copies: NearCopies) -> None:
        self.spec, self.teacher, self.copies = spec, teacher, copies
        self.rows: list[dict[str, Any]] = []
        self.rejected: Counter[str] = Counter()
        self._answers: set[str] = set()
        self.attempt = self._in_vain = self._written = 0

    @property
    def short(self) -> bool:
        """Fewer pairs than wanted."""
        return len(self.rows) < self.spec.count

    @property
    def over(self) -> bool:
        """Enough pairs, or a teacher that has run dry."""
        return not self.short or self._in_vain >= self.spec.patience

    def judge(self, task: Task | None, shown: Sequence[int], attempt: int) -> None:
        """Keep a candidate as a row with its provenance, or count why not; attempt 0 are the seed tasks."""
        self.attempt = attempt
        reason = "unparsed" if task is None else fault(task) or self._known(task)
        if reason is not None or task is None:
            self.rejected[reason or "unparsed"] += 1
            self._in_vain += 1
            return
        self._in_vain = 0
        self._keep(
            {
                "instruction": task.instruction,
                "context": task.context,
                "response": task.response,
                "category": task.category,
                "source": "self-instruct",
                "teacher": self.teacher if attempt else "seed",
                "seed_tasks": list(shown),
                "attempt": attempt,
                "label": task.label,
                "labels": None if task.labels is None else list(task.labels),
                "case": task.case,
            }
        )

    def news(self) -> dict[str, Any]:
        """Return what happened since the last call, for `restore`."""
        rows, self._written = self.rows[self._written :], len(self.rows)
        return {"attempt": self.attempt, "in_vain": self._in_vain, "rejected": dict(self.rejected), "rows": rows}

    def restore(self, news: dict[str, Any]) -> None:
        """Take over what happened before an interruption."""
        for row in news["rows"]:
            self._keep(row)
        self.attempt, self._in_vain, self.rejected = news["attempt"], news["in_vain"], Counter(news["rejected"])
        self._written = len(self.rows)

    def _known(self, task: Task) -> str | None:
        """Say whether the task repeats an earlier one: its instruction, the case inside it, or a free answer."""
        if self.copies.contains(task.instruction) or (task.case and self.copies.contains(task.case)):
            return "near-copy"
        return "answer repeats another" if task.label is None and task.response in self._answers else None

    def _keep(self, row: dict[str, Any]) -> None:
        for text in filter(None, (row["instruction"], row["case"])):
            self.copies.add(text)
        self._answers.add(row["response"])
        self.rows.append(row)
