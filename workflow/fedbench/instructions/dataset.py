"""The final instruction set: closed labels filled in, and train, validation and test rows told apart."""

import unicodedata
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl

from fedbench.errors import FedbenchError
from fedbench.files import write_json
from fedbench.instructions import schema
from fedbench.instructions.closed_labels import closed_label
from fedbench.partition import largest_remainder
from fedbench.spec import InstructionsSpec

PARTITION_BY = "category"
"""The instruction type: `partition.write_clients(dataset, ..., by=PARTITION_BY)` skews it over the clients."""

Stratum = tuple[str, str, str]


def build(augmented: Path, spec: InstructionsSpec, seed: int, dataset: Path, ledger: Path) -> None:
    """Split the instruction set, stratified by source, category and label; no row is lost or made.

    Rows whose instruction is equal (case, blanks and Unicode form apart) share a split, so neither a duplicate nor a
    repeated question straddles one. Which split a row falls into does not hang on the order of the rows.

    Args:
        augmented: `augmented.parquet`, of `self_instruct.augment`.
        spec: its `test` and `validation` shares.
        seed: of the split.
        dataset: `dataset.parquet` (schema.DATASET), sorted by row_id.
        ledger: JSON: rows a split by category and by source, and the closed-label records a split.

    Raises:
        FedbenchError: a split would be empty, or test and validation together leave nothing to train on.
    """
    if spec.test + spec.validation >= 1:
        raise FedbenchError(
            f"test {spec.test} + validation {spec.validation} leave no training record",
            where="instructions",
            remedy="Choose shares whose sum is below 1.",
        )
    frame = _with_labels(pl.read_parquet(augmented))
    strata = [
        (source, category, label or "") for source, category, label in frame["source", "category", "label"].iter_rows()
    ]
    names = split(frame["instruction"].to_list(), strata, spec.test, spec.validation, seed)
    frame = frame.with_columns(pl.Series("split", names)).select(list(schema.DATASET)).sort("row_id")
    parts = {name: frame.filter(pl.col("split") == name) for name in ("train", "validation", "test")}
    for name, part in parts.items():
        if part.is_empty():
            raise FedbenchError(
                f"no record is left for the {name} split of {frame.height} records",
                where=augmented,
                remedy="Use more records (`rows`, `keep`, `self_instruct.count`) or larger `test` and `validation`.",
            )
    schema.write(frame, dataset)
    write_json(
        ledger,
        {
            "rows_read": frame.height,
            "rows_kept": frame.height,
            "labels": {name: schema.counts(part) for name, part in parts.items()},
            "sources": {name: schema.counts(part, "source") for name, part in parts.items()},
            "closed_label": {name: schema.counts(part.drop_nulls("label")) for name, part in parts.items()},
            "repeated_instructions": frame.height - len({_key(text) for text in frame["instruction"]}),
            "steps": [
                {
                    "step": "split",
                    "rows_before": frame.height,
                    "rows_after": frame.height,
                    "reason": ", ".join(f"{name} {part.height}" for name, part in parts.items()),
                    "labels_before": schema.counts(frame),
                    "labels_after": schema.counts(frame),
                }
            ],
        },
    )


def split(instructions: list[str], strata: list[Stratum], test: float, validation: float, seed: int) -> list[str]:
    """Return "train", "validation" or "test" for each row.

    Sizes are the shares of all rows by largest remainder, dealt out to the strata by largest remainder again. A group
    of equal instructions counts for the first stratum of its rows, by name; one too large for what a stratum still
    wants goes to train, so a split may fall short by less than a group, and never grows beyond its share.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(instructions):
        groups[_key(text)].append(row)
    members: defaultdict[Stratum, list[list[int]]] = defaultdict(list)
    for _, rows in sorted(groups.items()):
        members[min(strata[row] for row in rows)].append(rows)
    wanted = largest_remainder(len(instructions), [1 - test - validation, validation, test])
    names = ["train"] * len(instructions)
    rng = np.random.default_rng(seed)
    order = sorted(members)
    left = {stratum: [members[stratum][i] for i in rng.permutation(len(members[stratum]))] for stratum in order}
    for name, total in (("test", wanted[2]), ("validation", wanted[1])):
        sizes = [sum(map(len, left[stratum])) for stratum in order]
        if not total or not sum(sizes):
            continue
        quotas = largest_remainder(total, [size / sum(sizes) for size in sizes])
        for stratum, quota in zip(order, quotas, strict=True):
            rest = []
            for rows in left[stratum]:
                if len(rows) <= quota:
                    quota -= len(rows)
                    for row in rows:
                        names[row] = name
                else:
                    rest.append(rows)
            left[stratum] = rest
    return names


def _key(instruction: str) -> str:
    """Return what makes two instructions the same: their letters, whatever case, blanks and Unicode form."""
    return " ".join(unicodedata.normalize("NFKC", instruction.casefold()).casefold().split())


def _with_labels(frame: pl.DataFrame) -> pl.DataFrame:
    """Fill label and labels of the base set's classification records that state them."""
    labels, sets = frame["label"].to_list(), frame["labels"].to_list()
    for row, (category, instruction, response) in enumerate(frame["category", "instruction", "response"].iter_rows()):
        if category == "classification" and labels[row] is None and (found := closed_label(instruction, response)):
            labels[row], sets[row] = found
    return frame.with_columns(
        pl.Series("label", labels, dtype=schema.DATASET["label"]),
        pl.Series("labels", sets, dtype=schema.DATASET["labels"]),
    )
