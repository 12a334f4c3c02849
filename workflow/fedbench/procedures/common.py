"""What classifying and instruction runs share: rows a client, one long training with checkpoints, the usage figures."""

import time
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from fedbench.errors import FedbenchError
from fedbench.federation.client import finite
from fedbench.federation.simulation import Outcome
from fedbench.models.loading import Loaded
from fedbench.procedures.result import Inputs
from fedbench.spec import RunSpec
from fedbench.training.batches import steps_per_epoch
from fedbench.training.checkpoint import Checkpoint
from fedbench.training.examples import Examples
from fedbench.training.loop import Trainer

# Distinct streams of randomness under one seed: the batch order of clients is (seed, client), this one is central.
CENTRAL = 1_000_003


@dataclass
class Alone:
    """What a training without federation leaves: history rows and totals."""

    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0
    padding: int = 0


def held_by(inputs: Inputs, clients: int, split: str) -> list[list[int]]:
    """Return, for each client, the positions in the data set of the rows it holds in one split.

    Raises:
        FedbenchError: a client holds no training row.
    """
    position = {row: k for k, row in enumerate(inputs.dataset["row_id"].to_list())}
    held: list[list[int]] = [[] for _ in range(clients)]
    chosen = inputs.clients.filter(pl.col("split") == split).sort("row_id")
    for row, client in chosen.select("row_id", "client").iter_rows():
        held[client].append(position[row])
    empty = [client for client, rows in enumerate(held) if not rows]
    if empty and split == "train":
        raise FedbenchError(
            f"clients {empty} hold no training row",
            where="clients.parquet",
            remedy="Raise clients.minimum, or lower clients.count.",
        )
    return held


def train_alone(
    run: RunSpec,
    trainer: Trainer,
    train: Examples,
    validation: Examples,
    checkpoint: Checkpoint,
    inputs: Inputs,
    *,
    client: int = -1,
) -> Alone:
    """Train E epochs on one set of rows, a checkpoint an epoch, going on from the checkpoint if there is one."""
    per_epoch = steps_per_epoch(len(train), run.training.batch_size)
    done, alone = 0, Alone()
    stored = checkpoint.load()
    if stored:
        facts, arrays = stored
        trainer.load({k.removeprefix("adapter/"): v for k, v in arrays.items() if k.startswith("adapter/")})
        trainer.load_optimizer({k.removeprefix("optim/"): v for k, v in arrays.items() if k.startswith("optim/")})
        done, alone = int(facts["epoch"]), Alone(**facts["alone"])
    else:
        alone.history.append(_validation(trainer, validation, 0, client))
    who = CENTRAL if client < 0 else client
    for epoch in range(done, run.training.epochs):
        inputs.bar.stage(f"epoch {epoch + 1}/{run.training.epochs}", per_epoch)
        progress = trainer.train(
            train,
            per_epoch,
            (run.seed, who),
            start=epoch * per_epoch,
            on_step=lambda _, loss: inputs.bar.advance(f"loss {loss:.3f}"),
        )
        alone.history += [
            {"step": epoch * per_epoch + k + 1, "round": 0, "client": client, "phase": "train", "loss": loss}
            for k, loss in enumerate(progress.losses)
        ]
        alone.history.append(_validation(trainer, validation, (epoch + 1) * per_epoch, client))
        alone.seconds += progress.seconds
        alone.tokens += progress.tokens
        alone.padding += progress.padding
        arrays = {f"adapter/{k}": v for k, v in trainer.arrays().items()}
        arrays |= {f"optim/{k}": v for k, v in trainer.optimizer_arrays().items()}
        checkpoint.save({"epoch": epoch + 1, "alone": alone.__dict__}, arrays)
    return alone


def _validation(trainer: Trainer, validation: Examples, step: int, client: int) -> dict[str, Any]:
    loss, accuracy = trainer.evaluate(validation)
    return {
        "step": step,
        "round": 0,
        "client": client,
        "phase": "validation",
        "loss": finite(loss),
        "accuracy": finite(accuracy),
    }


def federated_usage(outcome: Outcome) -> dict[str, Any]:
    """Return the usage entries that only federated runs have."""
    return {
        "bytes_up": outcome.bytes_up,
        "bytes_down": outcome.bytes_down,
        "rounds": outcome.rounds,
        "versions": len(outcome.clock.versions),
        "virtual": {
            "central_seconds": outcome.clock.central_seconds,
            "client_seconds": outcome.clock.mean_wait,
            "modelled": True,
        },
    }


def usage(loaded: Loaded, trainer: Trainer, tokens: int, padding: int, truncated: int) -> dict[str, Any]:
    """Return the usage entries that every model run has."""
    return {
        "trainable_parameters": sum(p.numel() for p in trainer.parameters.values()),
        "total_parameters": int(loaded.model.num_parameters()),
        "tokens": tokens,
        "padding_share": padding / (tokens + padding) if tokens + padding else None,
        "truncated_texts": truncated,
    }


class Stopwatch:
    """Seconds since it was made or last read."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap and start a new one."""
        now = time.perf_counter()
        elapsed, self._begun = now - self._begun, now
        return elapsed
