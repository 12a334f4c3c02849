"""Train, validation and test: random, grouped by text, in order of time, or with scenarios held out."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from fedbench.errors import FedbenchError
from fedbench.partition import largest_remainder
from fedbench.spec import SplitSpec

SPLITS: Final = ("train", "validation", "test")
_STREAM, _COPIES_STREAM = 2, 5  # random streams of splitting and of the cut of copies


def cut_copies(text_ids: npt.NDArray[np.int64], max_copies: int, seed: int) -> npt.NDArray[np.bool_]:
    """Mark the rows to keep so that no text has more than `max_copies` rows (0: keep all), chosen at random."""
    keep = np.ones(len(text_ids), dtype=bool)
    if max_copies:
        order = np.random.default_rng([seed, _COPIES_STREAM]).permutation(len(text_ids))
        order = order[np.argsort(text_ids[order], kind="stable")]
        ordered = text_ids[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        rank = np.arange(len(ordered)) - np.repeat(starts, np.diff(np.append(starts, len(ordered))))
        keep[order[rank >= max_copies]] = False
    return keep


def assign_splits(rows: pl.DataFrame, spec: SplitSpec, seed: int) -> pl.Series:
    """Return the split of each row of a frame with the columns `text_id`, `label`, `scenario` and `ts`.

    Sizes are the shares of `spec` by largest remainder: exact for `random`; per scenario for `temporal`; as near as
    whole groups allow for `grouped`, where every label with at least three texts is in all three splits.

    Raises:
        FedbenchError: protocol `scenario` and `test_scenarios` are empty, unknown, or all there is.
    """
    rng = np.random.default_rng([seed, _STREAM])
    shares = (spec.train, spec.validation, spec.test)
    match spec.protocol:
        case "random":
            codes = _dealt(rng.permutation(rows.height), shares)
        case "grouped":
            codes = _grouped(rows["text_id"].to_numpy(), rows["label"].to_list(), shares, rng)
        case "temporal":
            codes = np.empty(rows.height, dtype=np.int8)
            ordered = rows.select("scenario", "ts").with_row_index("row").sort("ts", "row")
            for _, part in ordered.group_by("scenario", maintain_order=True):
                codes[part["row"].to_numpy()] = np.repeat(range(3), largest_remainder(part.height, shares))
        case "scenario":
            codes = _by_scenario(rows["scenario"], spec, rng)
    return pl.Series("split", [SPLITS[code] for code in codes], dtype=pl.String)


def _dealt(order: npt.NDArray[np.int64], shares: Sequence[float]) -> npt.NDArray[np.int8]:
    codes = np.empty(len(order), dtype=np.int8)
    codes[order] = np.repeat(range(3), largest_remainder(len(order), shares))
    return codes


def _by_scenario(scenarios: pl.Series, spec: SplitSpec, rng: np.random.Generator) -> npt.NDArray[np.int8]:
    known = set(scenarios)
    wanted = set(spec.test_scenarios)
    if not wanted or not wanted < known:
        raise FedbenchError(
            f"test_scenarios {sorted(wanted)} must name some, not all, of the scenarios {sorted(known)}",
            where="flows.split.test_scenarios",
            remedy="Name scenarios that the data has, and leave at least one for training.",
        )
    codes = np.full(len(scenarios), 2, dtype=np.int8)
    rest = np.flatnonzero(~scenarios.is_in(list(wanted)).to_numpy())
    codes[rest] = _dealt(rng.permutation(len(rest)), (spec.train, spec.validation, 0.0))
    return codes


def _grouped(
    text_ids: npt.NDArray[np.int64], labels: Sequence[str], shares: Sequence[float], rng: np.random.Generator
) -> npt.NDArray[np.int8]:
    """Deal whole texts, class by class; a text with several labels counts with its most frequent one."""
    frame = pl.DataFrame({"text_id": text_ids, "label": labels})
    counts = frame.group_by("text_id", "label").len().sort(["text_id", "len", "label"], descending=[False, True, False])
    groups = counts.group_by("text_id", maintain_order=True).agg(pl.col("label").first(), pl.col("len").sum())
    classes = groups.group_by("label").agg("text_id", "len", rows=pl.col("len").sum()).sort("rows", "label")
    split_of = np.empty(int(text_ids.max(initial=-1)) + 1, dtype=np.int8)
    # Smallest class first: what rounding and large groups cost one class, later and larger classes make good.
    owed = np.zeros(3)
    for row in classes.iter_rows(named=True):
        ids, sizes = np.array(row["text_id"]), np.array(row["len"])
        order = rng.permutation(len(ids))
        order = order[np.argsort(-sizes[order], kind="stable")]
        exact = np.asarray(shares) * row["rows"] + owed
        targets = np.array(largest_remainder(row["rows"], np.maximum(exact, 0).tolist()))
        codes = _deal_groups(sizes[order], targets, rng.random(len(ids)))
        split_of[ids[order]] = codes
        owed = exact - np.bincount(codes, weights=sizes[order], minlength=3)
    return split_of[text_ids]


def _deal_groups(
    sizes: npt.NDArray[np.int64], targets: npt.NDArray[np.int64], draws: npt.NDArray[np.float64]
) -> npt.NDArray[np.int8]:
    """Deal groups (largest first) to splits with room for them, at random in proportion to the room left."""
    codes = np.empty(len(sizes), dtype=np.int8)
    room = [int(target) for target in targets]
    empty = {0, 1, 2}
    for at, (size, draw) in enumerate(zip(sizes.tolist(), draws.tolist(), strict=True)):
        if len(sizes) >= 3 and len(sizes) - at <= len(empty):
            choice = max(empty, key=lambda code: room[code])  # the last groups go where the class has none yet
        else:
            fitting = [left if left >= size else 0 for left in room]
            total = sum(fitting)
            if total:
                point, choice = draw * total, 0
                while point >= fitting[choice]:
                    point -= fitting[choice]
                    choice += 1
            else:
                choice = max(range(3), key=lambda code: room[code])
        codes[at] = choice
        room[choice] -= size
        empty.discard(choice)
    return codes
