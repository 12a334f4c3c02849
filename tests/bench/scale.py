"""An experiment of 200, 1,000 and 2,000 runs: planning, collation, tables, page and report; seconds, memory and sizes.

Nothing is trained: the run folders are made by hand, in the pipeline's own formats, around four sets of predictions.
What is measured is the pipeline itself. Writes results/bench/scale.md and scale.json.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "results"
sys.path[:0] = [str(REPOSITORY / "workflow"), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "unit")]

from checkout import Checkout  # noqa: E402

from fedbench.files import write_json, write_text  # noqa: E402
from fedbench.provenance import describe  # noqa: E402

SIZES = (200, 1000, 2000)
STRATEGIES, PARTITIONS = 24, ("dirichlet", "iid")
ROWS, CLIENTS, SHAPES = 400, 5, 4
GOALS: dict[str, tuple[str, float]] = {
    "dry run, nothing done (s)": ("<", 10),
    "dry run, all done (s)": ("<", 10),
    "collation (s)": ("<", 30),
    "collation, peak memory (MiB)": ("<", 1024),
    "report (MB)": ("<", 20),
}
TINY = {
    "title": "tiny BERT (random weights)",
    "tier": "local",
    "weights": {
        "kind": "random",
        "config": {
            "model_type": "bert",
            "vocab_size": 300,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 128,
        },
    },
}

Figures = dict[str, float]


# --- an experiment of a given size ---------------------------------------------------------------------------------


def prepare(folder: Path, size: int) -> Checkout:
    """Return a checkout with an experiment `scale` of `size` runs: all strategies, two partitions, many seeds."""
    folder.mkdir(parents=True)
    checkout = Checkout(folder)
    models = yaml.safe_load((folder / "config/models.yaml").read_text())
    write_text(folder / "config/models.yaml", yaml.safe_dump(models | {"scale-bert": TINY}, sort_keys=False))
    known = yaml.safe_load((folder / "config/strategies.yaml").read_text())
    usable = [
        name
        for name, entry in known.items()
        if not name.startswith("edge-fit")
        and entry["kind"] != "hierarchical"
        and not entry.keys() & {"distillation", "secure"}
    ]
    # A seed is a run of each strategy and partition, one of the model alone, and one of a classical baseline.
    seeds = list(range(size // (STRATEGIES * len(PARTITIONS) + 2)))
    experiment = {
        "experiment": "scale",
        "title": f"Scale: {size} runs",
        "gsfs": {
            "flows": {
                "source": {"kind": "synthetic", "rows": 1000},
                "sample": 500,
                "clients": {"count": CLIENTS, "minimum": 5},
            },
            "models": ["scale-bert"],
            "federated_model": "scale-bert",
            "strategies": usable[:STRATEGIES],
            "partitions": list(PARTITIONS),
            "seeds": seeds,
            "central_seeds": seeds,
            "federation": {"clients_per_round": CLIENTS},
        },
    }
    write_text(folder / "config/experiments/scale.yaml", yaml.safe_dump(experiment, sort_keys=False))
    return checkout


def make_runs(folder: Path) -> None:
    """Fill the run folders and score parts of the experiment in `folder`: a few are made, the others copied."""
    import fake_results as fake
    import numpy as np
    import pyarrow.parquet as pq

    from fedbench.evaluation.score import SCHEMA, score

    rng = np.random.default_rng(0)
    results = folder / "results/scale"
    truth = list(rng.choice(fake.CLASSES, ROWS, p=[0.5, 0.3, 0.15, 0.05]))
    patterns: dict[tuple[bool, int], tuple[Path, Any]] = {}
    (results / "scores").mkdir(parents=True, exist_ok=True)
    for name, run in table(folder).items():
        federated = run.procedure == "federated"
        key = (federated, run.seed % SHAPES)
        made = results / "runs" / name
        if key not in patterns:
            answers = [
                [y if rng.random() < 0.85 else str(rng.choice(fake.CLASSES)) for y in truth] for _ in range(CLIENTS + 1)
            ]
            rows = fake.predictions(truth, answers[0])
            for client in range(CLIENTS if federated else 0):
                rows += fake.predictions(truth, answers[client + 1], scope="client", client=client)
            history = fake._rounds(rng, False) if federated else fake._curve(rng, 1.4)
            clock = {"central_seconds": 40.0, "client_seconds": 50.0, "modelled": True}
            cost = fake.usage(bytes_up=4_000_000, bytes_down=4_000_000, rounds=10, versions=9, virtual=clock)
            fake.write_run(results / "runs", run, rows, history=history, cost=cost if federated else None)
            part = results / "scores" / f"{name}.parquet"
            score(made, part, 100)
            patterns[key] = made, pq.read_table(part)
            continue
        pattern, scores = patterns[key]
        shutil.copytree(pattern, made)
        manifest = json.loads((pattern / "manifest.json").read_text())
        (made / "manifest.json").write_text(json.dumps(manifest | {"run": run.model_dump(mode="json")}, indent=2))
        own = {"run": name, "strategy": run.strategy.name if run.strategy else "", "seed": run.seed}
        own |= {"procedure": run.procedure, "model": run.model.name if run.model else run.baseline}
        for column, value in own.items():
            place = scores.schema.get_field_index(column)
            scores = scores.set_column(place, SCHEMA.field(column), [[value] * len(scores)])
        pq.write_table(scores, results / "scores" / f"{name}.parquet")


def table(folder: Path) -> dict[str, Any]:
    """Return the run table of the experiment in `folder`."""
    return read(folder)[1]


def read(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the experiment in `folder` and its run table."""
    from fedbench.experiment import load, read_registry, read_yaml
    from fedbench.runs import runs

    config = folder / "config"
    experiment = load(read_yaml(config / "experiments/scale.yaml"), folder=config)
    return experiment, runs(experiment, read_registry(config))


# --- what is measured ----------------------------------------------------------------------------------------------


def collate(folder: Path) -> None:
    """What rule `collate` does."""
    from fedbench.evaluation import histories
    from fedbench.evaluation.run_table import write_runs
    from fedbench.evaluation.score import collate

    results, names = folder / "results/scale", list(table(folder))
    collate([results / "scores" / f"{name}.parquet" for name in names], results / "scores/scores.parquet")
    folders = [results / "runs" / name for name in names]
    write_runs(folders, results / "scores/runs.parquet")
    histories.collate(folders, results / "scores/histories.parquet")


def manifest(folder: Path) -> None:
    """What rule `provenance` does."""
    from fedbench.manifest import describe, resolved

    experiment, _ = read(folder)
    results = folder / "results/scale"
    write_text(results / "config.resolved.yaml", resolved(experiment))
    described = describe(experiment, results / "scores/runs.parquet", folder / "envs/cpu.txt", results / "logs")
    write_json(results / "manifest.json", described)


def tables(folder: Path) -> None:
    """All tables of the experiment."""
    from fedbench.reporting.build import tables

    tables(read(folder)[0], folder / "results/scale", folder / "config/published")


def figures(folder: Path) -> None:
    """All figures of the experiment."""
    from fedbench.reporting.build import figures

    figures(read(folder)[0], folder / "results/scale", folder / "config/published")


def page(folder: Path) -> None:
    """What rule `summary` does."""
    from fedbench.reporting.build import page

    results = folder / "results/scale"
    described = json.loads((results / "manifest.json").read_text())
    page(read(folder)[0], results, (results / "config.resolved.yaml").read_text(), described)


STEPS: dict[str, Callable[[Path], None]] = {
    "runs": make_runs,
    "collation": collate,
    "manifest": manifest,
    "tables": tables,
    "figures": figures,
    "page": page,
}


def timed(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Run a command in `folder`; returns wall and processor seconds, and its peak resident memory in MiB."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FEDBENCH_")}
    with tempfile.TemporaryFile() as said:
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed:\n{said.read().decode(errors='replace')[-3000:]}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def snakemake(folder: Path, *arguments: str) -> tuple[float, float, float]:
    """Call the engine in a checkout, as a user would."""
    profile = ["--workflow-profile", "workflow/profiles/default", "--configfile", "config/experiments/scale.yaml"]
    return timed([sys.executable, "-m", "snakemake", *arguments, *profile], folder)


def measure(size: int) -> Iterator[tuple[str, float]]:
    """Yield (figure, value) of an experiment of `size` runs."""

    def step(name: str) -> tuple[float, float, float]:
        return timed([sys.executable, __file__, name, str(folder)], folder)

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "checkout"
        prepare(folder, size)
        found = len(table(folder))
        if found != size:
            raise SystemExit(f"the experiment has {found} runs, not {size}")
        wall, processor, peak = snakemake(folder, "--dry-run")
        yield "dry run, nothing done (s)", wall
        yield "dry run, nothing done, processor (s)", processor
        yield "dry run, peak memory (MiB)", peak
        snakemake(folder, "data", "models")
        step("runs")
        for name in ("collation", "manifest", "tables", "figures", "page"):
            wall, processor, peak = step(name)
            yield f"{name} (s)", wall
            yield f"{name}, processor (s)", processor
            yield f"{name}, peak memory (MiB)", peak
        results = folder / "results/scale"
        yield "page (MB)", (results / "summary.html").stat().st_size / 1e6
        snakemake(folder, "--touch", "--forceall")  # leaves the engine's records of every job, as a real run does
        wall, processor, _ = snakemake(folder, "--dry-run")
        yield "dry run, all done (s)", wall
        yield "dry run, all done, processor (s)", processor
        wall, processor, peak = snakemake(folder, "--report", "report.html")
        yield "report (s)", wall
        yield "report, peak memory (MiB)", peak
        yield "report (MB)", (folder / "report.html").stat().st_size / 1e6


def main(sizes: tuple[int, ...]) -> None:
    """Measure every size and write the table."""
    measured: dict[int, Figures] = {}
    for size in sizes:
        measured[size] = {}
        for name, value in measure(size):
            measured[size][name] = value
            print(f"{size:>5} runs  {name}: {value:.1f}", flush=True)
    first, last = measured[sizes[0]], measured[sizes[-1]]
    rows = [
        [
            name,
            *(measured[size][name] for size in sizes),
            f"{(last[name] / first[name]) / (sizes[-1] / sizes[0]):.2f}" if first[name] else "",
            " ".join(map(str, GOALS[name])) if name in GOALS else "",
        ]
        for name in last
    ]
    shown = tabulate(
        rows,
        headers=["figure", *(f"{size:,} runs" for size in sizes), "growth / runs' growth", "goal at 2,000"],
        tablefmt="github",
        floatfmt=".1f",
    )
    host = describe()["host"]
    note = (
        f"Measured on: {host['processor']}, {host['cores']} cores, load {os.getloadavg()[0]:.1f} at the end. Growth "
        "of 1 is linear, less is a fixed cost. Processor seconds do not count what other work on the machine took."
    )
    write_text(RESULTS / "bench" / "scale.md", f"{shown}\n\n{note}\n")
    write_json(RESULTS / "bench" / "scale.json", {"sizes": {str(k): v for k, v in measured.items()}, **describe()})
    print(shown)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        STEPS[sys.argv[1]](Path(sys.argv[2]))
    else:
        main(tuple(map(int, sys.argv[1].split(","))) if len(sys.argv) == 2 else SIZES)
