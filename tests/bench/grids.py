"""Benchmarks of the grids: the in-process one against Flower's own Ray simulation, and against the number of clients.

Part of `make bench`; writes results/bench/grids.md and .json. Every measurement runs in a process of its own. End to
end is from the server's loaded model to the final weights, with whatever the runner has to start and stop; the
imports before it, the same for all, are in the figures of the whole process. The peer is a plain Flower program
(`run_simulation`, stock FedAvg.start) with the same client app, whose actors keep the model between messages: more
than Flower does by itself.
"""

import functools
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import psutil
from safetensors.numpy import load_file, save_file
from tabulate import tabulate

from fedbench.experiment import read_registry
from fedbench.files import write_json, write_text
from fedbench.models.snapshot import fetch as fetch_snapshot
from fedbench.provenance import describe
from fedbench.spec import FederationSpec, RunSpec, TrainingSpec

CONFIG, RESULTS = Path("config"), Path("results")
CLIENTS, ROUNDS, ROWS = 10, 3, 16  # one batch of 16 a client and round: what the grid costs, not the training
REPEATS = 3  # in turn, so that a busy spell of the machine hits every runner; medians are reported
POPULATIONS = (10, 100, 1000)
MIB = 2**20
FIGURES = ("wall", "federated", "round", "rss", "pss")

# Nobody waits for a home that cannot be reached.
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1", "RAY_USAGE_STATS_ENABLED": "0"}


# --- the job ---


def specify(clients: int, model: str, grid: str = "in-process", rounds: int = ROUNDS) -> RunSpec:
    """Return a FedAvg run in which every client takes part in every round."""
    registry = read_registry(CONFIG)
    return RunSpec(
        label=f"bench-{model}",
        study="gsfs",
        procedure="federated",
        seed=0,
        tier="local",
        synthetic=True,
        data="bench",
        clients=clients,
        model=registry.models[model],
        training=TrainingSpec(epochs=1, batch_size=16, max_length=64),
        strategy=registry.strategies["fedavg"],
        federation=FederationSpec(rounds=rounds, clients_per_round=clients, client_tier="local", grid=grid),
        client_tier=registry.tiers["local"],
    )


def snapshot_of(run: RunSpec) -> Path:
    """Return the base model's snapshot, fetched where it is not there."""
    path = RESULTS / "models" / f"{run.model.name}-{run.model.weights.digest()}"
    if not path.is_dir():
        fetch_snapshot(run.model, path)
    return path


def write_rows(path: Path, clients: int, rows: int) -> None:
    """Write `rows` short flow texts of two classes a client."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, clients * rows)
    texts = [
        f"tcp {'- S0' if label else 'http SF'} packets={rng.integers(99)} bytes={rng.integers(9999)}"
        for label in labels
    ]
    frame = pl.DataFrame({"client": np.repeat(np.arange(clients), rows), "text": texts, "label": labels})
    frame.write_parquet(path)


def resident(run: RunSpec, rows: Path):
    """Load the base model and tokenise every client's rows."""
    from fedbench.federation.client import Resident
    from fedbench.models.loading import load
    from fedbench.training.examples import Examples, flows
    from fedbench.training.loop import Trainer

    table = pl.read_parquet(rows)
    loaded = load(snapshot_of(run), "classify", run.training, ["benign", "attack"], run.seed)
    everything = flows(loaded.tokenizer, table["text"].to_list(), table["label"].to_list(), run.training.max_length)
    held: list[list[int]] = [[] for _ in range(run.clients)]
    for position, client in enumerate(table["client"]):
        held[client].append(position)
    empty = Examples([], [])
    return Resident(
        Trainer(loaded, run.training), [everything.take(own) for own in held], [empty] * run.clients, run.seed
    )


# --- the three runners ---


def ours(run: RunSpec, folder: Path) -> dict[str, float]:
    """Run on the in-process grid, or on ours over Ray."""
    from fedbench.federation.simulation import simulate
    from fedbench.training.checkpoint import Checkpoint

    clients = resident(run, folder / "rows.parquet")
    checkpoint = Checkpoint(folder / "checkpoint.safetensors", "bench")
    checkpoint.clear()  # a repetition starts from the first round
    options = (clients.trainer.arrays(), lambda _: (0.0, 0.0), checkpoint)
    begun = time.perf_counter()
    if run.federation.grid == "ray":
        from fedbench.federation.ray_grid import simulate_on_ray

        outcome = simulate_on_ray(run, clients, snapshot_of(run), folder / "job", *options)
    else:
        outcome = simulate(run, clients, *options)
    wall = time.perf_counter() - begun
    save_file(outcome.arrays, folder / "arrays.safetensors")
    rounds = [row["seconds"] for row in outcome.history if row["client"] < 0 and row["round"] > 0]
    assert len(rounds) == run.federation.rounds
    return {"round": statistics.median(rounds), "federated": wall, "train": outcome.train_seconds}


@functools.cache
def actor(folder: str):
    """Return the client app of the peer's actor, with its model and rows."""
    from fedbench.federation.client import client_app

    return client_app(resident(specify(CLIENTS, "minilm"), Path(folder) / "rows.parquet"), [])


def peer(folder: Path) -> dict[str, float]:
    """Run as a plain Flower program does: stock strategy, stock loop, stock back end."""
    import grids  # by its name, so that actors import this file instead of unpickling it
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    from fedbench.federation.arrays import to_numpy, to_record

    run = specify(CLIENTS, "minilm")
    initial = to_record(resident(run, folder / "rows.parquet").trainer.arrays())
    begun: list[float] = []
    result = []

    class Timed(FedAvg):
        def configure_train(self, *arguments):
            begun.append(time.perf_counter())
            return super().configure_train(*arguments)

    server, client, path = ServerApp(), ClientApp(), str(folder.resolve())

    @server.main()
    def main(grid, context):
        everyone = {"min_train_nodes": CLIENTS, "min_available_nodes": CLIENTS, "fraction_evaluate": 0.0}
        result.append(Timed(**everyone).start(grid=grid, initial_arrays=initial, num_rounds=ROUNDS))
        begun.append(time.perf_counter())

    @client.train()
    def train(message, context):
        return grids.actor(path)(message, context)

    started = time.perf_counter()
    run_simulation(server, client, CLIENTS)  # with Flower's own defaults: an actor for each two cores
    wall = time.perf_counter() - started
    save_file(to_numpy(result[0].arrays), folder / "arrays.safetensors")
    return {"round": statistics.median(b - a for a, b in itertools.pairwise(begun)), "federated": wall}


# --- measuring ---


def measured(folder: Path, *arguments: str) -> dict[str, float]:
    """Run one measurement in a fresh process: what it printed, its seconds, and the peak memory of its process tree.

    `rss` adds up resident memory, as asked of peers; `pss` counts pages that processes share once, which is fairer.
    """
    begun = time.perf_counter()
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    environment = {**os.environ, **QUIET, "PYTHONPATH": paths}
    with open(folder / "out", "w+") as out, open(folder / "err", "w+") as err:
        process = subprocess.Popen(
            [sys.executable, __file__, *arguments, str(folder)], stdout=out, stderr=err, env=environment
        )
        peaks, ended = {"rss": 0, "pss": 0}, threading.Event()
        watcher = threading.Thread(target=_watch, args=(psutil.Process(process.pid), peaks, ended))
        watcher.start()
        code = process.wait()
        seconds = time.perf_counter() - begun
        ended.set()
        watcher.join()
        out.seek(0), err.seek(0)
        if code:
            raise SystemExit(f"benchmark {arguments} failed:\n{err.read()[-3000:]}")
        said = json.loads(out.read().splitlines()[-1])
    return {**said, "wall": seconds, **{name: value / MIB for name, value in peaks.items()}}


def _watch(root: psutil.Process, peaks: dict[str, int], ended: threading.Event) -> None:
    while not ended.wait(0.5):
        rss = pss = 0
        try:
            tree = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in tree:
            try:
                memory = process.memory_full_info()
            except psutil.Error:
                continue
            rss, pss = rss + memory.rss, pss + memory.pss
        peaks["rss"], peaks["pss"] = max(peaks["rss"], rss), max(peaks["pss"], pss)


def medians(measurements: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure over repeated measurements."""
    return {name: statistics.median(m[name] for m in measurements) for name in measurements[0]}


def difference(left: Path, right: Path) -> float:
    """Return the largest absolute difference between two sets of weights."""
    one, two = (load_file(folder / "arrays.safetensors") for folder in (left, right))
    assert one.keys() == two.keys()
    return max(float(np.abs(one[name] - two[name]).max()) for name in one)


def main() -> None:
    """Measure everything and write the tables."""
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch, name) for name in ("in-process", "flower-ray", "our-ray")}
        for folder in folders.values():
            folder.mkdir()
            write_rows(folder / "rows.parquet", CLIENTS, ROWS)
        snapshot_of(specify(CLIENTS, "minilm"))  # the download is nobody's cost
        every = [{name: measured(folder, name) for name, folder in folders.items()} for _ in range(REPEATS)]
        found = {name: medians([turn[name] for turn in every]) for name in folders}
        same = difference(folders["in-process"], folders["our-ray"])
        close = difference(folders["in-process"], folders["flower-ray"])
        sizes = {}
        for clients in POPULATIONS:
            folder = Path(scratch, str(clients))
            folder.mkdir()
            write_rows(folder / "rows.parquet", clients, 8)
            sizes[clients] = measured(folder, "population", str(clients))
    here, there, mine = found.values()
    server = {n: (s["federated"] - s["train"]) / (n * 2) for n, s in sizes.items()}
    few, some, many = POPULATIONS
    rows = [
        ["3 rounds end to end, Flower's Ray / in-process", there["federated"] / here["federated"], ">= 3"],
        ["3 rounds end to end, our Ray grid / in-process", mine["federated"] / here["federated"], ""],
        ["whole process with imports, Flower's Ray / in-process", there["wall"] / here["wall"], ""],
        ["seconds a round, Flower's Ray / in-process", there["round"] / here["round"], ""],
        ["peak memory (sum of RSS), Flower's Ray / in-process", there["rss"] / here["rss"], "> 1"],
        ["peak memory (PSS), Flower's Ray / in-process", there["pss"] / here["pss"], "> 1"],
        ["largest difference of weights, our Ray grid", same, "0"],
        ["largest difference of weights, Flower's Ray (order of summation)", close, "< 1e-6"],
        [f"peak memory, {many:,} clients / {few}", sizes[many]["rss"] / sizes[few]["rss"], "<= 1.2"],
        [f"server seconds a client, {many:,} clients / {some}", server[many] / server[some], "about 1"],
    ]
    figures = tabulate(rows, headers=["figure", "measured", "goal"], tablefmt="github", floatfmt=".3g")
    details = [[name, *(f[k] for k in FIGURES)] for name, f in found.items()] + [
        [f"in-process, tiny BERT, {n:,} clients", *(s[k] for k in FIGURES)] for n, s in sizes.items()
    ]
    headers = ["runner", "whole process (s)", "rounds, end to end (s)", "a round (s)", "RSS (MiB)", "PSS (MiB)"]
    table = tabulate(details, headers=headers, tablefmt="github", floatfmt=".1f")
    host = describe()["host"]
    note = (
        f"{CLIENTS} clients, {ROUNDS} rounds of {-(-ROWS // 16)} steps, MiniLM, LoRA, one thread a trainer; medians of "
        f"{REPEATS}. Flower's Ray has an actor for each two cores (its default), ours one a core. Measured on: "
        f"{host['processor']}, {host['cores']} cores, OMP_NUM_THREADS={host['threads'] or 'unset'}, "
        f"load {os.getloadavg()[0]:.1f} at the end."
    )
    write_text(RESULTS / "bench" / "grids.md", f"{figures}\n\n{table}\n\n{note}\n")
    everything = {"grids": found, "populations": sizes, "differences": {"our-ray": same, "flower-ray": close}}
    write_json(RESULTS / "bench" / "grids.json", {**everything, **describe()})
    print(figures)


def one(name: str, *arguments: str) -> dict[str, float]:
    """Take the measurement that `measured` has started this process for."""
    folder = Path(arguments[-1])
    if name == "flower-ray":
        return peer(folder)
    if name == "population":
        return ours(specify(int(arguments[0]), "tiny-bert", rounds=2), folder)
    return ours(specify(CLIENTS, "minilm", "ray" if name == "our-ray" else "in-process"), folder)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        print(json.dumps(one(*sys.argv[1:])))
