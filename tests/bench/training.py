"""Benchmarks of training and federation, as ratios against a named peer in the same run: `make bench`.

Writes results/bench/training.md and .json. Each measurement runs in its own process, so that one does not warm another.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from process import isolated
from tabulate import tabulate

from fedbench.experiment import load as load_experiment
from fedbench.experiment import read_registry
from fedbench.files import write_json, write_text
from fedbench.flows import clean, dataset, fetch, sample
from fedbench.models.snapshot import fetch as fetch_snapshot
from fedbench.partition import write_clients
from fedbench.provenance import describe
from fedbench.runs import runs
from fedbench.spec import RunSpec

CONFIG, RESULTS = Path("config"), Path("results")


def demo_run() -> RunSpec:
    """Return the FedAvg run of the demo."""
    experiment = load_experiment({"experiment": "demo"}, folder=CONFIG)
    table = runs(experiment, read_registry(CONFIG))
    return next(run for run in table.values() if run.label == "gsfs-fedavg-minilm-dirichlet-s0")


def prepare(folder: Path, clients: int) -> tuple[RunSpec, Path, Path, Path]:
    """Make the demo's data set, partitioned for `clients`, and fetch its encoder."""
    experiment = load_experiment({"experiment": "demo"}, folder=CONFIG)
    flows = experiment.gsfs.flows
    flows = flows.model_copy(update={"clients": flows.clients.model_copy(update={"count": clients, "minimum": 1})})
    fetch.fetch(flows, folder / "raw", folder / "sources.json")
    logs = [(entry["scenario"], Path(entry["path"])) for entry in json.loads((folder / "sources.json").read_text())]
    clean.clean(logs, folder / "flows.parquet", folder / "l1.json", None)
    sample.sample(folder / "flows.parquet", flows, 0, folder / "sample.parquet", folder / "l2.json")
    dataset.build(folder / "sample.parquet", flows, 0, folder / "dataset.parquet", folder / "l3.json")
    write_clients(folder / "dataset.parquet", flows.clients, 0, folder / "clients.parquet")
    run = demo_run()
    federation = run.federation.model_copy(update={"clients_per_round": clients, "rounds": 2})
    run = run.model_copy(update={"clients": clients, "federation": federation})
    snapshot = RESULTS / "models" / f"{run.model.name}-{run.model.weights.digest()}"
    if not snapshot.is_dir():
        fetch_snapshot(run.model, snapshot)
    return run, folder / "dataset.parquet", folder / "clients.parquet", snapshot


def federated(folder: Path, clients: int) -> dict[str, float]:
    """Simulate two rounds without evaluation: wall seconds, seconds inside the optimiser steps, peak memory."""
    import polars as pl

    from fedbench.federation.client import Resident
    from fedbench.federation.simulation import simulate
    from fedbench.models.loading import load
    from fedbench.procedures.common import held_by
    from fedbench.procedures.result import Inputs
    from fedbench.progress import Bar
    from fedbench.training.checkpoint import Checkpoint
    from fedbench.training.examples import flows
    from fedbench.training.loop import Trainer

    run, data, held, snapshot = prepare(folder, clients)
    rows = pl.read_parquet(data)
    labels = sorted(rows["label"].unique().to_list())
    loaded = load(snapshot, "classify", run.training, labels, run.seed)
    trainer = Trainer(loaded, run.training)
    classes = [labels.index(label) for label in rows["label"].to_list()]
    examples = flows(loaded.tokenizer, rows["text"].to_list(), classes, run.training.max_length)
    inputs = Inputs(rows, pl.read_parquet(held), snapshot, folder, Bar("bench"))
    train, validation = (
        [examples.take(chosen) for chosen in held_by(inputs, clients, split)] for split in ("train", "validation")
    )
    resident = Resident(trainer, train, validation, 0)
    trainer.train(train[0], 2, (0, 0))  # warm up
    initial = trainer.arrays()
    begun = time.perf_counter()
    outcome = simulate(
        run, resident, initial, lambda _: (float("nan"), float("nan")), Checkpoint(folder / "c.safetensors", "bench")
    )
    return {
        "wall": time.perf_counter() - begun,
        "train": outcome.train_seconds,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "padding": outcome.padding / (outcome.padding + outcome.tokens),
    }


def loops(folder: Path) -> dict[str, float]:
    """Time our loop and a bare PyTorch loop in turn on the same batches and optimiser: median tokens a second."""
    import polars as pl
    import torch

    from fedbench.models.loading import load
    from fedbench.training.batches import collate, stream
    from fedbench.training.examples import flows
    from fedbench.training.loop import Trainer

    run, data, _, snapshot = prepare(folder, 5)
    rows = pl.read_parquet(data).filter(pl.col("split") == "train")
    labels = sorted(rows["label"].unique().to_list())
    loaded = load(snapshot, "classify", run.training, labels, run.seed)
    classes = [labels.index(label) for label in rows["label"].to_list()]
    examples = flows(loaded.tokenizer, rows["text"].to_list(), classes, run.training.max_length)
    trainer = Trainer(loaded, run.training)
    steps, size = 12, run.training.batch_size

    def ours() -> float:
        begun = time.perf_counter()
        progress = trainer.train(examples, steps, (0, 0))
        return progress.tokens / (time.perf_counter() - begun)

    def bare() -> float:
        batches = [
            collate(examples, chosen, loaded.tokenizer.pad_token_id, loaded.device)
            for chosen in stream(examples, size, (0, 0), 0, steps)
        ]
        parameters = [p for p in loaded.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=run.training.learning_rate, weight_decay=0.0)
        tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
        loaded.model.train()
        begun = time.perf_counter()
        for batch in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=run.training.dtype == "bfloat16"):
                loss = loaded.model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, run.training.gradient_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return tokens / (time.perf_counter() - begun)

    ours(), bare()  # warm up
    pairs = [(ours(), bare()) for _ in range(5)]
    return {
        "ours": statistics.median(a for a, _ in pairs),
        "bare": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(a / b for a, b in pairs),
    }


def second_demo() -> float | None:
    """Return the seconds of a `make demo` that has nothing to do; None where there is no finished demo."""
    if not (RESULTS / "demo" / "report.html").is_file():
        return None
    begun = time.perf_counter()
    answer = subprocess.run(["make", "--no-print-directory", "demo"], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    return seconds if "Nothing to be done" in answer.stdout + answer.stderr else None


def main() -> None:
    """Measure everything and write the table."""
    one, ten = isolated(__file__, "federated", "1"), isolated(__file__, "federated", "10")
    speed = isolated(__file__, "loops")
    idle = second_demo()
    rows = [
        ["federated wall / local training, 10 clients", ten["wall"] / ten["train"], "<= 1.10"],
        ["peak memory, 10 clients / 1 client", ten["peak"] / one["peak"], "<= 1.15"],
        ["tokens a second, our loop / bare PyTorch loop", speed["ratio"], ">= 0.95"],
        ["padding share of tokens", ten["padding"], "< 0.10"],
        ["second `make demo`, seconds", idle if idle is not None else "not run: no finished demo here", "< 10"],
    ]
    table = tabulate(rows, headers=["figure", "measured", "goal"], tablefmt="github", floatfmt=".3f")
    host = describe()["host"]
    note = f"{host['processor']}, {host['cores']} cores, OMP_NUM_THREADS={host['threads'] or 'unset'}"
    write_text(RESULTS / "bench" / "training.md", f"{table}\n\nMeasured on: {note}.\n")
    write_json(
        RESULTS / "bench" / "training.json", {"one": one, "ten": ten, "loops": speed, "idle": idle, **describe()}
    )
    print(table)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            print(json.dumps(loops(place) if sys.argv[1] == "loops" else federated(place, int(sys.argv[2]))))
