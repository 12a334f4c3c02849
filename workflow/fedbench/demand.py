"""What a run asks of the machine that it is given: tier, memory, GPU, time. No result depends on any of it.

The figures decide where a scheduler puts a job and when it ends it; they are estimates with room to spare. A later
attempt asks for more and moves to the next larger tier, since a scheduler does not say why it ended an attempt.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedbench.digest import code_digest
from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json
from fedbench.models import memory
from fedbench.spec import LinkedTier, RunSpec, Tier

LADDER: tuple[Tier, ...] = ("edge", "client", "gateway", "central")
"""The tiers that have a GPU, smallest first."""

FLOPS = 1e11
"""Floating-point operations a second of one unit of a tier's `compute`: half of what a core was seen to do."""

START, MARGIN = 20, 3
"""Minutes of a job beside its training; what an estimate is multiplied by."""

LIBRARIES = 1000
"""Megabytes of the libraries, resident."""

CONTEXT = 700
"""Megabytes of a CUDA context and of what torch's allocator holds beside tensors."""


@dataclass(frozen=True)
class Demand:
    """What one attempt at a run asks for.

    Attributes:
        mem_mb: main memory; None until the snapshot of the model is there.
        minutes: wall time; None as above.
        vram_mb: predicted GPU memory; 0 where no GPU is asked for, the shape of the model is not known yet, or its
            architecture is one that no formula covers.
        moved: why the tier is not that of the run, where it does not fit there.
        refusal: why the run is not to be tried at all; it then leaves a failure row.
    """

    tier: Tier
    gpus: int
    mem_mb: int | None
    minutes: int | None
    vram_mb: int = 0
    moved: str | None = None
    refusal: str | None = None


def of(
    run: RunSpec,
    snapshot: Path | None,
    rows: int,
    tiers: Mapping[str, LinkedTier],
    *,
    attempt: int = 1,
    attempts: int | None = None,
    offered: Sequence[Tier] = LADDER,
    most_gpus: int | None = None,
    predictions: Path | None = None,
) -> Demand:
    """Return what an attempt at a run asks for.

    Args:
        snapshot: folder of the run's base model, which need not exist yet; None for a classical baseline.
        rows: of the data set, all splits together.
        attempt: counted from 1; each asks for that many times the memory and time, one tier further up.
        attempts: how many may be made; the one after the last only says so. None: nobody counts.
        offered: the tiers that there are, smallest first.
        most_gpus: the most GPUs that a job gets; 0 turns GPUs off, and with them their memory's limit.
        predictions: folder that keeps predictions of GPU memory, since one takes an import of torch.
    """
    bytes_ = _weights(snapshot)
    gpus = 0 if most_gpus == 0 or run.model is None or run.tier not in LADDER else 1
    vram = vram_mb(run, snapshot, predictions) if gpus else 0
    tier, moved, refusal = _placed(run, vram, tiers, offered, attempt)
    if attempts is not None and attempt > attempts:
        refusal = f"given up after {attempts} attempts, none of which came to an end"
    if refusal:
        return Demand("local", 0, LIBRARIES, START, vram, None, refusal)
    if bytes_ is None:
        return Demand(tier, gpus, None, None, vram, moved)
    seconds = operations(run, rows, bytes_) / (FLOPS * (tiers[tier].compute if gpus else 1))
    return Demand(
        tier=tier,
        gpus=gpus,
        mem_mb=attempt * (LIBRARIES + 4 * bytes_ // 2**20),
        minutes=attempt * (START + round(MARGIN * seconds / 60)),
        vram_mb=vram,
        moved=moved,
    )


def vram_mb(run: RunSpec, snapshot: Path | None, predictions: Path | None = None) -> int:
    """Return the GPU memory that a run is predicted to need, in megabytes; 0 where it cannot be said (see `Demand`)."""
    config = _shape(run, snapshot)
    if config is None or config.get("model_type") not in memory.FORMULA:
        return 0
    asked = [config, run.training.model_dump(mode="json"), run.study, run.procedure == "zero-shot"]
    code = code_digest("models.memory", without=["models.snapshot"])
    key = hashlib.sha256(json.dumps([asked, code], sort_keys=True).encode()).hexdigest()[:16]
    kept = predictions / f"{key}.json" if predictions else None
    if kept and kept.is_file():
        return int(read_json(kept)["vram_mb"])
    predicted = _predict(run, config)
    if kept:
        write_json(kept, {"model": run.model.name if run.model else None, "vram_mb": predicted})
    return predicted


def _predict(run: RunSpec, config: Mapping[str, Any]) -> int:
    """Have the formula evaluated in a process of its own: torch would stay in the one that schedules, half a gigabyte.

    Raises:
        FedbenchError: it was not evaluated.
    """
    asked = {"config": config, "run": run.model_dump(mode="json")}
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    answer = subprocess.run(
        [sys.executable, "-m", "fedbench.demand"],
        input=json.dumps(asked),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        raise FedbenchError(f"the GPU memory of a run was not predicted: {answer.stderr.strip()}", where=run.label)
    return int(answer.stdout)


def _evaluate(config: Mapping[str, Any], run: RunSpec) -> int:
    task: Literal["classify", "instruct"] = "classify" if run.study == "gsfs" else "instruct"
    parts = memory.predict(config, run.training, task, run.training.batch_size, run.training.max_length)
    total = parts.weights + parts.constants + parts.adapters if run.procedure == "zero-shot" else parts.total
    return CONTEXT + round(total / 1e6)


def _shape(run: RunSpec, snapshot: Path | None) -> dict[str, Any] | None:
    """Return the configuration of a run's model: from its entry, or from its snapshot once that is there."""
    if run.model and run.model.weights.kind == "random":
        return run.model.weights.config
    file = snapshot / "config.json" if snapshot else None
    return dict(read_json(file)) if file and file.is_file() else None


def operations(run: RunSpec, rows: int, weights: int) -> float:
    """Return the floating-point operations of a run: 6 a parameter and token trained on, 2 a token read.

    An upper bound: every row counts as of full length, and parameters are half the bytes of the weights.
    """
    passes = float(run.training.epochs)
    if run.federation:
        passes *= run.federation.rounds * run.federation.clients_per_round / run.clients
    if run.procedure in ("zero-shot", "baseline"):
        passes = 0
    tokens = rows * run.training.max_length
    answers = 1 if run.scoring == "classify" else run.max_new_tokens
    return weights / 2 * tokens * (6 * passes + 2 * answers)


def _weights(snapshot: Path | None) -> int | None:
    """Return the bytes in a snapshot's folder: 0 where there is no model, None where it is not there yet."""
    if snapshot is None:
        return 0
    return sum(path.stat().st_size for path in snapshot.iterdir()) if snapshot.is_dir() else None


def _placed(
    run: RunSpec, vram: int, tiers: Mapping[str, LinkedTier], offered: Sequence[Tier], attempt: int
) -> tuple[Tier, str | None, str | None]:
    """Return the tier of an attempt, why it is another than the run's, and why it is none."""
    if run.tier not in LADDER or not offered:
        return run.tier, None, None
    first = LADDER.index(run.tier)
    # A tier that is not offered is served by the next larger one, the largest by itself.
    above = [tier for tier in offered if LADDER.index(tier) >= first] or [offered[-1]]
    room = {tier: round(1000 * tiers[tier].memory_gb) for tier in above}
    fitting = [tier for tier in above if vram <= room[tier]]
    needs = f"{run.label} needs {vram} MB of GPU memory"
    if not fitting:
        return above[-1], None, f"{needs}, the largest tier, {above[-1]}, has {room[above[-1]]} MB"
    small = [tier for tier in above if vram > room[tier]]
    moved = f"{needs}, {small[-1]} has {room[small[-1]]} MB: it goes to tier {fitting[0]}" if small else None
    return fitting[min(attempt, len(fitting)) - 1], moved, None


if __name__ == "__main__":
    told = json.load(sys.stdin)
    print(_evaluate(told["config"], RunSpec.model_validate(told["run"])))
