"""The runs of an experiment that ended without a result, for `make retry`: each on stderr, the files to make again on
stdout.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.experiment import load, read_registry, read_yaml
from fedbench.files import read_json
from fedbench.models import unavailable
from fedbench.runs import runs
from fedbench.spec import Experiment, RunSpec

FAILED = ("failed", "unavailable")


def failures(experiment: Experiment, table: dict[str, RunSpec]) -> Iterator[tuple[RunSpec, dict[str, Any], list[Path]]]:
    """Yield each failed run, its manifest, and what to make again: its manifest, and a base model that was not there.

    A run that has not run, or that the experiment no longer has, is none of them.
    """
    results = Path(experiment.results)
    for folder, run in table.items():
        path = results / experiment.experiment / "runs" / folder / "manifest.json"
        manifest = read_json(path) if path.is_file() else {}
        if manifest.get("status") in FAILED:
            models = [model for model in (run.model, run.teacher and run.teacher.model) if model]
            snapshots = [results / "models" / f"{model.name}-{model.weights.digest()}" for model in models]
            yield run, manifest, [path, *(folder for folder in snapshots if unavailable.reason(folder))]


def main() -> None:
    """Print the failures of an experiment file."""
    parser = argparse.ArgumentParser(prog="python -m fedbench.failures", description=__doc__)
    parser.add_argument("experiment", type=Path, help="an experiment file (YAML)")
    parser.add_argument("--config", type=Path, default=Path("config"), help="folder of models.yaml and the like")
    asked = parser.parse_args()
    try:
        experiment = load(read_yaml(asked.experiment), folder=asked.config, origin=str(asked.experiment))
        found = list(failures(experiment, runs(experiment, read_registry(asked.config), where=asked.experiment)))
    except FedbenchError as error:
        sys.exit(f"fedbench: {error}")
    for run, manifest, _ in found:
        print(f"{run.label}: {manifest['status']}: {manifest['message']}", file=sys.stderr)
    if not found:
        print(f"{experiment.experiment}: no run has failed", file=sys.stderr)
    print(*dict.fromkeys(path for _, _, paths in found for path in paths))


if __name__ == "__main__":
    main()
