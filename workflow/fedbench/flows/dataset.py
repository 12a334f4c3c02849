"""From the curated sample to the data set: class, text and split of every flow, and how far memory alone would go."""

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fedbench.errors import FedbenchError
from fedbench.files import atomic, write_json
from fedbench.flows.ledger import account, class_counts, step
from fedbench.flows.render import text
from fedbench.flows.schema import flow_class
from fedbench.flows.split import assign_splits, cut_copies
from fedbench.spec import FlowsSpec

_COUNTS = ("orig_bytes", "resp_bytes", "missed_bytes", "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes")
DATASET = pa.schema(
    [
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("scenario", pa.string(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),  # terse: template `edge`
        pa.field("cloud_text", pa.string(), nullable=False),  # verbose: template `cloud`, the same fields
        pa.field("text_id", pa.int64(), nullable=False),  # equal text <-> equal id
        pa.field("label", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("proto", pa.string()),
        pa.field("service", pa.string()),
        pa.field("conn_state", pa.string()),
        pa.field("history", pa.string()),
        pa.field("resp_port", pa.int64()),
        pa.field("orig_port", pa.int64()),
        pa.field("duration", pa.float64()),
        *[pa.field(name, pa.int64()) for name in _COUNTS],
    ]
)
_PRIVATE = r"^(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.)"


def device() -> pl.Expr:
    """The sensor of a flow: `scenario/address` of its private end (originator first), else the scenario itself.

    Captures reuse private addresses for different devices, so the scenario belongs to the name.
    """
    private = [pl.when(pl.col(name).str.contains(_PRIVATE)).then(pl.col(name)) for name in ("id.orig_h", "id.resp_h")]
    return pl.concat_str("scenario", pl.coalesce(*private), separator="/").fill_null(pl.col("scenario"))


def rendered(sample: Path, spec: FlowsSpec) -> pl.DataFrame:
    """Return the sampled flows by row_id with `device`, `label`, the texts, `text_id` and the columns of a baseline.

    Both templates show the same fields, so flows that share a text in one share it in the other.
    """
    label = pl.col("label") if spec.label == "binary" else flow_class()
    rows = (
        pl.read_parquet(sample)
        .sort("row_id")
        .with_columns(
            device=device(),
            label=label,
            text=text("edge"),
            cloud_text=text("cloud"),
            resp_port="id.resp_p",
            orig_port="id.orig_p",
        )
    )
    if not rows.height:
        raise FedbenchError("no flow in the sample", where=sample)
    # Numbered by first appearance, so that ids do not depend on the engine's order of groups.
    texts = rows.select("text").unique(maintain_order=True).with_row_index("text_id")
    return rows.join(texts, on="text", how="left", maintain_order="left").with_columns(pl.col("text_id").cast(pl.Int64))


def build(sample: Path, spec: FlowsSpec, seed: int, dataset: Path, ledger: Path) -> None:
    """Write the data set (schema `DATASET`, by row_id) and the account of splitting.

    Before a grouped split a text is cut to `max_copies` rows; text ids are numbered anew afterwards only in that all
    of them still occur.

    Raises:
        FedbenchError: the sample is empty, or the split cannot be made.
    """
    rows = rendered(sample, spec)
    before = class_counts(rows["label"])
    steps = [step("label", before, before, f"label: {spec.label}")]
    if spec.split.protocol == "grouped":
        keep = cut_copies(rows["text_id"].to_numpy(), spec.split.max_copies, seed)
        rows = rows.filter(pl.Series(keep))
        after = class_counts(rows["label"])
        steps.append(step("copies", before, after, f"at most {spec.split.max_copies} rows of one text (0: all)"))
    rows = rows.with_columns(assign_splits(rows, spec.split, seed))
    splits = {str(name): class_counts(part["label"]) for (name,), part in rows.group_by("split", maintain_order=True)}
    texts = {str(name): part["text_id"].n_unique() for (name,), part in rows.group_by("split", maintain_order=True)}
    table = rows.select(DATASET.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(DATASET)
    with atomic(dataset) as partial, atomic(ledger) as partial_ledger:
        pq.write_table(table, partial, compression="zstd")
        write_json(partial_ledger, account(steps, splits=splits, texts=texts))
