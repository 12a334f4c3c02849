"""Execute one federated run on a real SuperLink and SuperNodes on loopback, and leave the files of any run."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fedbench.errors import FedbenchError
from fedbench.federation.deployment.superlink import Deployment
from fedbench.files import read_json, write_json
from fedbench.serving import Order, placement
from fedbench.spec import Experiment, RunSpec

WATCH = 0.5  # seconds between two looks at the run
ASK = 120  # looks after which Flower is asked for the run's status, which starts a process


def deploy(
    run: RunSpec,
    dataset: Path,
    clients: Path,
    snapshot: Path,
    out: Path,
    *,
    nodes: int = 2,
    timeout: float = 86_400,
    keep: bool = False,
    on_round: Callable[[int, int], None] | None = None,
) -> None:
    """Start a deployment, execute `run` on it and stop it; `out` receives the run's files, deployment.json and logs/.

    Args:
        timeout: seconds after which the run is given up.
        keep: leave the private folder, with its keys, where it is.
        on_round: called with (round, rounds) after each.

    Raises:
        FedbenchError: something did not start, the run failed, or it took too long; nothing is left running.
    """
    if run.procedure != "federated":
        raise FedbenchError(f"{run.label} is {run.procedure}: only federated runs can be deployed")
    if run.teacher is not None:
        raise FedbenchError(f"{run.label} learns from a teacher, which a deployment does not hand on")
    placed = placement(run.clients, nodes)
    for path in (dataset, clients, snapshot):
        if not path.exists():
            raise FedbenchError("no such file or folder", where=path, remedy="Make data and models first (README).")
    (out / "manifest.json").unlink(missing_ok=True)  # of an earlier run: it must not speak for this one
    begun = time.monotonic()
    settings = _threads(nodes)
    with Deployment(nodes, out / "logs", settings, keep=keep) as deployment:
        started = time.monotonic()
        order = Order(
            run=run,
            dataset=str(dataset.resolve()),
            clients=str(clients.resolve()),
            snapshot=str(snapshot.resolve()),
            out=str(out.resolve()),
            checkpoints=str(deployment.folder / "checkpoints"),
            progress=str(deployment.folder / "progress.json"),
            nodes={node.id: str(node.folder / "job") for node in deployment.nodes},
        )
        write_json(deployment.folder / "order.json", order.model_dump(mode="json"))
        submitted = deployment.submit(deployment.folder / "order.json")
        _watch(deployment, submitted, order, begun + timeout, on_round)
        ended = time.monotonic()
    manifest = read_json(out / "manifest.json")
    write_json(
        out / "deployment.json",
        {
            "nodes": placed,
            "tls": True,
            "supernode_authentication": True,
            "threads": int(settings["OMP_NUM_THREADS"]),
            "seconds": {"start": started - begun, "run": ended - started, "stop": time.monotonic() - ended},
        },
    )
    if manifest["status"] != "ok":
        raise FedbenchError(f"{run.label} failed: {manifest['message']}", where=out)


def located(experiment: Experiment, run: RunSpec) -> tuple[Path, Path, Path]:
    """Return where the workflow leaves the data set, the clients and the snapshot of a federated run."""
    results = Path(experiment.results)
    data = results / experiment.experiment / "data" / {"gsfs": "iot23", "edge-fit": "dolly"}[run.study]
    assert run.model is not None
    snapshot = results / "models" / f"{run.model.name}-{run.model.weights.digest()}"
    return data / "dataset.parquet", data / f"clients-{run.partition}.parquet", snapshot


def _watch(
    deployment: Deployment,
    submitted: str,
    order: Order,
    deadline: float,
    on_round: Callable[[int, int], None] | None,
) -> None:
    """Return once the run has left its manifest, the last of its files."""
    manifest, log = Path(order.out) / "manifest.json", Path(order.out) / "logs" / "serverapp.log"
    looks, shown = 0, -1
    while not manifest.is_file():
        deployment.processes.check()
        if time.monotonic() > deadline:
            raise FedbenchError(f"{order.run.label} did not end in time", where=log, remedy="Raise --timeout.")
        progress = read_json(order.progress) if Path(order.progress).is_file() else {}
        if "error" in progress:
            raise FedbenchError(f"the ServerApp failed: {progress['error']}", where=log)
        if on_round and progress.get("round", -1) > shown:
            shown = progress["round"]
            on_round(shown, progress["rounds"])
        looks += 1
        if looks % ASK == 0:
            status = deployment.status(submitted)
            if status.startswith("finished") and not manifest.is_file():
                raise FedbenchError(f"the ServerApp ended ({status}) without a result", where=log)
        time.sleep(WATCH)


def _threads(nodes: int) -> Mapping[str, str]:
    """Return how every process uses threads and memory: as the user set, or an equal share of the cores a node."""
    share = str(max(1, len(os.sched_getaffinity(0)) // nodes))
    return {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", share),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"),
        "THP_MEM_ALLOC_ENABLE": os.environ.get("THP_MEM_ALLOC_ENABLE", "1"),
    }
