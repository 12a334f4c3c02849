"""The curated sample: a seeded, stratified choice of labelled flows with a floor for rare classes (GSFS, Table I)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from fedbench.errors import FedbenchError
from fedbench.files import atomic, write_json
from fedbench.flows.blocks import Integers
from fedbench.flows.ledger import account, class_counts, step
from fedbench.flows.schema import FLOWS, UNLABELLED, flow_class
from fedbench.partition import largest_remainder
from fedbench.spec import FlowsSpec

_STREAM = 1  # the random stream of sampling
_PIECE = 1 << 20  # flows looked at together: bounds memory


def quotas(counts: Mapping[str, int], size: int, floor: int) -> dict[str, int]:
    """Return how many rows to take of each class: in proportion, but at least `floor` where the class has them.

    The quotas sum to `size`, or to all rows where there are fewer. If the floors alone exceed `size`, they are
    scaled down.
    """
    if sum(counts.values()) <= size:
        return dict(counts)
    floors = {name: min(floor, count) for name, count in counts.items()}
    if sum(floors.values()) >= size:
        return dict(zip(floors, largest_remainder(size, list(floors.values())), strict=True))
    raised: dict[str, int] = {}
    while True:  # classes below their floor are raised to it, and the rest is dealt anew to the others
        others = [name for name in counts if name not in raised]
        dealt = largest_remainder(size - sum(raised.values()), [counts[name] for name in others])
        quota = dict(zip(others, dealt, strict=True))
        low = {name: floors[name] for name in others if quota[name] < floors[name]}
        if not low:
            return {name: (raised | quota)[name] for name in counts}
        raised |= low


def sample(flows: Path, spec: FlowsSpec, seed: int, out: Path, ledger: Path) -> None:
    """Write `spec.sample` labelled flows to `out` (schema `FLOWS`, by row_id) and the account of it to `ledger`.

    Of all flows, class and duration are read, and two bytes each are held in memory; then the chosen flows are read.

    Raises:
        FedbenchError: no labelled flow is left.
    """
    classes, steps = _eligible(flows, spec)
    counts = steps[-1]["labels_after"]
    quota = quotas(counts, spec.sample, spec.sample_floor)
    rng = np.random.default_rng([seed, _STREAM])
    drawn = {name: rng.choice(counts[name], quota[name], replace=False, shuffle=False) for name in sorted(quota)}
    chosen = pl.Series(_places(classes, {name: np.sort(members) for name, members in drawn.items()}))
    found = pl.scan_parquet(flows).filter(pl.col("row_id").is_in(chosen.implode())).sort("row_id")
    kept = found.select(FLOWS.names).collect(engine="streaming")
    if kept.height < len(chosen):
        raise FedbenchError("row_id does not count the rows from 0", where=flows, remedy="Make the file again.")
    reason = f"stratified by class, at least {spec.sample_floor} of each where it has them, {spec.sample} in all"
    steps.append(step("sample", counts, class_counts(kept.select(c=flow_class())["c"]), reason))
    with atomic(out) as partial, atomic(ledger) as partial_ledger:
        pq.write_table(kept.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(FLOWS), partial, compression="zstd")
        write_json(partial_ledger, account(steps))


def _eligible(flows: Path, spec: FlowsSpec) -> tuple[pl.Series, list[dict[str, Any]]]:
    """Return the class of each flow, null where it may not be chosen, and the steps that say why it may not."""
    kind = pl.Categorical(pl.Categories.random(physical=pl.UInt16))
    rows = (
        pl.scan_parquet(flows)
        .select(flow_class().cast(kind).alias("class"), pl.col("duration").is_null().alias("unset"))
        .collect(engine="streaming")
    )
    tally = rows.group_by("class").agg(rows=pl.len(), unset=pl.col("unset").sum()).cast({"class": pl.String})
    labelled = tally.filter(pl.col("class") != UNLABELLED)
    found, counts = _largest_first(tally), _largest_first(labelled)
    steps = [step("labelled", found, counts, "a flow without a label can be neither learnt from nor scored")]
    allowed = pl.col("class") != UNLABELLED
    if spec.missing == "drop":
        left = _largest_first(labelled.with_columns(rows=pl.col("rows") - pl.col("unset")))
        steps.append(step("missing", counts, left, "missing: drop takes flows whose duration is unset"))
        allowed &= ~pl.col("unset")
    if not steps[-1]["rows_after"]:
        raise FedbenchError(
            "no labelled flow is left to sample from",
            where=flows,
            remedy="Give logs with labels; with missing: drop, flows that have a duration.",
        )
    return rows.select(pl.when(allowed).then("class")).to_series(), steps


def _places(classes: pl.Series, wanted: Mapping[str, Integers]) -> Integers:
    """Return the places of flows wanted, ascending; they are given, for each class, as ascending numbers within it."""
    places: list[Integers] = []
    seen = dict.fromkeys(wanted, 0)
    for start in range(0, len(classes), _PIECE):
        piece = classes.slice(start, _PIECE).to_frame("class")
        for name, numbers in wanted.items():
            members = piece.select((pl.col("class") == name).arg_true()).to_series().to_numpy()
            first, end = np.searchsorted(numbers, [seen[name], seen[name] + len(members)])
            places.append(start + members[numbers[first:end] - seen[name]].astype(np.int64))
            seen[name] += len(members)
    return np.sort(np.concatenate(places))


def _largest_first(tally: pl.DataFrame) -> dict[str, int]:
    ordered = tally.filter(pl.col("rows") > 0).sort(["rows", "class"], descending=[True, False])
    return dict(ordered.select("class", "rows").iter_rows())
