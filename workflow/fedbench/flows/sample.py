"""The curated sample: a seeded, stratified choice of labelled flows with a floor for rare classes (GSFS, Table I)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from fedbench.errors import FedbenchError
from fedbench.files import atomic, write_json
from fedbench.flows.ledger import account, class_counts, step
from fedbench.flows.schema import FLOWS, UNLABELLED, flow_class
from fedbench.partition import largest_remainder
from fedbench.spec import FlowsSpec

_STREAM = 1  # the random stream of sampling


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

    Only row_id, class and duration of all flows are held in memory.

    Raises:
        FedbenchError: no labelled flow is left.
    """
    table = pl.scan_parquet(flows)
    rows = table.select(
        "row_id", pl.col("duration").is_null().alias("unset"), flow_class().cast(pl.Categorical).alias("class")
    ).collect(engine="streaming")
    counts = [_counts(rows)]
    rows = rows.filter(pl.col("class") != UNLABELLED)
    counts.append(_counts(rows))
    steps = [step("labelled", counts[0], counts[1], "a flow without a label can be neither learnt from nor scored")]
    if spec.missing == "drop":
        rows = rows.filter(~pl.col("unset"))
        counts.append(_counts(rows))
        steps.append(step("missing", counts[-2], counts[-1], "missing: drop takes flows whose duration is unset"))
    if not rows.height:
        raise FedbenchError(
            "no labelled flow is left to sample from",
            where=flows,
            remedy="Give logs with labels; with missing: drop, flows that have a duration.",
        )
    quota = quotas(counts[-1], spec.sample, spec.sample_floor)
    rng = np.random.default_rng([seed, _STREAM])
    chosen = [np.empty(0, dtype=np.int64)]
    for name in sorted(quota):
        members = rows.filter(pl.col("class") == name)["row_id"].to_numpy()
        chosen.append(rng.choice(members, quota[name], replace=False, shuffle=False))
    ids = pl.Series("row_id", np.sort(np.concatenate(chosen)))
    kept = table.filter(pl.col("row_id").is_in(ids.implode())).sort("row_id").collect(engine="streaming")
    counts.append(class_counts(kept.select(c=flow_class())["c"]))
    reason = f"stratified by class, at least {spec.sample_floor} of each where it has them, {spec.sample} in all"
    steps.append(step("sample", counts[-2], counts[-1], reason))
    with atomic(out) as partial, atomic(ledger) as partial_ledger:
        table_out = kept.select(FLOWS.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(FLOWS)
        pq.write_table(table_out, partial, compression="zstd")
        write_json(partial_ledger, account(steps))


def _counts(rows: pl.DataFrame) -> dict[str, int]:
    return class_counts(rows["class"].cast(pl.String))
