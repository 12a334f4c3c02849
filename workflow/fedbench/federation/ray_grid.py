"""The same federated run on Flower's Ray simulation: actors on the GPUs or cores of one host or of a Ray cluster."""

import importlib.util
import logging
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedbench.errors import FedbenchError
from fedbench.federation import job
from fedbench.federation.client import Resident
from fedbench.federation.remote import RemoteGrid, node_app
from fedbench.federation.simulation import Evaluate, Outcome, simulate
from fedbench.spec import RunSpec
from fedbench.training.checkpoint import Checkpoint
from fedbench.training.correction import Arrays

POLL = 0.05


def simulate_on_ray(
    run: RunSpec,
    resident: Resident,
    snapshot: Path,
    folder: Path,
    initial: Arrays,
    evaluate: Evaluate,
    checkpoint: Checkpoint,
    on_round: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Run as `simulate` does, each client in one of Ray's actors, which load the base model once each.

    Clients' state travels with their messages and rests in this process, so a checkpoint a round is kept as in process
    and a run may change its grid when it goes on. RAY_ADDRESS joins a cluster of several machines (a profile's resource
    `ray_address` sets it); `folder`, the snapshot and the package must then be on a disk that all of them see.

    Args:
        resident: serves the server's validation here, and tells the actors what each client holds.
        folder: a folder to make, for what the actors read; removed at the end.

    Raises:
        FedbenchError: Ray is not installed, no cluster answers at RAY_ADDRESS, or a client failed.
    """
    if importlib.util.find_spec("ray") is None:
        raise FedbenchError(
            "federation.grid is 'ray', and Ray is not installed",
            remedy="Run `.venv/bin/python -m pip install -r envs/ray.txt`, or set grid: in-process.",
        )
    assert run.federation is not None
    server, ended, outcomes = ServerApp(), [""], []

    @server.main()  # type: ignore[untyped-decorator]
    def main(grid: Grid, context: Context) -> None:
        nodes = _registered(grid, run.clients, lambda: ended[0])
        held = {node: [client] for client, node in enumerate(nodes)}
        remote = RemoteGrid(grid, held, carries_state=True, poll=POLL, stopped=lambda: ended[0])
        outcomes.append(simulate(run, resident, initial, evaluate, checkpoint, on_round, grid=remote))

    job.write(folder, run, resident, snapshot, range(run.clients))
    try:
        with _quiet():
            from flwr.simulation import run_simulation

            run_simulation(
                server_app=server,
                client_app=node_app(partial(_client, str(folder.resolve()))),
                num_supernodes=run.clients,
                backend_config=resources(run.federation.clients_per_round),
            )
    finally:
        ended[0] = "Ray ended before the run did"  # a server thread that still waits for replies gives up
        shutil.rmtree(folder, ignore_errors=True)
    return outcomes[0]


def resources(clients_per_round: int) -> dict[str, Any]:
    """Return Flower's back-end configuration: an actor a GPU, or as many as the cores hold at our threads each.

    Raises:
        FedbenchError: no cluster answers at RAY_ADDRESS, or none of its machines has cores enough for one actor.
    """
    threads = torch.get_num_threads()
    started: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    if address := os.environ.get("RAY_ADDRESS"):  # has its own resources, whatever this machine has
        machines = _machines(address, started)
        if not any(machine.get("CPU", 0) >= threads for machine in machines):
            raise FedbenchError(
                f"no machine of the Ray cluster has {threads} cores for a client",
                where=address,
                remedy="Start its nodes with a larger --num-cpus, or set OMP_NUM_THREADS lower.",
            )
        gpus = round(sum(machine.get("GPU", 0) for machine in machines))
    else:
        gpus = torch.cuda.device_count()
        actors = min(clients_per_round, gpus or max(1, len(os.sched_getaffinity(0)) // threads))
        # "local": a Ray that happens to run on this machine is someone else's.
        started |= {"address": "local", "num_cpus": actors * threads, "num_gpus": gpus}
    return {"init_args": started, "client_resources": {"num_cpus": threads, "num_gpus": 1.0 if gpus else 0.0}}


def _machines(address: str, options: dict[str, Any]) -> list[dict[str, float]]:
    """Return what each machine of a Ray cluster has, e.g. {"CPU": 8, "GPU": 2}."""
    import ray

    host, _, port = address.rpartition(":")
    try:
        # Ray itself waits for minutes where nobody answers, and then ends the process.
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise FedbenchError(
            f"no Ray cluster answers ({error})",
            where=f"ray_address {address}",
            remedy="Give host:port as `ray start --head` prints it, or leave ray_address out.",
        ) from error
    ray.init(address=address, **options)
    try:
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()


def _client(folder: str, context: Context) -> ClientApp:
    return job.client(folder)


def _registered(grid: Grid, count: int, stopped: Callable[[], str]) -> list[int]:
    """Return the node ids in order, once all are there: Flower starts the server before it has registered them."""
    while len(nodes := sorted(grid.get_node_ids())) < count:
        if reason := stopped():
            raise FedbenchError(reason)
        time.sleep(POLL)
    return nodes


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray from calling home, and put back the one variable that Flower's back end edits."""
    path = os.environ.get("PYTHONPATH")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's next default; ends a warning
    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH", None)
        if path is not None:
            os.environ["PYTHONPATH"] = path
