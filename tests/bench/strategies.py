"""Benchmarks of strategies: what GSFS adds to a tick, robust aggregation, and a round beside a common public loop.

Part of `make bench`; writes results/bench/strategies.md and .json. Every measurement runs in a process of its own. The
peer of the round is a stand-in written here, of the shape that public federated fine-tuning programs ship: float32
weights, gradient checkpointing, and transformers' `Trainer` built anew for every client and round. Neither side
tokenises or evaluates: both get the same token ids, masks, LoRA modules, optimiser, rate and number of steps.
"""

import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from process import isolated
from tabulate import tabulate

from fedbench.files import write_json, write_text
from fedbench.provenance import describe
from fedbench.spec import FederationSpec, LoraSpec, RandomWeights, TrainingSpec

RESULTS = Path("results")
CLIENTS, STEPS, BATCH, LENGTH, PROMPT, ROUNDS = 5, 10, 8, 225, 75, 3
LLAMA = RandomWeights(  # 26.4 million parameters
    kind="random",
    config={
        "model_type": "llama",
        "vocab_size": 7200,
        "hidden_size": 512,
        "intermediate_size": 1376,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "max_position_embeddings": 512,
    },
)
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj"]
TICKS = 6
UPDATES, FAULTY = 11, 2  # the fewest for which Bulyan allows two: n >= 4 f + 3
SIZES = {"MiniLM, 0.3 M": 300_000, "Llama-2-7B, r 16, 16.8 M": 16_777_216}

Figures = dict[str, float]


# --- what GSFS adds to a tick ---


def bookkeeping(folder: Path) -> Figures:
    """Run GSFS on the demo's encoder and time what is not training: triggers, norms, pool, and validation apart."""
    import polars as pl
    import training as demo

    from fedbench.experiment import read_registry
    from fedbench.federation import simulation
    from fedbench.federation.client import Resident, client_app
    from fedbench.federation.grid import InProcessGrid
    from fedbench.federation.strategies import gsfs
    from fedbench.models.loading import load
    from fedbench.procedures.common import held_by
    from fedbench.procedures.result import Inputs
    from fedbench.progress import Bar
    from fedbench.training.checkpoint import Checkpoint
    from fedbench.training.examples import flows
    from fedbench.training.loop import Trainer

    run, data, held, snapshot = demo.prepare(folder, 10)
    federation = run.federation.model_copy(update={"rounds": TICKS})  # longer than the thresholds take to fill
    strategy = read_registry(demo.CONFIG).strategies["gsfs"]
    run = run.model_copy(update={"strategy": strategy, "federation": federation})
    rows = pl.read_parquet(data)
    labels = sorted(rows["label"].unique().to_list())
    loaded = load(snapshot, "classify", run.training, labels, run.seed)
    examples = flows(
        loaded.tokenizer, rows["text"].to_list(), [labels.index(x) for x in rows["label"]], run.training.max_length
    )
    inputs = Inputs(rows, pl.read_parquet(held), snapshot, folder, Bar("bench"))
    train, validation = (
        [examples.take(chosen) for chosen in held_by(inputs, 10, split)] for split in ("train", "validation")
    )
    trainer = Trainer(loaded, run.training)
    resident = Resident(trainer, train, validation, 0)
    spent = dict.fromkeys(("norms", "validation", "mod", "client", "pool"), 0.0)

    def clocked(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                spent[name] += time.perf_counter() - begun

        return call

    def around(name: str) -> Callable[..., Any]:
        return lambda message, context, call_next: clocked(name, call_next)(message, context)

    trainer._block_norms = clocked("norms", trainer._block_norms)
    trainer.evaluate = clocked("validation", trainer.evaluate)
    gsfs.UploadPool.aggregate_train = clocked("pool", gsfs.UploadPool.aggregate_train)
    gsfs.UploadPool.configure_train = clocked("pool", gsfs.UploadPool.configure_train)
    mods = [around("mod"), *simulation.client_mods(run), around("client")]
    trainer.train(train[0], 2, (0, 0))  # warm up
    initial = trainer.arrays()
    spent |= dict.fromkeys(spent, 0.0)
    begun = time.perf_counter()
    outcome = simulation.simulate(
        run,
        resident,
        initial,
        lambda _: (float("nan"), float("nan")),
        Checkpoint(folder / "c.safetensors", "bench"),
        grid=InProcessGrid(client_app(resident, mods), run.clients),
    )
    wall = time.perf_counter() - begun
    added = spent["mod"] - spent["client"] + spent["norms"] + spent["pool"]
    return {
        "ticks": float(outcome.rounds),
        "wall": wall,
        "added": added,
        "share": added / wall,
        "norms": spent["norms"] / wall,
        "validation": spent["validation"] / wall,
    }


# --- robust aggregation ---


def robust(folder: Path) -> Figures:
    """Aggregate eleven updates with each of Flower's robust strategies: median seconds, by strategy and size."""
    from flwr.app import Message, MetricRecord, RecordDict
    from flwr.serverapp import strategy as flower
    from flwr.supercore.task_identity import TaskIdentity

    from fedbench.federation.arrays import to_record

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1  # Flower makes no message without
    made = {
        "FedAvg": flower.FedAvg(),
        "FedMedian": flower.FedMedian(),
        "FedTrimmedAvg": flower.FedTrimmedAvg(beta=0.2),
        "Krum": flower.Krum(num_malicious_nodes=FAULTY),
        "MultiKrum": flower.MultiKrum(num_malicious_nodes=FAULTY, num_nodes_to_select=UPDATES - FAULTY),
        "Bulyan": flower.Bulyan(num_malicious_nodes=FAULTY),
    }
    rng = np.random.default_rng(0)
    found = {}

    def reply(client: int, layers: list[Any]) -> Message:
        arrays = to_record({f"layer{k}": layer for k, layer in enumerate(layers)})
        content = RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 100})})
        asked = Message(RecordDict({}), dst_node_id=1 + client, message_type="train")
        return Message(content, reply_to=asked)

    for size, parameters in SIZES.items():
        layers = [[rng.standard_normal(parameters // 8, np.float32) for _ in range(8)] for _ in range(UPDATES)]
        for name, strategy in made.items():
            seconds = []
            for _ in range(3):
                replies = [reply(client, arrays) for client, arrays in enumerate(layers)]  # a strategy empties them
                begun = time.perf_counter()
                aggregated, _ = strategy.aggregate_train(1, replies)
                seconds.append(time.perf_counter() - begun)
            if aggregated is None:
                raise SystemExit(f"{name} refused the updates")
            found[f"{name} | {size}"] = statistics.median(seconds)
    return found


# --- a round beside a common public loop ---


def rows_of(client: int) -> tuple[list[list[int]], list[list[int]]]:
    """Return the token ids and masked labels of a client's rows: a batch for each of its steps."""
    rng = np.random.default_rng(client)
    ids = rng.integers(4, 200, (STEPS * BATCH, LENGTH)).tolist()
    return ids, [[-100] * PROMPT + row[PROMPT:] for row in ids]


def weights(folder: Path) -> Path:
    """Make the snapshot of the random Llama shape."""
    from fedbench.models.random_weights import make

    make(LLAMA, folder / "snapshot")
    return folder / "snapshot"


def peak() -> float:
    """Return the peak resident memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def checkpointed(folder: Path) -> Figures:
    """Measure `ours` with gradient checkpointing, as the peer has it."""
    return ours(folder, gradient_checkpointing=True)


def ours(folder: Path, gradient_checkpointing: bool = False) -> Figures:
    """Rounds of the in-process grid in bfloat16: median seconds a round, last loss, peak memory."""
    import training as demo

    from fedbench.federation.client import Resident
    from fedbench.federation.simulation import simulate
    from fedbench.models.loading import load
    from fedbench.training.checkpoint import Checkpoint
    from fedbench.training.examples import Examples
    from fedbench.training.loop import Trainer

    spec = TrainingSpec(
        epochs=1,
        batch_size=BATCH,
        max_length=LENGTH,
        dtype="bfloat16",
        learning_rate=1e-3,
        gradient_clip=1.0,
        gradient_checkpointing=gradient_checkpointing,
        lora=LoraSpec(r=16, alpha=32),
    )
    registry = demo.read_registry(demo.CONFIG)
    federation = FederationSpec(rounds=ROUNDS + 1, clients_per_round=CLIENTS, client_tier="local")
    run = demo.demo_run().model_copy(
        update={
            "clients": CLIENTS,
            "federation": federation,
            "training": spec,
            "strategy": registry.strategies["fedavg"],
        }
    )
    loaded = load(weights(folder), "instruct", spec, seed=0)
    held = [Examples(*rows_of(client)) for client in range(CLIENTS)]
    resident = Resident(Trainer(loaded, spec), held, [Examples([], [])] * CLIENTS, 0)
    initial = resident.trainer.arrays()
    checkpoint = Checkpoint(folder / "c.safetensors", "bench")
    outcome = simulate(run, resident, initial, lambda _: (0.0, 0.0), checkpoint)
    rounds = [row for row in outcome.history if row["client"] < 0 and row["round"] > 1]  # the first warms up
    losses = [row["loss"] for row in outcome.history if row["client"] >= 0 and row["round"] == ROUNDS + 1]
    return {
        "round": statistics.median(row["seconds"] for row in rounds),
        "loss": statistics.mean(losses),
        "peak": peak(),
        "parameters": float(sum(value.size for value in initial.values())),
    }


def peer(folder: Path) -> Figures:
    """Rounds of the stand-in: median seconds a round, last loss, peak memory."""
    import datasets
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, default_data_collator
    from transformers.utils import logging

    logging.disable_progress_bar()
    datasets.disable_progress_bars()
    base = AutoModelForCausalLM.from_pretrained(weights(folder))
    base.config.use_cache = False
    lora = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules=MODULES)
    model = get_peft_model(base, lora)
    model.enable_input_require_grads()
    held = []
    for client in range(CLIENTS):
        ids, labels = rows_of(client)
        held.append(
            datasets.Dataset.from_dict(
                {"input_ids": ids, "labels": labels, "attention_mask": [[1] * LENGTH] * len(ids)}
            )
        )
    shared = {name: value.clone() for name, value in get_peft_model_state_dict(model).items()}
    seconds, losses = [], []
    for _ in range(ROUNDS + 1):
        begun, received, losses = time.perf_counter(), [], []
        for client in range(CLIENTS):
            set_peft_model_state_dict(model, shared)
            arguments = TrainingArguments(
                output_dir=str(folder / "out"),
                per_device_train_batch_size=BATCH,
                max_steps=STEPS,
                learning_rate=1e-3,
                lr_scheduler_type="constant",
                gradient_checkpointing=True,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                use_cpu=True,
                disable_tqdm=True,
            )
            trainer = Trainer(model, arguments, data_collator=default_data_collator, train_dataset=held[client])
            losses.append(trainer.train().training_loss)
            received.append({name: value.clone() for name, value in get_peft_model_state_dict(model).items()})
        shared = {name: sum(one[name] for one in received) / CLIENTS for name in shared}
        seconds.append(time.perf_counter() - begun)
    return {
        "round": statistics.median(seconds[1:]),
        "loss": statistics.mean(losses),
        "peak": peak(),
        "parameters": float(sum(value.numel() for value in shared.values())),
    }


MEASUREMENTS: dict[str, Callable[[Path], Figures]] = {
    "bookkeeping": bookkeeping,
    "robust": robust,
    "ours": ours,
    "checkpointed": checkpointed,
    "peer": peer,
}


def main() -> None:
    """Measure everything and write the tables."""
    found = {name: isolated(__file__, name) for name in MEASUREMENTS}
    tick, there = found["bookkeeping"], found["peer"]
    sides = {"ours (bfloat16, checkpointing)": found["checkpointed"], "ours (bfloat16)": found["ours"]}
    for here in sides.values():
        if here["parameters"] != there["parameters"]:
            raise SystemExit(f"not equal work: {here['parameters']} and {there['parameters']} parameters trained")
    rows = [
        ["GSFS bookkeeping (triggers, norms, pool) / tick", f"{tick['share']:.2%}", "< 2 %"],
        ["... of it gradient norms", f"{tick['norms']:.2%}", ""],
        ["validation for the performance trigger / tick", f"{tick['validation']:.2%}", ""],
    ]
    for name, here in sides.items():
        rows += [
            [
                f"seconds a round, stand-in for a public loop (float32, checkpointing) / {name}",
                f"{there['round'] / here['round']:.2f} ({there['round']:.1f} / {here['round']:.1f})",
                ">= 2",
            ],
            [
                "... peak memory",
                f"{there['peak'] / here['peak']:.2f} ({there['peak']:.0f} / {here['peak']:.0f} MiB)",
                ">= 1" if here is found["checkpointed"] else "",
            ],
            ["... mean loss in the last round", f"{there['loss']:.3f} / {here['loss']:.3f}", "alike"],
        ]
    table = tabulate(rows, headers=["figure", "measured", "goal"], tablefmt="github", disable_numparse=True)
    names = list(dict.fromkeys(key.split(" | ")[0] for key in found["robust"]))
    seconds = [[name, *(found["robust"][f"{name} | {size}"] for size in SIZES)] for name in names]
    second = tabulate(
        seconds, headers=["strategy", *(f"{size} (s)" for size in SIZES)], tablefmt="github", floatfmt=".3f"
    )
    host = describe()["host"]
    note = (
        f"Round: {CLIENTS} clients, {STEPS} steps of {BATCH} x {LENGTH} tokens, a Llama shape of 26.4 M parameters "
        f"with random weights, LoRA r 16 on attention, median of {ROUNDS}. Aggregation: Flower's own strategies, "
        f"{UPDATES} updates, {FAULTY} taken for faulty. Measured on: {host['processor']}, {host['cores']} cores, "
        f"OMP_NUM_THREADS={host['threads'] or 'unset'}."
    )
    write_text(RESULTS / "bench" / "strategies.md", f"{table}\n\n{second}\n\n{note}\n")
    write_json(RESULTS / "bench" / "strategies.json", {**found, **describe()})
    print(f"{table}\n\n{second}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(MEASUREMENTS[sys.argv[1]](Path(scratch))))
