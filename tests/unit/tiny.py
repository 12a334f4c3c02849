"""Tiny runs on randomly initialised models, for known answers of training and federation."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fedbench.experiment import read_registry
from fedbench.models.snapshot import fetch
from fedbench.spec import FederationSpec, RunSpec, StrategySpec, TrainingSpec

CONFIG = Path(__file__).resolve().parents[2] / "config"
REGISTRY = read_registry(CONFIG)


def run(strategy: str = "fedavg", clients: int = 3, options: dict[str, Any] | None = None, **changes: Any) -> RunSpec:
    """Return a federated classification run of the tiny BERT."""
    named: StrategySpec = REGISTRY.strategies[strategy]
    if options:
        named = named.model_copy(update={"options": {**named.options, **options}})
    values: dict[str, Any] = {
        "label": f"tiny-{strategy}",
        "study": "gsfs",
        "procedure": "federated",
        "seed": 0,
        "tier": "local",
        "synthetic": True,
        "data": "test",
        "clients": clients,
        "model": REGISTRY.models["tiny-bert"],
        "training": TrainingSpec(learning_rate=5e-3, epochs=1, batch_size=8, max_length=64),
        "strategy": named,
        "federation": FederationSpec(rounds=2, clients_per_round=clients, client_tier="local"),
        "client_tier": REGISTRY.tiers["local"],
        "tiers": {"gateway": REGISTRY.tiers["gateway"]},
        "latency_requests": 2,
    }
    return RunSpec(**{**values, **changes})


def data(folder: Path, clients: int = 3, rows: int = 120) -> tuple[Path, Path]:
    """Write a small separable flow data set and its clients; returns their paths."""
    rng = np.random.default_rng(0)
    labels = rng.choice(["Benign", "DDoS"], rows)
    texts = [f"tcp {'http SF' if label == 'Benign' else '- S0'} packets={rng.integers(99)}" for label in labels]
    splits = np.array(["train"] * (rows * 6 // 10) + ["validation"] * (rows // 5))
    splits = np.append(splits, ["test"] * (rows - len(splits)))
    frame = pl.DataFrame(
        {
            "row_id": np.arange(rows),
            "text_id": np.arange(rows),
            "scenario": ["a"] * rows,
            "device": ["d"] * rows,
            "text": texts,
            "label": labels,
            "split": splits,
        }
    )
    frame.write_parquet(folder / "dataset.parquet")
    held = frame.filter(pl.col("split") != "test").select("row_id", "split")
    held = held.with_columns(client=(pl.col("row_id") % clients).cast(pl.Int32))
    held.select("row_id", "client", "split").write_parquet(folder / "clients.parquet")
    return folder / "dataset.parquet", folder / "clients.parquet"


def snapshot(folder: Path, name: str = "tiny-bert") -> Path:
    """Make a tiny model's snapshot below `folder`, once."""
    path = folder / name
    if not path.exists():
        fetch(REGISTRY.models[name], path)
    return path
