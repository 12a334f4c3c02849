"""A hand-made results folder: runs with known predictions and costs, in the pipeline's own file formats."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fedbench.evaluation import histories
from fedbench.evaluation.run_table import write_runs
from fedbench.evaluation.score import collate, score
from fedbench.spec import Experiment, ModelSpec, RandomWeights, RunSpec, StrategySpec

PREDICTIONS = pa.schema(
    [
        ("row_id", pa.int64()),
        ("text_id", pa.int64()),
        ("truth", pa.string()),
        ("predicted", pa.string()),
        ("answer", pa.string()),
        ("scope", pa.string()),
        ("client", pa.int32()),
    ]
)
HISTORY = pa.schema(
    [
        ("step", pa.int64()),
        ("round", pa.int32()),
        ("client", pa.int32()),
        ("phase", pa.string()),
        ("loss", pa.float64()),
        ("accuracy", pa.float64()),
        ("examples", pa.int64()),
        ("seconds", pa.float64()),
        ("bytes_up", pa.int64()),
        ("bytes_down", pa.int64()),
        ("uploaded", pa.bool_()),
        ("trigger", pa.string()),
        ("virtual_seconds", pa.float64()),
        ("metrics", pa.string()),
    ]
)
Row = dict[str, Any]
PUBLISHED = Path(__file__).resolve().parents[2] / "config" / "published"
SPLIT_SIZES = {"train": 2800, "validation": 800, "test": 400}
CLASSES = ("Benign", "DDoS", "C&C", "Okiru")
STRATEGIES = {
    "fedavg": ("FedAvg", "FedAvg", 0.86, 48.0, 40_000_000),
    "fedadam": ("FedOpt (FedAdam)", "FedOpt", 0.84, 42.0, 40_000_000),
    "gsfs": ("GSFS", "GSFS (Proposed)", 0.89, 37.5, 17_000_000),
}
PROCEDURES = {"zero-shot": 0.25, "local-only": 0.55, "centralised": 0.85, "federated": 0.78}


def model(name: str = "minilm", title: str = "MiniLM-L6", **published: str) -> ModelSpec:
    """A model entry with weights that nothing loads."""
    weights = RandomWeights(kind="random", config={"model_type": "bert"})
    return ModelSpec(
        name=name, title=title, weights=weights, published={k.replace("_", "-"): v for k, v in published.items()}
    )  # type: ignore[misc]


def strategy(name: str) -> StrategySpec:
    """A strategy entry."""
    title, published, *_ = STRATEGIES.get(name, ("Edge-FIT", "Edge-FIT (Proposed)"))
    return StrategySpec(name=name, title=title, kind="fedavg", published=published)


def experiment(source: str = "synthetic", *, partitions: Sequence[str] = (), **changes: Any) -> Experiment:
    """An experiment over the fake runs; a mirror source makes it pass for real data."""
    where = {"kind": "synthetic"} if source == "synthetic" else {"kind": "mirror", "path": "."}
    value = {
        "experiment": "fake",
        "title": "Hand-made results",
        "gsfs": {
            "flows": {"source": where},
            "models": ["minilm", "smollm2"],
            "federated_model": "minilm",
            "strategies": list(STRATEGIES),
            "partitions": list(partitions),
        },
        "edge_fit": {"instructions": {"source": where}, "models": ["smollm2"]},
        **changes,
    }
    return Experiment.model_validate(value)


def predictions(
    truth: Sequence[str],
    predicted: Sequence[str | None],
    *,
    scope: str = "central",
    client: int = -1,
    texts: Sequence[int] | None = None,
) -> list[Row]:
    """Rows of predictions.parquet for one scope."""
    ids = range(len(truth))
    texts = texts or ids
    return [
        {"row_id": i, "text_id": t, "truth": y, "predicted": p, "answer": p, "scope": scope, "client": client}
        for i, t, y, p in zip(ids, texts, truth, predicted, strict=True)
    ]


def usage(**changes: Any) -> Row:
    """A usage.json."""
    return {
        "seconds": {"total": 12.0, "train": 9.0, "evaluate": 2.0, "load": 1.0},
        "bytes_up": None,
        "bytes_down": None,
        "rounds": 0,
        "versions": 0,
        "peak_rss_bytes": 900 * 2**20,
        "trainable_parameters": 150_000,
        "total_parameters": 22_700_000,
        "adapter_bytes": 600_000,
        "tokens": 100_000,
        "padding_share": 0.04,
        "truncated_texts": 0,
        "latency_ms": {"median": 12.5, "p95": 20.0, "requests": 50},
        "virtual": None,
        "joules": None,
        "joules_reason": "no meter",
        **changes,
    }


def write_run(
    runs: Path,
    run: RunSpec,
    rows: list[Row],
    *,
    history: list[Row] | None = None,
    cost: Row | None = None,
    message: str = "",
) -> Path:
    """Write a run's files; a message makes it a failed run. Returns the folder."""
    folder = runs / run.folder
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(b"")
    pq.write_table(pa.Table.from_pylist([] if message else rows, PREDICTIONS), folder / "predictions.parquet")
    pq.write_table(pa.Table.from_pylist([] if message else history or [], HISTORY), folder / "history.parquet")
    (folder / "usage.json").write_text(json.dumps(cost or usage()))
    manifest = {
        "status": "failed" if message else "ok",
        "message": message,
        "run": run.model_dump(mode="json"),
        "versions": {"python": "3.11"},
        "host": {"name": "test"},
        "commit": "0" * 40,
        "dirty": False,
        "started": "2025-01-01T00:00:00+00:00",
        "finished": "2025-01-01T00:00:12+00:00",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def run_spec(label: str, **changes: Any) -> RunSpec:
    """A run specification."""
    value = {
        "study": "gsfs",
        "procedure": "centralised",
        "seed": 0,
        "tier": "local",
        "synthetic": True,
        "data": "d",
        "clients": 5,
    }
    return RunSpec.model_validate({"label": label, **value, **changes})


def score_all(results: Path, bootstrap: int = 200) -> None:
    """Score every run of a results folder and collate."""
    folders = sorted((results / "runs").iterdir())
    parts = [results / "scores" / f"{folder.name}.parquet" for folder in folders]
    for folder, part in zip(folders, parts, strict=True):
        score(folder, part, bootstrap)
    collate(parts, results / "scores" / "scores.parquet")
    write_runs(folders, results / "scores" / "runs.parquet")
    histories.collate(folders, results / "scores" / "histories.parquet")


def build(
    results: Path,
    *,
    synthetic: bool = True,
    seeds: int = 3,
    encoder: ModelSpec | None = None,
    partitions: Sequence[str] = ("dirichlet",),
) -> Path:
    """Fill `results` with data, runs of both studies (one failed), scores; returns `results`."""
    rng = np.random.default_rng(0)
    minilm = encoder or model(gsfs="BERT")
    smollm2 = model("smollm2", "SmolLM2-135M-Instruct", gsfs="OPT-350M", edge_fit="Llama 2 (7B)")
    base: dict[str, Any] = {"synthetic": synthetic}
    runs = results / "runs"
    _write_data(results / "data", rng)
    truth = list(rng.choice(CLASSES, 400, p=[0.5, 0.3, 0.15, 0.05]))
    texts = [int(t) for t in rng.integers(0, 150, 400)]

    def answers(accuracy: float, unparsed: float = 0.0) -> list[str | None]:
        guess = [y if rng.random() < accuracy else str(rng.choice(CLASSES)) for y in truth]
        return [None if rng.random() < unparsed else g for g in guess]

    central = predictions(truth, answers(0.9), texts=texts)
    write_run(runs, run_spec("gsfs-minilm-s0", model=minilm, **base), central, history=_curve(rng, 1.4))
    write_run(
        runs,
        run_spec("gsfs-smollm2-s0", model=smollm2, **base),
        [],
        message="out of memory: needs 6.1 GiB, has 4.0 GiB",
    )
    baseline = run_spec(
        "gsfs-hist-gradient-boosting-s0", procedure="baseline", baseline="hist-gradient-boosting", **base
    )
    write_run(
        runs,
        baseline,
        predictions(truth, answers(0.97), texts=texts),
        cost=usage(latency_ms={"median": 1.1, "p95": 1.6, "requests": 50}),
    )
    for partition, (name, (_, _, accuracy, seconds, sent)) in itertools.product(partitions, STRATEGIES.items()):
        for seed in range(seeds):
            run = run_spec(
                f"gsfs-{name}-{partition}-s{seed}",
                procedure="federated",
                seed=seed,
                model=minilm,
                strategy=strategy(name),
                partition=partition,
                **base,
            )
            rows = predictions(truth, answers(accuracy + rng.normal(0, 0.01)), texts=texts)
            for client in range(5):
                rows += predictions(truth, answers(accuracy - 0.05), scope="client", client=client, texts=texts)
            clock = {
                "central_seconds": seconds + rng.normal(),
                "client_seconds": 1.2 * seconds + rng.normal(),
                "modelled": True,
            }
            cost = usage(
                bytes_up=int(sent * rng.uniform(0.95, 1.05)), bytes_down=sent, rounds=10, versions=9, virtual=clock
            )
            write_run(runs, run, rows, history=_rounds(rng, name == "gsfs"), cost=cost)
    for procedure, accuracy in PROCEDURES.items():
        run = run_spec(
            f"edge-fit-{procedure}-s0",
            study="edge-fit",
            procedure=procedure,
            model=smollm2,
            strategy=strategy("edge-fit") if procedure == "federated" else None,
            **base,
        )
        rows = predictions(truth[:120], answers(accuracy, 0.08)[:120])
        if procedure == "local-only":
            rows = [
                r
                for c in range(5)
                for r in predictions(truth[:120], answers(accuracy, 0.1)[:120], scope="client", client=c)
            ]
        write_run(runs, run, rows, history=_rounds(rng, False) if procedure == "federated" else _curve(rng, 2.2))
    score_all(results)
    return results


def _curve(rng: np.random.Generator, start: float) -> list[Row]:
    steps = np.arange(1, 301)
    train = start * np.exp(-steps / 90) + 0.25 + rng.normal(0, 0.05, len(steps))
    rows = [
        {"step": int(s), "round": 0, "client": -1, "phase": "train", "loss": float(x)}
        for s, x in zip(steps, train, strict=True)
    ]
    for step in range(50, 301, 50):
        loss = start * float(np.exp(-step / 90)) + 0.32
        rows.append(
            {"step": step, "round": 0, "client": -1, "phase": "validation", "loss": loss, "accuracy": 1 - loss / 2}
        )
    return rows


def _rounds(rng: np.random.Generator, triggered: bool) -> list[Row]:
    """Ten rounds of five clients; with triggers, only some upload and every second tick makes a new version."""
    rows: list[Row] = [{"step": 0, "round": 0, "client": -1, "phase": "validation", "loss": 1.5, "accuracy": 0.25}]
    for tick in range(1, 11):
        for client in range(5):
            loss = float(1.2 * np.exp(-tick / 4) + 0.3 + rng.normal(0, 0.04))
            uploaded = bool(rng.random() < 0.45) if triggered else True
            trigger = (
                str(rng.choice(["performance", "gradient", "silence"], p=[0.3, 0.5, 0.2]))
                if triggered and uploaded
                else ""
            )
            place = {"step": tick, "round": tick, "client": client}
            rows.append(
                {
                    **place,
                    "phase": "train",
                    "loss": loss,
                    "uploaded": uploaded,
                    "trigger": trigger,
                    "bytes_up": 2**19 if uploaded else 1000,
                    "bytes_down": 2**19,
                    "virtual_seconds": 0.8 * tick,
                }
            )
            rows.append({**place, "phase": "validation", "loss": loss + 0.05, "accuracy": 1 - loss / 2})
        server: Row = {"step": tick, "round": tick, "client": -1, "virtual_seconds": float(tick)}
        if triggered and tick % 2:
            rows.append({**server, "phase": "server", "metrics": json.dumps({"pool": 2})})
            continue
        accuracy = float(np.clip(0.9 - 0.5 / tick + rng.normal(0, 0.01), 0, 1))
        rows.append(
            {
                **server,
                "phase": "validation",
                "loss": float(1.1 * np.exp(-tick / 4) + 0.35),
                "accuracy": accuracy,
                "metrics": json.dumps({"f1_macro": accuracy - 0.05}),
            }
        )
    return rows


def _write_data(data: Path, rng: np.random.Generator) -> None:
    (data / "iot23").mkdir(parents=True)
    (data / "dolly").mkdir()
    splits = [split for split, size in SPLIT_SIZES.items() for _ in range(size)]
    rows = [
        {"row_id": i, "split": s, "text_id": int(rng.integers(0, 900)), "label": str(rng.choice(CLASSES))}
        for i, s in enumerate(splits)
    ]
    pq.write_table(pa.Table.from_pylist(rows), data / "iot23" / "dataset.parquet")
    counts = {"Benign": 2100, "DDoS": 1300, "C&C": 500, "Okiru": 150}
    clean = {
        "rows_read": 4060,
        "rows_kept": 4050,
        "rows_quarantined": 10,
        "repairs": {"label in lower case": 120},
        "quarantine_reasons": {"too few columns": 10},
        "labels": {"read": counts, "kept": counts},
        "steps": [],
    }
    sample = {
        "steps": [
            {
                "step": "missing: keep",
                "rows_before": 4050,
                "rows_after": 4050,
                "reason": "an unset duration is a value",
                "labels_before": counts,
                "labels_after": counts,
            },
            {
                "step": "sample",
                "rows_before": 4050,
                "rows_after": 4000,
                "reason": "stratified",
                "labels_before": counts,
                "labels_after": {**counts, "Benign": 2050},
            },
        ]
    }
    for name, ledger in (("clean", clean), ("sample", sample)):
        (data / "iot23" / f"{name}-ledger.json").write_text(json.dumps(ledger))
    (data / "iot23" / "leakage.csv").write_text(
        "protocol,test_rows,seen_rows,seen_share,memoriser_accuracy\nrandom,400,330,0.825,0.93\ngrouped,400,0,0.0,0.51\n"
    )
    step = {
        "step": "filter",
        "rows_before": 900,
        "rows_after": 400,
        "reason": "ranking",
        "labels_before": {"open_qa": 900},
        "labels_after": {"open_qa": 400},
    }
    (data / "dolly" / "filter-ledger.json").write_text(
        json.dumps({"rows_read": 900, "rows_kept": 400, "steps": [step]})
    )
