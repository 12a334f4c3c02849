"""GPU memory of a client's training step, predicted for the shapes of the models and set beside what was measured."""

import csv
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from fedbench.reporting.results import NOT_RUN, Estimate
from fedbench.spec import Experiment, LinkedTier, MemorySpec, Tier, TrainingSpec

if TYPE_CHECKING:
    from fedbench.models.memory import Footprint, Memory

MEASURED = Path("results/reference/vram.csv")
"""What `make bench-gpu` leaves, beside the configuration folder."""

GIB = 2**30
PARTS = {
    "weights": "weights",
    "constants": "constants",
    "adapters": "adapters",
    "gradients": "gradients",
    "optimiser": "optimizer",
    "activations": "activations",
    "workspace": "workspace",
    "total": "total",
}
_NOT_MEASURED = f"{NOT_RUN}: not in {MEASURED}; `make bench-gpu` on a machine with CUDA measures it"

Rows = Mapping[tuple[str, ...], Mapping[str, str]]


def table(experiment: Experiment, config: Path) -> pd.DataFrame:
    """Return a row a model, gradient checkpointing, length and batch: predicted parts, tiers that it fits, measurement.

    `attrs["findings"]` answers for each model and tier up to which batch a step fits.

    Args:
        config: the folder of models.yaml and tiers.yaml.

    Raises:
        FedbenchError: a model has no entry of known shape, or there is no formula for its type.
    """
    # These import torch and Flower, which no other table needs.
    from fedbench.experiment import read_registry
    from fedbench.models.counting import footprint
    from fedbench.runs import shapes

    spec, registry = experiment.report.memory, read_registry(config)
    measured = read(config.parent / MEASURED)
    tiers = {name: registry.tiers[name] for name in spec.tiers}
    rows, findings, ratios = [], [], []
    for model, shape in shapes(spec, registry).items():
        title = registry.models[model].title
        methods = [spec.training.model_copy(update={"gradient_checkpointing": on}) for on in (False, True)]
        counted = [footprint(shape, method) for method in methods]
        for counts, length, batch in product(counted, spec.lengths, spec.batches):
            memory = counts.memory(batch, length, _response(spec, length))
            seen = measured.get(key(model, counts.training, batch, length, _response(spec, length)))
            rows.append(
                {
                    "Model": title,
                    "Checkpointing": "yes" if counts.training.gradient_checkpointing else "no",
                    "Length": length,
                    "Batch": batch,
                    **{f"Predicted (GiB), {part}": _gib(getattr(memory, name)) for part, name in PARTS.items()},
                    **{
                        f"Fits (largest batch), {_named(tier, known)}": _fits(spec, counts, memory, known, length)
                        for tier, known in tiers.items()
                    },
                    **_measurement(seen),
                }
            )
            if seen and seen["peak_allocated_bytes"]:
                ratios.append(_on_device(memory, counts.training) / int(seen["peak_allocated_bytes"]))
        findings += [_finding(spec, title, tier, known, counted) for tier, known in tiers.items()]
    if ratios:
        findings.append(
            f"Predicted over measured (peak allocated): {min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rows."
        )
    frame = pd.DataFrame(rows)
    frame.attrs["findings"] = findings
    return frame


def read(path: Path) -> Rows:
    """Return the measured rows by `key`; none where nobody has measured."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {tuple(row[name] for name in KEY): row for row in csv.DictReader(file)}


KEY = (
    "model",
    "quantisation",
    "dtype",
    "adaptation",
    "lora_r",
    "lora_dropout",
    "optimizer",
    "gradient_checkpointing",
    "batch",
    "length",
    "response",
)
"""The columns of the measurements that say which training step it was."""


def key(model: str, training: TrainingSpec, batch: int, length: int, response: int) -> tuple[str, ...]:
    """Return what names a training step, in the order of `KEY`."""
    told = (
        model,
        training.quantisation,
        training.dtype,
        training.adaptation,
        training.lora.r,
        training.lora.dropout,
        training.optimizer,
        training.gradient_checkpointing,
        batch,
        length,
        response,
    )
    return tuple(str(value) for value in told)


def _measurement(seen: Mapping[str, str] | None) -> dict[str, Any]:
    if seen is None:
        return {"Measured (GiB), allocated": NOT_RUN, "Measured (GiB), reserved": NOT_RUN, "note": _NOT_MEASURED}
    where = f"{seen['device']}, {seen['date']}"
    if not seen["peak_allocated_bytes"]:
        cells: dict[str, Any] = dict.fromkeys(("allocated", "reserved"), seen["status"])
    else:
        cells = {part: _gib(int(seen[f"peak_{part}_bytes"])) for part in ("allocated", "reserved")}
    return {**{f"Measured (GiB), {part}": cell for part, cell in cells.items()}, "note": where}


def _on_device(memory: "Memory", training: TrainingSpec) -> int:
    """Return what torch's counters see of a prediction: paged memory is not theirs."""
    return memory.total - (memory.optimizer if training.optimizer == "paged-adamw-8bit" else 0)


def _fits(spec: MemorySpec, counts: "Footprint", memory: "Memory", tier: LinkedTier, length: int) -> str:
    room = _room(spec, tier)
    largest = counts.largest_batch(room, length, spec.response)
    return f"{'yes' if memory.total <= room else 'no'} ({largest or 'none'})"


def _finding(spec: MemorySpec, title: str, name: Tier, tier: LinkedTier, counted: list["Footprint"]) -> str:
    said = []
    for counts in counted:
        most = [counts.largest_batch(_room(spec, tier), length, spec.response) for length in spec.lengths]
        said.append(f"{' / '.join(str(batch) if batch else 'none' for batch in most)}")
    lengths = " / ".join(str(length) for length in spec.lengths)
    return (
        f"{title} on {_named(name, tier)}: largest batch at {lengths} tokens {said[0]}, with gradient checkpointing "
        f"{said[1]} (predicted)."
    )


def _room(spec: MemorySpec, tier: LinkedTier) -> float:
    return (tier.memory_gb - spec.reserve_gb) * 1e9


def _named(name: Tier, tier: LinkedTier) -> str:
    return f"{name} {tier.memory_gb:g} GB"


def _response(spec: MemorySpec, length: int) -> int:
    return round(spec.response * length)


def _gib(size: int) -> Estimate:
    return Estimate(size / GIB, digits=2)
