"""GPU memory and speed of QLoRA steps on models of published shape with random weights: `make bench-gpu`.

Writes results/reference/vram.csv and .md, which the table edge-fit-memory holds against its predictions. Needs a CUDA
device; without one it says so and leaves the files as they are.
"""

import csv
import gc
import io
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from fedbench.errors import FedbenchError
from fedbench.experiment import read_registry
from fedbench.files import write_text
from fedbench.models.counting import footprint
from fedbench.models.memory import GIB, Footprint
from fedbench.models.shapes import filled
from fedbench.procedures.common import peak_vram
from fedbench.provenance import describe
from fedbench.reporting.memory_table import KEY, MEASURED, key
from fedbench.runs import shapes
from fedbench.spec import MemorySpec, TrainingSpec
from fedbench.training.examples import IGNORED, Examples
from fedbench.training.loop import Trainer

OPTIMIZERS = ("adamw", "paged-adamw-8bit")
STEPS, SECONDS = 3, 420
"""Steps that are timed, after one that is not; seconds after which no further case is begun."""

PEAKS = {
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "A100": 312e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165e12,
}
"""Dense bf16 operations a second by the vendor's data sheets; the first name that the card's name holds counts."""

Row = dict[str, Any]


def sweep(
    configs: Mapping[str, Mapping[str, Any]], spec: MemorySpec, place: torch.device, seconds: float = SECONDS
) -> Iterator[Row]:
    """Yield one row a model, gradient checkpointing, optimiser, length and batch; paged AdamW for one size alone."""
    begun = time.perf_counter()
    middle = spec.batches[len(spec.batches) // 2], spec.lengths[len(spec.lengths) // 2]
    for (name, config), checkpointing in product(configs.items(), (False, True)):
        method = spec.training.model_copy(update={"gradient_checkpointing": checkpointing})
        loaded = filled(config, "instruct", method, place)
        methods = {name: method.model_copy(update={"optimizer": name}) for name in OPTIMIZERS}
        counted = {name: footprint(config, each) for name, each in methods.items()}
        sizes = [(OPTIMIZERS[0], batch, length) for length, batch in product(spec.lengths, spec.batches)]
        for optimizer, batch, length in [*sizes, (OPTIMIZERS[1], *middle)]:
            training = methods[optimizer].model_copy(update={"batch_size": batch, "max_length": length})
            response = round(spec.response * length)
            row: Row = dict(zip(KEY, key(name, training, batch, length, response), strict=True))
            if time.perf_counter() - begun > seconds:
                yield row | {"status": f"not run: {seconds:.0f} s were over"}
                continue
            counts = counted[optimizer]
            row["predicted_bytes"] = counts.memory(batch, length, response).total
            yield row | attempt(loaded, training, counts, response)
        del loaded
        _clear(place)


def attempt(loaded: Any, training: TrainingSpec, counts: Footprint, response: int) -> Row:
    """Return what a training step took; memory that runs out is a row as well."""
    place = loaded.device
    _clear(place)
    try:
        return measure(loaded, training, counts, response) | {"status": "ok"}
    except torch.OutOfMemoryError:
        return {"status": "out of memory"}
    except FedbenchError as fault:
        return {"status": f"not run: {fault}"}
    finally:
        loaded.model.zero_grad(set_to_none=True)
        _clear(place)


def measure(loaded: Any, training: TrainingSpec, counts: Footprint, response: int) -> Row:
    """Train one step and then `STEPS` more, timed, with the trainer of every run."""
    batch, length, place = training.batch_size, training.max_length, loaded.device
    examples = tokens(batch, length, response, loaded.model.config.vocab_size)
    trainer = Trainer(loaded, training)
    trainer.train(examples, 1, (0, 0))
    _wait(place)
    begun = time.perf_counter()
    progress = trainer.train(examples, STEPS, (0, 0), start=1)
    _wait(place)
    seconds = time.perf_counter() - begun
    peaks, rate = peak_vram(place), data_sheet(place)
    done = STEPS * counts.flops(batch, length, response) / seconds
    return {
        "peak_allocated_bytes": peaks["peak_vram_bytes"],
        "peak_reserved_bytes": peaks["peak_vram_reserved_bytes"],
        "tokens_per_second": progress.tokens / seconds,
        "operations_per_second": done,
        "peak_share": done / rate if rate else None,
        "adapter_bytes": sum(value.nbytes for value in trainer.arrays().values()),
    }


def tokens(batch: int, length: int, response: int, vocabulary: int) -> Examples:
    """Return random rows; from two on one is a token shorter, so that there is a mask, as in training."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(5, vocabulary, (batch, length), generator=generator).tolist()
    if batch > 1:
        rows[0] = rows[0][:-1]
    prompt = max(1, length - response)
    return Examples(rows, [[IGNORED] * prompt + row[prompt:] for row in rows])


def data_sheet(place: torch.device) -> float | None:
    """Return the card's peak of dense bf16 operations a second, None where it is not in the table."""
    if place.type != "cuda":
        return None
    card = torch.cuda.get_device_name(place)
    return next((rate for name, rate in PEAKS.items() if name in card), None)


def told(place: torch.device) -> Row:
    """Return where and how this is measured: the columns that every row repeats."""
    known = describe()
    properties = torch.cuda.get_device_properties(place) if place.type == "cuda" else None
    return {
        "device": properties.name if properties else known["host"]["processor"],
        "device_bytes": properties.total_memory if properties else None,
        "date": datetime.now(UTC).date().isoformat(),
        "cuda": torch.version.cuda,
        **{name: known["versions"][name] for name in ("python", "torch", "transformers", "peft", "bitsandbytes")},
        "commit": known["commit"],
        "command": shlex.join(["python", *sys.argv]),
    }


COLUMNS = (
    *KEY,
    "status",
    "predicted_bytes",
    "peak_allocated_bytes",
    "peak_reserved_bytes",
    "tokens_per_second",
    "operations_per_second",
    "peak_share",
    "adapter_bytes",
)


def write(rows: list[Row], facts: Row, path: Path) -> None:
    """Write the rows as `path` (CSV) and as a table beside it (.md)."""
    text = io.StringIO()
    table = csv.DictWriter(text, [*COLUMNS, *facts], lineterminator="\n", restval="")
    table.writeheader()
    table.writerows(row | facts for row in rows)
    write_text(path, text.getvalue())
    shown = [
        [
            row["model"],
            row["optimizer"],
            "yes" if row["gradient_checkpointing"] == "True" else "no",
            row["length"],
            row["batch"],
            _number(row.get("predicted_bytes"), GIB),
            _number(row.get("peak_allocated_bytes"), GIB),
            _number(row.get("peak_reserved_bytes"), GIB),
            _number(row.get("tokens_per_second"), 1, 0),
            _number(row.get("peak_share"), 0.01, 1),
            _number(row.get("adapter_bytes"), 2**20, 1),
            row["status"],
        ]
        for row in rows
    ]
    heads = ["model", "optimiser", "checkpointing", "length", "batch", "predicted GiB", "allocated GiB"]
    heads += ["reserved GiB", "tokens/s", "% of peak", "adapter MiB", "status"]
    listed = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    note = (
        "Peak allocated and reserved memory of torch's allocator over a training step (without CUDA's context; paged "
        "optimiser state is not in it). % of peak: operations that a step needs, recomputation not counted, over the "
        "dense bf16 rate of the card's data sheet. Random weights of the published shape."
    )
    write_text(path.with_suffix(".md"), f"{note}\n\n{listed}\n\n{tabulate(shown, heads, 'github')}\n")


def _number(value: float | None, unit: float, digits: int = 2) -> str:
    return "" if value is None else f"{value / unit:.{digits}f}"


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def _clear(place: torch.device) -> None:
    gc.collect()
    if place.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(place)


def main() -> None:
    """Measure every case and write the files."""
    if not torch.cuda.is_available():
        print(f"No CUDA device here: {MEASURED} is left as it is; what it does not hold reads 'not run' in the table.")
        return
    place, spec = torch.device("cuda"), MemorySpec()
    rows = []
    for row in sweep(shapes(spec, read_registry(Path("config"))), spec, place):
        rows.append(row)
        print(*(row.get(name, "") for name in COLUMNS), sep=" ", flush=True)
    write(rows, told(place), MEASURED)
    print(f"Written: {MEASURED}")


if __name__ == "__main__":
    main()
