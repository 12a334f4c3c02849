"""Label the flows of one's own Zeek logs with a finished GSFS run."""

import tempfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.table import Table

from fedbench.errors import FedbenchError
from fedbench.files import atomic, scratch
from fedbench.flows.clean import clean
from fedbench.flows.render import text
from fedbench.flows.schema import FLOWS, flow_class
from fedbench.flows.zeek import Format
from fedbench.using.finished import Finished

if TYPE_CHECKING:
    from fedbench.training.loop import Trainer

BATCH = 4096  # flows held at once
REMEMBERED = 200_000  # texts whose answer is kept: floods and scans repeat theirs
BINARY = frozenset({"Benign", "Malicious"})
_SHOWN = ("scenario", "file", "line", "uid", "ts", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto")

LABELLED = pa.schema(
    [
        *[FLOWS.field(name) for name in _SHOWN],
        pa.field("predicted", pa.string(), nullable=False),
        pa.field("probability", pa.float32(), nullable=False),  # softmax of the model's outputs, not calibrated
        pa.field("label", pa.string()),  # what the log says, in the run's kind of classes; null where it says nothing
    ]
)


@dataclass
class Summary:
    """What was found.

    Attributes:
        predicted: flows by predicted label.
        labelled, right: by the log's own label, the flows that have it and those of them that were answered so.
        known: the classes of the run.
        ledger: of reading the logs, see `fedbench.flows.clean`.
    """

    known: list[str]
    ledger: dict[str, Any] = field(default_factory=dict)
    predicted: Counter[str] = field(default_factory=Counter)
    labelled: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)

    @property
    def accuracy(self) -> float | None:
        """Share of the labelled flows that were answered with their label; None where no flow has one."""
        return self.right.total() / self.labelled.total() if self.labelled.total() else None

    @property
    def unknown(self) -> int:
        """Flows whose label is none of the run's classes, and so cannot be answered right."""
        return sum(count for label, count in self.labelled.items() if label not in self.known)

    def table(self) -> Table:
        """Return the flows by predicted label and, where the logs have labels, what they say of each class."""
        shown = Table("label", "predicted", title=f"{self.predicted.total():,} flows")
        if self.labelled:
            shown.add_column("in the log")
            shown.add_column("found (recall)")
        for label in sorted(self.predicted | self.labelled, key=lambda one: (-self.predicted[one], one)):
            row = [label, f"{self.predicted[label]:,}"]
            if self.labelled:
                there = self.labelled[label]
                row += [f"{there:,}", f"{self.right[label] / there:.4f}" if there else ""]
            shown.add_row(*row)
        return shown

    def told(self) -> str:
        """Return in a sentence or two how many rows there were and how many labels the model met."""
        rows = self.ledger
        text = (
            f"{rows['rows_kept']:,} of {rows['rows_read']:,} rows are flows, {rows['rows_quarantined']:,} quarantined."
        )
        if self.accuracy is None:
            return f"{text} The logs have no labels to compare with."
        text += f" Accuracy {self.accuracy:.4f} over {self.labelled.total():,} flows that the logs label."
        if self.unknown:
            strange = sorted(set(self.labelled) - set(self.known))
            text += (
                f" {self.unknown:,} of these are of classes that the run does not know ({', '.join(strange)}): wrong."
            )
        return text


def classify(
    finished: Finished,
    logs: Sequence[tuple[str, Path]],
    out: Path | None = None,
    *,
    models: Path | None = None,
    format: Format = "auto",
    max_quarantined: float = 0.01,
    ledger: Path | None = None,
    quarantine: Path | None = None,
    on_flows: Callable[[int, int], None] | None = None,
) -> Summary:
    """Label every readable flow of `logs`, given as (scenario, path), `BATCH` flows at a time.

    Args:
        out: receives a row a flow (schema `LABELLED`), by scenario and time; .parquet or .csv. It appears whole or not
            at all. Working files lie beside it meanwhile, in about 1.5 times the bytes of the logs.
        ledger, quarantine: what happened to every row, and the rows that could not be read.
        on_flows: called with (flows done, flows in all).

    Raises:
        FedbenchError: the run cannot do it, or a log cannot be read.
    """
    finished.require("gsfs")
    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise FedbenchError(f"unknown kind of file {out.suffix!r}", where=out, remedy="Use .parquet or .csv.")
    rendered = text(finished.template())
    answer = _Answers(finished.trainer(models=models), finished.labels())
    binary = BINARY.issuperset(finished.labels())
    place = out.parent if out else Path(tempfile.gettempdir())
    place.mkdir(parents=True, exist_ok=True)
    with scratch(place, ".classify.") as folder, ExitStack() as outputs:
        flows = folder / "flows.parquet"
        account = clean(
            logs,
            flows,
            ledger or folder / "ledger.json",
            quarantine,
            format=format,
            max_quarantined=max_quarantined,
        )
        summary = Summary(finished.labels(), account)
        write = outputs.enter_context(_writer(outputs.enter_context(atomic(out)))) if out else None
        done = 0
        for batch in _batches(flows):
            labels, sure = answer(batch.select(rendered).to_series().to_list())
            truth = batch.select((pl.col("label") if binary else _class()).alias("label")).to_series()
            rows = batch.select(
                *_SHOWN,
                pl.Series("predicted", labels, pl.String),
                pl.Series("probability", sure, pl.Float32),
                truth,
            )
            if write is not None:
                write.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(LABELLED))
            _count(summary, rows)
            done += rows.height
            if on_flows:
                on_flows(done, account["rows_kept"])
    return summary


class _Answers:
    """The label and its probability of texts; those answered lately are not asked again."""

    def __init__(self, trainer: "Trainer", labels: list[str]) -> None:
        self._trainer, self._labels = trainer, labels
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def __call__(self, texts: list[str]) -> tuple[list[str], list[float]]:
        from fedbench.training.examples import flows

        distinct = list(dict.fromkeys(texts))
        found = {one: self._kept[one] for one in distinct if one in self._kept}
        new = [one for one in distinct if one not in found]
        if new:
            examples = flows(self._trainer.loaded.tokenizer, new, [0] * len(new), self._trainer.spec.max_length)
            for one, logits in zip(new, self._trainer.logits(examples), strict=True):
                odds = np.exp(logits - logits.max())
                found[one] = self._labels[int(odds.argmax())], float(odds.max() / odds.sum())
        for one in distinct:
            self._kept[one] = found[one]
            self._kept.move_to_end(one)
        while len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
        return [found[one][0] for one in texts], [found[one][1] for one in texts]


def _batches(flows: Path) -> Iterator[pl.DataFrame]:
    with pq.ParquetFile(flows) as stored:
        for batch in stored.iter_batches(BATCH):
            yield pl.DataFrame(pl.from_arrow(batch))


def _class() -> pl.Expr:
    """The class that a log gives a flow, null where it gives none."""
    return pl.when(pl.coalesce("detailed_label", "label").is_not_null()).then(flow_class())


def _count(summary: Summary, rows: pl.DataFrame) -> None:
    known = rows.filter(pl.col("label").is_not_null())
    summary.predicted.update(rows["predicted"].to_list())
    summary.labelled.update(known["label"].to_list())
    summary.right.update(known.filter(pl.col("label") == pl.col("predicted"))["label"].to_list())


def _writer(path: Path) -> Any:
    if path.suffix == ".csv":
        return pa_csv.CSVWriter(path, LABELLED)
    return pq.ParquetWriter(path, LABELLED, compression="zstd")
