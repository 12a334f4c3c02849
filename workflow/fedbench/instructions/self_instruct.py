"""Self-Instruct: grow the instruction set from seed tasks, keeping what is well formed and new (Edge-FIT, III-C)."""

import hashlib
import itertools
import json
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from fedbench.digest import code_digest
from fedbench.errors import FedbenchError
from fedbench.files import read_json, sha256, write_json
from fedbench.instructions import schema
from fedbench.instructions.growth import Growth
from fedbench.instructions.journal import Journal
from fedbench.instructions.rouge import NearCopies
from fedbench.instructions.seed_tasks import SEED_TASKS
from fedbench.instructions.teacher import Task, Teacher, TemplateTeacher
from fedbench.progress import Bar
from fedbench.spec import InstructionsSpec, SelfInstructSpec

LOG = logging.getLogger(__name__)

EXAMPLES = 3
"""Seed tasks shown to the teacher at each attempt; all of one category, and more than this where it has more."""
Candidate = tuple[Task | None, list[int], int]
"""A task (None: not readable), the seed tasks shown, the attempt."""


def augment(
    filtered: Path, spec: InstructionsSpec, seed: int, out: Path, ledger: Path, snapshot: Path | None = None
) -> None:
    """Add `spec.self_instruct.count` pairs to the filtered records.

    The first pairs are the seed tasks themselves (attempt 0). A candidate is kept if it passes `growth.fault` and its
    instruction has ROUGE-L < rouge_max with every instruction of the base set and every pair kept before (Self-Instruct
    compares instructions). Provenance: teacher, the numbers of the seed tasks it was shown (places in SEED_TASKS) and
    the attempt. If the teacher saturates, fewer pairs are added and the ledger says so.

    A journal beside `out` holds the pairs kept so far; cut off work goes on from it and ends in the same bytes.

    Args:
        filtered: `filtered.parquet`, of `filtering.filter_iot`.
        spec: its `self_instruct` gives teacher, count, rouge_max, patience and, for a model, how it samples.
        seed: of the teacher and of the choice of examples.
        out: `augmented.parquet`, the filtered records first.
        ledger: JSON: wanted, made, attempts, reasons of rejection, pairs by category and label.
        snapshot: the teacher's, where it is a model.

    Raises:
        FedbenchError: the teacher is a model without a snapshot, or one that writes no text.
    """
    base = pl.read_parquet(filtered)
    chosen = spec.self_instruct
    copies = NearCopies(chosen.rouge_max, base["instruction"])
    journal = Journal(out.with_suffix(".journal.jsonl"), _key(filtered, chosen, seed, snapshot))
    teacher = make_teacher(chosen, snapshot)
    growth = _grow(teacher, chosen, copies, seed, journal)
    records = [{name: record.get(name) for name in schema.RECORD} for record in base.iter_rows(named=True)]
    frame = schema.table([*records, *growth.rows], schema.AUGMENTED).with_columns(row_id=pl.int_range(pl.len()))
    schema.write(frame, out)
    made = frame.filter(pl.col("source") == "self-instruct")
    before, after = schema.counts(base), schema.counts(frame)
    reason = f"Self-Instruct, teacher {chosen.teacher}, ROUGE-L < {chosen.rouge_max}"
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
                    "reason": f"{reason}; {made.height} of {chosen.count}: saturated" if growth.short else reason,
                    "labels_before": before,
                    "labels_after": after,
                }
            ],
            "wanted": chosen.count,
            "made": made.height,
            "closed_label": made["label"].count(),
            "answers": {name: schema.counts(made.filter(pl.col("category") == name), "label") for name in
                        schema.counts(made.drop_nulls("label"))},
            "teacher": chosen.teacher,
            **({"weights": _source(snapshot), "generation": chosen.generation.model_dump()} if snapshot else {}),
            "seed_tasks": len(SEED_TASKS),
            "attempts": growth.attempt,
            "rejected": dict(sorted(growth.rejected.items())),
            "saturated": growth.short,
        },
    )  # fmt: skip
    journal.clear()


def make_teacher(spec: SelfInstructSpec, snapshot: Path | None) -> Teacher:
    """Return the teacher that `spec` names.

    Raises:
        FedbenchError: it is a model and there is no snapshot of it, or it writes no text.
    """
    if spec.teacher == TemplateTeacher.name:
        return TemplateTeacher()
    if snapshot is None:
        raise FedbenchError(
            f"the teacher {spec.teacher!r} is a model, and no snapshot of it was given",
            where="self_instruct.teacher",
            remedy="Give the folder of its snapshot, or use the teacher `template`.",
        )
    from fedbench.instructions.model_teacher import ModelTeacher  # imports torch

    return ModelTeacher(spec.teacher, snapshot, spec.generation)


def _grow(teacher: Teacher, spec: SelfInstructSpec, copies: NearCopies, seed: int, journal: Journal) -> Growth:
    growth = Growth(spec, teacher.name, copies)
    entries = journal.load()
    for entry in entries:
        growth.restore(entry)
    candidates = _candidates(teacher, seed, growth.attempt if entries else None)
    with Bar("Self-Instruct") as bar:
        bar.stage("pairs", spec.count)
        for _ in growth.rows:
            bar.advance()
        while not growth.over:
            for candidate in next(candidates):
                if not growth.over:
                    growth.judge(*candidate)
            news = growth.news()
            journal.append(news)
            for _ in news["rows"]:
                bar.advance(f"{growth.attempt} attempts")
            LOG.info("%d of %d pairs after %d attempts", len(growth.rows), spec.count, growth.attempt)
    return growth


def _candidates(teacher: Teacher, seed: int, after: int | None) -> Iterator[list[Candidate]]:
    """Yield batches of candidates: the seed tasks themselves, then the teacher's from the attempt `after` on."""
    if after is None:
        yield [(task, [place], 0) for place, task in enumerate(SEED_TASKS)]
    for first in itertools.count((after or 0) + 1, teacher.batch):
        attempts = range(first, first + teacher.batch)
        # A generator an attempt: what an attempt gives does not hang on those before it.
        rngs = [random.Random(f"self-instruct {seed} {attempt}") for attempt in attempts]
        shown = [_shown(rng) for rng in rngs]
        tasks = teacher.propose([[SEED_TASKS[i] for i in places] for places in shown], rngs)
        yield list(zip(tasks, shown, attempts, strict=True))


def _shown(rng: random.Random) -> list[int]:
    """Draw a category; return the places of its seed tasks, and of others if they are fewer than EXAMPLES."""
    category = rng.choice(sorted({task.category for task in SEED_TASKS}))
    own = [place for place, task in enumerate(SEED_TASKS) if task.category == category]
    others = [place for place in range(len(SEED_TASKS)) if place not in own]
    return own + rng.sample(others, max(EXAMPLES - len(own), 0))


def _key(filtered: Path, spec: SelfInstructSpec, seed: int, snapshot: Path | None) -> str:
    """Return a digest of what the kept pairs depend on: the base set, the specification, the seed, weights, code."""
    weights, code = snapshot and _source(snapshot), code_digest("instructions.self_instruct")
    parts = [sha256(filtered), spec.digest(), seed, weights, code]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _source(snapshot: Path) -> Any:
    """Return where a snapshot came from, with its checksum; a folder of the user's own is known by its name."""
    stated = snapshot / "source.json"
    return read_json(stated) if stated.is_file() else snapshot.name
