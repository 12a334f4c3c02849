"""A federation without a model: clients whose updates are written down, on the in-process grid."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedbench.federation import simulation
from fedbench.federation.arrays import Arrays, to_numpy, to_record
from fedbench.federation.grid import InProcessGrid
from fedbench.federation.simulation import Outcome, client_mods, simulate
from fedbench.spec import RunSpec
from fedbench.training.checkpoint import Checkpoint

Update = Callable[[int, int], Arrays]  # (client, round) -> what training adds


class OneStep:
    """Stands where the resident model would: all that the server asks it for is the length of a local round."""

    def local_steps(self, client: int) -> int:
        return 1


def client_app(update: Update, mods: list[Callable[..., Any]]) -> ClientApp:
    """Return clients that add `update` to what they receive; client i holds i + 1 rows and takes 10 ms."""
    app = ClientApp(mods=mods)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        client = int(context.node_config["partition-id"])
        change = update(client, int(message.content["config"]["server-round"]))
        received = to_numpy(message.content["arrays"])
        trained = {name: value + change[name] for name, value in received.items() if name in change}
        context.state["local"] = to_record(trained)
        metrics = {"num-examples": client + 1, "loss": 1.0, "seconds": 0.01, "tokens": 1, "padding": 0}
        norms = {f"norm/{name}": float(np.linalg.norm(value)) for name, value in change.items()}
        content = {"arrays": to_record(trained), "metrics": MetricRecord({**metrics, **norms})}
        return Message(RecordDict(content), reply_to=message)

    return app


def federate(
    run: RunSpec, update: Update, initial: Arrays, folder: Path, more: list[Callable[..., Any]] | None = None
) -> tuple[Outcome, InProcessGrid]:
    """Run the real server side over scripted clients; returns what it leaves, and the grid with every exchange."""
    grid = InProcessGrid(client_app(update, [*(more or []), *client_mods(run)]), run.clients)
    checkpoint = Checkpoint(folder / "run.safetensors", run.folder)
    outcome = simulate(run, OneStep(), initial, lambda arrays: (0.0, 0.0), checkpoint, grid=grid)
    return outcome, grid


def killed_at(number: int, run: RunSpec, update: Update, initial: Arrays, folder: Path) -> None:
    """Run until just before round `number`, as if the process had been killed there; leaves its checkpoint."""
    original = simulation._round

    def killed(current: int, *rest: Any) -> Arrays:
        if current == number:
            raise KeyboardInterrupt
        return original(current, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulation, "_round", killed)
        with pytest.raises(KeyboardInterrupt):
            federate(run, update, initial, folder)


def normal(*shapes: tuple[int, ...], seed: int = 0) -> Arrays:
    """Return seeded float32 arrays `p0`, `p1`, ... of the given shapes."""
    rng = np.random.default_rng(seed)
    return {f"p{k}": rng.standard_normal(shape).astype(np.float32) for k, shape in enumerate(shapes)}


def drawn(*shapes: tuple[int, ...], scale: float = 1.0) -> Update:
    """Return an update that is seeded by client and round."""

    def update(client: int, number: int) -> Arrays:
        return {name: scale * value for name, value in normal(*shapes, seed=100 * number + client).items()}

    return update
