"""Work that tests kill at random moments, each a function of a folder; imported once, by the server that forks it."""

from pathlib import Path
from typing import Any

import fake_results as fake
import tiny

from fedbench import running
from fedbench.federation import simulation
from fedbench.flows.clean import clean
from fedbench.procedures import classify  # noqa: F401 (so that every child has it, and torch, loaded)
from fedbench.reporting import build
from fedbench.spec import FederationSpec, TrainingSpec

ROUNDS, EPOCHS = 4, 4
TRAINING = TrainingSpec(learning_rate=5e-3, epochs=1, batch_size=8, max_length=64)


def nothing(folder: Path) -> None:
    """Do nothing."""


def ingest(folder: Path) -> None:
    """Read a log into typed flows."""
    clean(
        [("a", folder / "conn.log.labeled")],
        folder / "out" / "flows.parquet",
        folder / "out" / "ledger.json",
        folder / "out" / "quarantine.parquet",
    )


def federate(folder: Path) -> None:
    """Execute a federated run; every round that begins is a line of `rounds`."""
    original = simulation._round

    def counted(number: int, *rest: Any) -> Any:
        with (folder / "rounds").open("a") as stream:
            stream.write(f"{number}\n")
        return original(number, *rest)

    simulation._round = counted
    federation = FederationSpec(rounds=ROUNDS, clients_per_round=2, client_tier="local")
    _execute(folder, tiny.run("gsfs", options={"local_steps": 2}, federation=federation, training=TRAINING))


def train(folder: Path) -> None:
    """Execute a centralised run."""
    alone = {"strategy": None, "federation": None, "client_tier": None, "tiers": {}, "procedure": "centralised"}
    _execute(folder, tiny.run(training=TRAINING.model_copy(update={"epochs": EPOCHS})).model_copy(update=alone))


def report(folder: Path) -> None:
    """Write every table of a results folder."""
    build.tables(fake.experiment(), folder / "results", fake.PUBLISHED)


def _execute(folder: Path, run: Any) -> None:
    running.execute(
        run,
        folder / "dataset.parquet",
        folder / "clients.parquet",
        folder / "tiny-bert",
        folder / "out",
        folder / "checkpoints",
    )
