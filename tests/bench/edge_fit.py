"""Benchmarks of Edge-FIT: a QLoRA step, batched evaluation, aggregation at 7B size and traffic. Part of `make bench`.

Writes results/bench/edge_fit.md and .json. Every measurement runs in a process of its own. The peer of the step is a
bare loop of transformers, peft and bitsandbytes over the same batches; it is given them already padded, and none of the
casts to float32 of peft's `prepare_model_for_kbit_training`, which would slow it down.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from process import isolated
from tabulate import tabulate

from fedbench.experiment import load as load_experiment
from fedbench.experiment import read_registry
from fedbench.files import write_json, write_text
from fedbench.instructions import dataset, fetch, filtering, self_instruct
from fedbench.models.snapshot import fetch as fetch_snapshot
from fedbench.provenance import describe
from fedbench.runs import runs
from fedbench.spec import RunSpec

CONFIG, RESULTS = Path("config"), Path("results")
STEPS, PROMPTS, CLIENTS = 4, 32, 10
LAYERS, WIDTH, RANK = 32, 4096, 16  # Llama-2-7B with LoRA on query, key, value and output


def prepare(folder: Path) -> tuple[RunSpec, pl.DataFrame, Path]:
    """Make the demo's instruction set; returns its Edge-FIT run, the records and the snapshot of SmolLM2."""
    experiment = load_experiment({"experiment": "demo"}, folder=CONFIG)
    spec = experiment.edge_fit.instructions
    made = {name: folder / f"{name}.parquet" for name in ("filtered", "augmented", "dataset")}
    fetch.fetch(spec, folder, folder / "sources.json")
    filtering.filter_iot(folder / "sources.json", spec, made["filtered"], folder / "l1.json")
    self_instruct.augment(made["filtered"], spec, 0, made["augmented"], folder / "l2.json", None)
    dataset.build(made["augmented"], spec, 0, made["dataset"], folder / "l3.json")
    run = next(run for run in runs(experiment, read_registry(CONFIG)).values() if run.label == "edge-fit-smollm2-s0")
    snapshot = RESULTS / "models" / f"{run.model.name}-{run.model.weights.digest()}"
    if not snapshot.is_dir():
        fetch_snapshot(run.model, snapshot)
    return run, pl.read_parquet(made["dataset"]), snapshot


def step(folder: Path) -> dict[str, float]:
    """Train on the same batches with our loop and with a bare one, in turn: median tokens a second."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from fedbench.models.loading import load
    from fedbench.training.batches import collate, stream
    from fedbench.training.examples import instructions
    from fedbench.training.loop import Trainer

    run, records, snapshot = prepare(folder)
    spec = run.training
    loaded = load(snapshot, "instruct", spec, seed=0)
    examples = instructions(loaded.tokenizer, records.to_dicts(), spec.max_length)
    trainer = Trainer(loaded, spec)
    cuda = loaded.device.type == "cuda"

    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    base = AutoModelForCausalLM.from_pretrained(snapshot, dtype=torch.bfloat16, quantization_config=four_bit)
    base.config.use_cache = False
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.lora.r,
        lora_alpha=spec.lora.alpha,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
    )
    peer = get_peft_model(base, lora)
    peer.train()
    parameters = [parameter for parameter in peer.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=spec.learning_rate)
    pad = int(loaded.tokenizer.pad_token_id)
    chosen = list(stream(examples, spec.batch_size, (0, 0), 0, STEPS))
    tokens = sum(len(examples.inputs[i]) for rows in chosen for i in rows)
    batches = [collate(examples, rows, pad, loaded.device) for rows in chosen]

    def timed(work: Callable[[], object]) -> tuple[float, float]:
        if cuda:
            torch.cuda.synchronize()
        begun, used = time.perf_counter(), time.process_time()
        work()
        if cuda:
            torch.cuda.synchronize()
        return tokens / (time.perf_counter() - begun), tokens / (time.process_time() - used)

    def bare() -> None:
        for batch in batches:
            with torch.autocast(loaded.device.type, dtype=torch.bfloat16):
                loss = peer(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, spec.gradient_clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def ours() -> None:
        trainer.train(examples, STEPS, (0, 0))

    timed(ours), timed(bare)  # warm up
    pairs = [(timed(ours), timed(bare)) for _ in range(5)]
    return {
        "ours": statistics.median(a for (a, _), _ in pairs),
        "bare": statistics.median(b for _, (b, _) in pairs),
        "ratio": statistics.median(a / b for (a, _), (b, _) in pairs),
        "processor_ratio": statistics.median(a / b for (_, a), (_, b) in pairs),  # without the wait for a busy core
    }


def answers(folder: Path) -> dict[str, float]:
    """Answer closed-label prompts together and one at a time, both with a KV cache: median seconds, in turn."""
    from fedbench.evaluation.answers import generate
    from fedbench.models.loading import load
    from fedbench.training.loop import Trainer

    run, records, snapshot = prepare(folder)
    rows = records.filter(pl.col("label").is_not_null()).head(PROMPTS).to_dicts()
    trainer = Trainer(load(snapshot, "instruct", run.training, seed=0), run.training)

    def timed(work: Callable[[], list[str]]) -> tuple[float, list[str]]:
        begun = time.perf_counter()
        found = work()
        return time.perf_counter() - begun, found

    def together() -> list[str]:
        return generate(trainer, rows, run.max_new_tokens)

    def alone() -> list[str]:
        return [generate(trainer, [row], run.max_new_tokens)[0] for row in rows]

    together()  # warm up
    pairs = [(timed(together), timed(alone)) for _ in range(3)]
    return {
        "prompts": len(rows),
        "new_tokens": run.max_new_tokens,
        "together": statistics.median(a for (a, _), _ in pairs),
        "alone": statistics.median(b for _, (b, _) in pairs),
        "ratio": statistics.median(b / a for (a, _), (b, _) in pairs),
        # Sums in another order: a near-tie between two tokens may go the other way.
        "same_answers": statistics.mean(x == y for x, y in zip(pairs[0][0][1], pairs[0][1][1], strict=True)),
    }


def aggregate(folder: Path) -> dict[str, float]:
    """Aggregate ten clients' replies as they come off the wire: seconds, and peak memory over the adapters' bytes."""
    from flwr.app import Message, MetricRecord, RecordDict
    from flwr.supercore.task_identity import TaskIdentity

    from fedbench.federation.arrays import to_record
    from fedbench.federation.grid import FIRST_NODE
    from fedbench.federation.strategies import Population, edge_fit
    from fedbench.spec import FederationSpec

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1  # Flower makes no message without
    rng = np.random.default_rng(0)

    def adapter(scale: float) -> dict[str, np.ndarray]:
        modules = [f"base.model.layers.{k}.self_attn.{name}_proj" for k in range(LAYERS) for name in "qkvo"]
        shapes = {"lora_A": (RANK, WIDTH), "lora_B": (WIDTH, RANK)}
        return {
            f"{module}.{name}.default.weight": rng.standard_normal(shape, np.float32) * np.float32(scale)
            for module in modules
            for name, shape in shapes.items()
        }

    def reply(client: int) -> Message:
        asked = Message(RecordDict({}), dst_node_id=FIRST_NODE + client, message_type="train")
        metrics = MetricRecord({"num-examples": 400 + 10 * client, "loss": 1.0})
        return Message(RecordDict({"arrays": to_record(adapter(1e-3)), "metrics": metrics}), reply_to=asked)

    federation = FederationSpec(rounds=1, clients_per_round=CLIENTS, client_tier="edge")
    population = Population(CLIENTS, [1] * CLIENTS, ["edge"] * CLIENTS, 0)
    strategy = edge_fit.build(edge_fit.Options(), federation, population)
    strategy.current = adapter(2e-2)
    size = CLIENTS * sum(value.nbytes for value in strategy.current.values())
    before = _memory("VmRSS")
    replies = [reply(client) for client in range(CLIENTS)]
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    wall, cpu = [], []
    for _ in range(5):
        begun, used = time.perf_counter(), time.process_time()
        made, _ = strategy.aggregate_train(1, replies)
        wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - used)
    assert made is not None
    assert strategy.bias is not None
    return {
        "bytes": size,
        "seconds": statistics.median(wall),
        "cpu_seconds": statistics.median(cpu),
        "memory": (_memory("VmHWM") - before) / size,
    }


def traffic(folder: Path) -> dict[str, float]:
    """Run two rounds of SmolLM2 with a batch a client: bytes on the wire over adapter size x clients x 2."""
    from fedbench.federation.client import Resident
    from fedbench.federation.simulation import simulate
    from fedbench.models.loading import load
    from fedbench.training.checkpoint import Checkpoint
    from fedbench.training.examples import Examples, instructions
    from fedbench.training.loop import Trainer

    run, records, snapshot = prepare(folder)
    federation = run.federation.model_copy(update={"rounds": 2, "clients_per_round": 2})
    run = run.model_copy(update={"clients": 4, "federation": federation})
    loaded = load(snapshot, "instruct", run.training, seed=0)
    size = run.training.batch_size
    examples = instructions(loaded.tokenizer, records.head(4 * size).to_dicts(), run.training.max_length)
    held = [examples.take(range(k * size, (k + 1) * size)) for k in range(4)]
    resident = Resident(Trainer(loaded, run.training), held, [Examples([], [])] * 4, 0)
    initial = resident.trainer.arrays()
    outcome = simulate(run, resident, initial, lambda _: (0.0, 0.0), Checkpoint(folder / "c.safetensors", "bench"))
    expected = sum(value.nbytes for value in initial.values()) * federation.clients_per_round * 2 * outcome.rounds
    return {
        "bytes": outcome.bytes_up + outcome.bytes_down,
        "expected": expected,
        "ratio": (outcome.bytes_up + outcome.bytes_down) / expected,
    }


MEASUREMENTS: dict[str, Callable[[Path], dict[str, float]]] = {
    "step": step,
    "answers": answers,
    "aggregate": aggregate,
    "traffic": traffic,
}


def _memory(entry: str) -> int:
    """Return an entry of this process's status in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{entry}:"))


def main() -> None:
    """Measure everything and write the table."""
    found = {name: isolated(__file__, name) for name in MEASUREMENTS}
    made, replies = found["aggregate"], found["answers"]
    rows = [
        [
            "tokens a second of a QLoRA step, ours / bare transformers + peft + bitsandbytes",
            f"{found['step']['ratio']:.2f} ({found['step']['ours']:.0f} / {found['step']['bare']:.0f}; "
            f"by processor time {found['step']['processor_ratio']:.2f})",
            ">= 0.95",
        ],
        [
            f"seconds for {replies['prompts']} prompts, one at a time / together",
            f"{replies['ratio']:.1f} ({replies['alone']:.1f} / {replies['together']:.1f})",
            ">= 4",
        ],
        [
            f"aggregation of {CLIENTS} clients at 7B size (r {RANK}), seconds",
            f"{made['seconds']:.2f} ({made['cpu_seconds']:.2f} of processor time)",
            "< 1",
        ],
        ["its peak memory / bytes of the adapters", f"{made['memory']:.2f}", "< 3"],
        ["bytes a round / (adapter x clients x 2)", f"{found['traffic']['ratio']:.4f}", "0.99 to 1.01"],
    ]
    table = tabulate(rows, headers=["figure", "measured", "goal"], tablefmt="github", disable_numparse=True)
    host = describe()["host"]
    note = f"{host['processor']}, {host['cores']} cores, OMP_NUM_THREADS={host['threads'] or 'unset'}"
    same = f"{replies['same_answers']:.0%} of the answers are the same either way (bfloat16 sums in another order)"
    write_text(RESULTS / "bench" / "edge_fit.md", f"{table}\n\nMeasured on: {note}. {same}.\n")
    write_json(RESULTS / "bench" / "edge_fit.json", {**found, **describe()})
    print(table)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(MEASUREMENTS[sys.argv[1]](Path(scratch))))
