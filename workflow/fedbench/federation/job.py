"""What another process needs to run some clients of a run: their tokenised rows and the base model, in one folder."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from flwr.clientapp import ClientApp

from fedbench.federation import strategies
from fedbench.federation.client import Resident, client_app
from fedbench.federation.simulation import client_mods
from fedbench.files import atomic, write_text
from fedbench.models.loading import load
from fedbench.spec import RunSpec, Spec
from fedbench.training.examples import Examples
from fedbench.training.loop import Trainer

SPLITS = ("train", "validation")
SCHEMA: dict[str, pl.DataType] = {
    "client": pl.Int32(),
    "split": pl.String(),
    "inputs": pl.List(pl.Int32),
    "target": pl.List(pl.Int32),
    "taught": pl.List(pl.Float32),
}


class Job(Spec):
    """The part that is not rows.

    Attributes:
        class_weights: of the loss, which follow from all clients' rows together.
        threads: of torch; sums that are split otherwise round otherwise.
    """

    run: RunSpec
    task: Literal["classify", "instruct"]
    labels: list[str]
    snapshot: str
    class_weights: list[float] | None
    threads: int


def write(folder: Path, run: RunSpec, resident: Resident, snapshot: Path, clients: Iterable[int]) -> None:
    """Write the job of `clients` into `folder`: job.json and rows.parquet, of which no row is another client's."""
    classify, weights = run.study == "gsfs", resident.trainer.class_weights
    job = Job(
        run=run,
        task="classify" if classify else "instruct",
        labels=list(resident.trainer.loaded.model.config.id2label.values()) if classify else [],
        snapshot=str(snapshot.resolve()),
        class_weights=None if weights is None else weights.tolist(),
        threads=torch.get_num_threads(),
    )
    rows = [
        row
        for client in clients
        for split, held in (("train", resident.train[client]), ("validation", resident.validation[client]))
        for row in _rows(client, split, held)
    ]
    with atomic(folder / "rows.parquet") as partial:
        pl.DataFrame(rows, schema=SCHEMA, orient="row").write_parquet(partial)
    write_text(folder / "job.json", job.model_dump_json())


@lru_cache(maxsize=1)  # a process serves one job, and loads its base model once
def client(folder: str) -> ClientApp:
    """Return the client side of the job in `folder`, with its base model loaded."""
    job = Job.model_validate_json((Path(folder) / "job.json").read_text(encoding="utf-8"))
    assert job.run.strategy is not None
    torch.set_num_threads(job.threads)
    rows = pl.read_parquet(Path(folder) / "rows.parquet")
    loaded = load(Path(job.snapshot), job.task, job.run.training, job.labels or None, job.run.seed)
    held = {split: [examples(rows, job, client, split) for client in range(job.run.clients)] for split in SPLITS}
    trainer = Trainer(loaded, job.run.training, strategies.frozen(job.run.strategy))
    trainer.distillation = job.run.strategy.distillation
    if job.class_weights is not None:
        trainer.class_weights = torch.tensor(job.class_weights, device=loaded.device)
    resident = Resident(trainer, held["train"], held["validation"], job.run.seed)
    return client_app(resident, client_mods(job.run))


def _rows(client: int, split: str, held: Examples) -> Iterator[dict[str, Any]]:
    for k, (inputs, target) in enumerate(zip(held.inputs, held.targets, strict=True)):
        yield {
            "client": client,
            "split": split,
            "inputs": inputs,
            "target": target if isinstance(target, list) else [target],
            "taught": None if held.taught is None else held.taught[k].tolist(),
        }


def examples(rows: pl.DataFrame, job: Job, client: int, split: str) -> Examples:
    """Return one client's examples in the order in which they were written; none for a client that is not here."""
    own = rows.filter((pl.col("client") == client) & (pl.col("split") == split))
    targets = own["target"].to_list()
    return Examples(
        own["inputs"].to_list(),
        [target[0] for target in targets] if job.task == "classify" else targets,
        taught=np.array(own["taught"].to_list(), dtype=np.float32) if own["taught"].null_count() < len(own) else None,
    )
