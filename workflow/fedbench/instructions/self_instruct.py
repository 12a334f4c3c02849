"""Self-Instruct: grow the instruction set from seed tasks, keeping what is well formed and new (Edge-FIT, III-C)."""

import random
from collections import Counter
from pathlib import Path

import polars as pl

from fedbench.files import write_json
from fedbench.instructions import schema
from fedbench.instructions.answer import parse
from fedbench.instructions.rouge import NearCopies
from fedbench.instructions.seed_tasks import SEED_TASKS
from fedbench.instructions.teacher import Task, Teacher, TemplateTeacher
from fedbench.spec import InstructionsSpec

EXAMPLES = 3
"""Seed tasks shown to the teacher at each attempt."""
SATURATION = 3000
"""Attempts in a row without a new pair after which the teacher counts as exhausted."""
WORDS = {"instruction": (3, 150), "response": (1, 150)}
"""Fewest and most words."""


def augment(filtered: Path, spec: InstructionsSpec, seed: int, out: Path, ledger: Path) -> None:
    """Add `spec.self_instruct.count` pairs to the filtered records.

    The first pairs are the seed tasks themselves (attempt 0). A candidate is kept if it passes `fault` and its
    instruction has ROUGE-L < rouge_max with every instruction of the base set and every pair kept before (Self-Instruct
    compares instructions). Provenance: teacher, the numbers of the seed tasks it was shown (places in SEED_TASKS) and
    the attempt. If the teacher saturates, fewer pairs are added and the ledger says so.

    Args:
        filtered: `filtered.parquet`, of `filtering.filter_iot`.
        spec: its `self_instruct` gives teacher, count and rouge_max.
        seed: of the teacher and of the choice of examples.
        out: `augmented.parquet`, the filtered records first.
        ledger: JSON: wanted, made, attempts, reasons of rejection, pairs by category and label.
    """
    base = pl.read_parquet(filtered)
    wanted = spec.self_instruct.count
    copies = NearCopies(spec.self_instruct.rouge_max, base["instruction"])
    rows, account = _grow(TemplateTeacher(), wanted, copies, random.Random(f"self-instruct {seed}"))
    records = [{name: record.get(name) for name in schema.RECORD} for record in base.iter_rows(named=True)]
    frame = schema.table([*records, *rows], schema.AUGMENTED).with_columns(pl.int_range(pl.len()).alias("row_id"))
    schema.write(frame, out)
    made = frame.filter(pl.col("source") == "self-instruct")
    before, after = schema.counts(base), schema.counts(frame)
    reason = f"Self-Instruct, teacher {spec.self_instruct.teacher}, ROUGE-L < {spec.self_instruct.rouge_max}"
    write_json(
        ledger,
        {
            "rows_read": base.height,
            "rows_kept": frame.height,
            "labels": {"read": before, "kept": after},
            "steps": [
                {
                    "step": "self-instruct",
                    "rows_before": base.height,
                    "rows_after": frame.height,
                    "reason": reason if made.height == wanted else f"{reason}; {made.height} of {wanted}: saturated",
                    "labels_before": before,
                    "labels_after": after,
                }
            ],
            "wanted": wanted,
            "made": made.height,
            "closed_label": made["label"].count(),
            "answers": {name: schema.counts(made.filter(pl.col("category") == name), "label") for name in
                        schema.counts(made.drop_nulls("label"))},
            **account,
        },
    )  # fmt: skip


def fault(task: Task) -> str | None:
    """Return what is wrong with a candidate's length or format, or None: the checks that every teacher must pass."""
    for name, (fewest, most) in WORDS.items():
        text = getattr(task, name)
        if not fewest <= len(text.split()) <= most:
            return f"{name} length"
        if text != text.strip() or any(char < " " and char not in "\n\t" for char in text):
            return f"{name} format"
    if task.instruction.casefold() == task.response.casefold():
        return "response repeats instruction"
    if (task.label is None) != (task.labels is None):
        return "label without label set"
    if task.label is not None and task.labels is not None:
        if task.label not in task.labels or not task.response.startswith(task.label):
            return "response does not begin with its label"
        if parse(task.response, task.labels) != task.label:
            return "response names another label first"
        if any(parse(task.instruction, [label]) is None for label in task.labels):
            return "instruction does not state the label set"
    return None


def _grow(
    teacher: Teacher, wanted: int, copies: NearCopies, rng: random.Random
) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Return the kept pairs as rows, and the account of attempts."""
    rows: list[dict[str, object]] = []
    rejected: Counter[str] = Counter()
    attempt = in_vain = 0
    seeds = iter(enumerate(SEED_TASKS))
    while len(rows) < wanted and in_vain < SATURATION:
        first = next(seeds, None)
        if first is not None:
            shown: list[int] = [first[0]]
            task: Task | None = first[1]
        else:
            attempt += 1
            shown = sorted(rng.sample(range(len(SEED_TASKS)), EXAMPLES))
            task = teacher.propose([SEED_TASKS[i] for i in shown], rng)
        reason = "unparsed" if task is None else fault(task)
        if reason is None and task is not None and copies.contains(task.instruction):
            reason = "near-copy"
        if reason is not None or task is None:
            rejected[reason or "unparsed"] += 1
            in_vain += 1
            continue
        in_vain = 0
        copies.add(task.instruction)
        rows.append(
            {
                "instruction": task.instruction,
                "context": task.context,
                "response": task.response,
                "category": task.category,
                "source": "self-instruct",
                "teacher": teacher.name,
                "seed_tasks": shown,
                "attempt": attempt,
                "label": task.label,
                "labels": None if task.labels is None else list(task.labels),
            }
        )
    account = {
        "teacher": teacher.name,
        "seed_tasks": len(SEED_TASKS),
        "attempts": attempt,
        "rejected": dict(sorted(rejected.items())),
        "saturated": len(rows) < wanted,
    }
    return rows, account
