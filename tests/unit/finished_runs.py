"""Finished runs of tiny random models, written as `fedbench.running` leaves them, with whatever was "trained"."""

from pathlib import Path
from typing import Any

import families
import numpy as np
import tiny
from safetensors.numpy import save_file

from fedbench.files import write_json
from fedbench.models.loading import load
from fedbench.models.snapshot import fetch
from fedbench.procedures.result import PREDICTIONS, write_table
from fedbench.spec import LoraSpec, ModelSpec, RunSpec, TrainingSpec
from fedbench.training.loop import Trainer

LABELS = ["Attack", "Benign", "DDoS"]
FAMILY = {"gsfs": "bert", "edge-fit": "llama"}


def spec(study: str = "edge-fit", family: str | None = None, **changes: Any) -> RunSpec:
    """Return a run of a tiny model; `alone`: one that is not federated."""
    family = family or FAMILY[study]
    config = {**families.CONFIGS[family], "model_type": family, "vocab_size": 512, "max_position_embeddings": 256}
    if family == "gpt2":
        config = {**families.CONFIGS[family], "model_type": family, "vocab_size": 512, "n_positions": 256}
    training = {"lora": LoraSpec(r=2, alpha=4), "max_length": 128, **changes.pop("training", {})}
    alone = {"strategy": None, "federation": None, "client_tier": None} if changes.pop("alone", False) else {}
    values = {
        "label": f"{study}-{family}",
        "study": study,
        "model": ModelSpec(name=family, title=f"tiny {family}", weights={"kind": "random", "config": config}),
        "training": TrainingSpec(**training),
        "scoring": "generate" if study == "edge-fit" else "classify",
        "max_new_tokens": 6,
    }
    strategy = "edge-fit" if study == "edge-fit" else "fedavg"
    return tiny.run(strategy, **{**values, **changes}).model_copy(update=alone)


def snapshot(results: Path, run: RunSpec) -> Path:
    """Make the base model where a workflow would, once."""
    path = results / "models" / f"{run.model.name}-{run.model.weights.digest()}"
    if not path.exists():
        fetch(run.model, path)
    return path


def trained(results: Path, run: RunSpec, seed: int = 1, correction: dict[str, np.ndarray] | None = None) -> Trainer:
    """Load the run's model with a random adapter, large enough to change its answers."""
    task = "classify" if run.study == "gsfs" else "instruct"
    trainer = Trainer(load(snapshot(results, run), task, run.training, LABELS, run.seed), run.training)
    rng = np.random.default_rng(seed)
    arrays = {
        name: (rng.standard_normal(value.shape) * 0.5).astype(np.float32) for name, value in trainer.arrays().items()
    }
    if run.training.adaptation == "full":
        arrays = {name: value + 0.1 * arrays[name] for name, value in trainer.arrays().items()}
    trainer.load(arrays | (correction or {}))
    trainer.loaded.model.eval()
    return trainer


def write(
    results: Path,
    run: RunSpec,
    arrays: dict[str, np.ndarray],
    experiment: str = "tiny",
    usage: dict[str, Any] | None = None,
    **manifest: Any,
) -> Path:
    """Write the files of a run; of its ten test rows it got seven right, a client its number more wrong."""
    folder = results / experiment / "runs" / run.folder
    folder.mkdir(parents=True)
    save_file(arrays, folder / "adapter.safetensors")
    write_json(folder / "usage.json", {"labels": LABELS, "template": run.template, "rounds": 2, **(usage or {})})
    told = {"status": "ok", "message": "", "run": run.model_dump(mode="json"), "commit": "c0ffee", "dirty": False}
    write_json(folder / "manifest.json", {**told, "finished": "2026-01-01T00:00:00+00:00", **manifest})
    scopes = [("client", k) for k in range(run.clients)] if run.procedure == "local-only" else [("central", -1)]
    rows = [
        {
            "row_id": k,
            "text_id": k,
            "truth": "Benign",
            "predicted": "Benign" if k < 7 - max(0, client) else "DDoS",
            "scope": scope,
            "client": client,
        }
        for scope, client in scopes
        for k in range(10)
    ]
    write_table(folder / "predictions.parquet", rows, PREDICTIONS)
    return folder


def finished(results: Path, run: RunSpec, **options: Any) -> tuple[Path, Trainer]:
    """Write a run that ended well; returns its folder and the model that it left."""
    trainer = trained(results, run, correction=options.pop("correction", None))
    return write(results, run, trainer.state(), **options), trainer
