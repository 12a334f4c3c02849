"""What classifying and instruction runs share: rows a client, one long training with checkpoints, the usage figures."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import torch

from fedbench.errors import FedbenchError
from fedbench.federation.history import finite
from fedbench.federation.simulation import Outcome
from fedbench.models.loading import Loaded
from fedbench.procedures.result import Inputs
from fedbench.spec import RunSpec
from fedbench.training.batches import steps_per_epoch
from fedbench.training.checkpoint import Checkpoint
from fedbench.training.correction import Arrays
from fedbench.training.examples import Examples
from fedbench.training.loop import Trainer

# Distinct streams of randomness under one seed: the batch order of clients is (seed, client), this one is central.
CENTRAL = 1_000_003


@dataclass
class Alone:
    """What a training without federation leaves: history rows and totals.

    Attributes:
        best_epoch, best_loss: the epoch of the lowest validation loss so far (early stopping only).
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    tokens: int = 0
    padding: int = 0
    best_epoch: int = 0
    best_loss: float | None = None


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
    """Train E epochs on one set of rows, a checkpoint an epoch, going on from the checkpoint if there is one.

    With `patience`, training stops after so many epochs without a lower validation loss; the parameters of the best
    epoch are put back at the end, and a history row of phase "early-stop" names it.

    Raises:
        FedbenchError: early stopping has no validation rows to go by.
    """
    patience = run.training.patience
    per_epoch = steps_per_epoch(len(train), run.training.batch_size)
    done, alone, best = 0, Alone(), Arrays()
    stored = checkpoint.load()
    if stored:
        facts, arrays = stored
        trainer.load(_under("adapter/", arrays))
        trainer.load_optimizer(_under("optim/", arrays))
        best = _under("best/", arrays)
        done, alone = int(facts["epoch"]), Alone(**facts["alone"])
    else:
        alone.history.append(_validation(trainer, validation, 0, client))
    who = CENTRAL if client < 0 else client
    for epoch in range(done, run.training.epochs):
        if patience and epoch - alone.best_epoch >= patience:
            break
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
        done, now = epoch + 1, trainer.arrays()
        if patience and _improves(alone, done):
            best = now
        arrays = {f"adapter/{k}": v for k, v in now.items()}
        arrays |= {f"optim/{k}": v for k, v in trainer.optimizer_arrays().items()}
        checkpoint.save({"epoch": done, "alone": alone.__dict__}, arrays | {f"best/{k}": v for k, v in best.items()})
    if best:
        trainer.load(best)
        told = {"best_epoch": alone.best_epoch, "epochs": done, "stopped": done < run.training.epochs}
        alone.history.append(
            {
                "step": alone.best_epoch * per_epoch,
                "round": 0,
                "client": client,
                "phase": "early-stop",
                "loss": alone.best_loss,
                "metrics": json.dumps(told),
            }
        )
    return alone


def _improves(alone: Alone, epoch: int) -> bool:
    """Note whether the validation loss of `epoch`, the last row of the history, is the lowest so far."""
    loss = alone.history[-1]["loss"]
    if loss is None:
        raise FedbenchError(
            "early stopping has no validation rows to go by",
            remedy="Set training.patience to 0, or give the split a validation share.",
        )
    if alone.best_loss is not None and loss >= alone.best_loss:
        return False
    alone.best_epoch, alone.best_loss = epoch, loss
    return True


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


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
        "bytes_cloud": outcome.bytes_cloud,
        "rounds": outcome.rounds,
        "versions": len(outcome.clock.versions),
        "replies": {"lost": outcome.lost, "failed": outcome.failed},
        "privacy": outcome.privacy,
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
        **peak_vram(loaded.device),
    }


def peak_vram(place: torch.device) -> dict[str, int | None]:
    """Return the most bytes that tensors took on a CUDA device so far, and that torch's allocator held; else None."""
    if place.type != "cuda":
        return {"peak_vram_bytes": None, "peak_vram_reserved_bytes": None}
    return {
        "peak_vram_bytes": torch.cuda.max_memory_allocated(place),
        "peak_vram_reserved_bytes": torch.cuda.max_memory_reserved(place),
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
