"""A finished run, found by folder or by name, and its model loaded for use rather than for training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import ValidationError

from fedbench.errors import FedbenchError
from fedbench.files import read_json
from fedbench.models import unavailable
from fedbench.spec import RunSpec, Study, TrainingSpec

if TYPE_CHECKING:
    from fedbench.training.loop import Trainer

Arrays = dict[str, np.ndarray]
_AGAIN = "Delete the run's folder and make the experiment again."
_OF_CLIENT = "client."  # local-only runs keep a model a client: client.<i>.<parameter>
_USE = {"gsfs": ("classifies flows", "fedbench classify"), "edge-fit": ("answers instructions", "fedbench chat")}


@dataclass(frozen=True)
class Finished:
    """A run that succeeded.

    Attributes:
        manifest, usage: the run's manifest.json and usage.json.
    """

    folder: Path
    run: RunSpec
    manifest: dict[str, Any]
    usage: dict[str, Any]

    def require(self, study: Study) -> None:
        """Refuse a run of the other study.

        Raises:
            FedbenchError: names what the run can do instead.
        """
        if self.run.study != study:
            does, command = _USE[self.run.study]
            raise FedbenchError(f"this run {does}", where=self.folder, remedy=f"Use `{command}` on it.")

    def labels(self) -> list[str]:
        """Return the classes of a classifying run in the order of its outputs.

        Raises:
            FedbenchError: the run does not record them.
        """
        found: list[str] | None = self.usage.get("labels")
        if not found:
            raise FedbenchError(
                "the run does not record its classes; it was made by an earlier version",
                where=self.folder / "usage.json",
                remedy=_AGAIN,
            )
        return found

    def template(self) -> Literal["edge", "cloud"]:
        """Return how the run wrote its flows as text; template `budget` was decided in the run.

        Raises:
            FedbenchError: the run does not record what was decided.
        """
        template = self.usage.get("template", self.run.template)
        if template not in ("edge", "cloud"):
            raise FedbenchError(
                "the run does not record the template it chose; it was made by an earlier version",
                where=self.folder / "usage.json",
                remedy=_AGAIN,
            )
        return "edge" if template == "edge" else "cloud"

    def arrays(self, client: int | None = None) -> Arrays:
        """Return what the run trained; of a local-only run, the model of `client`.

        Raises:
            FedbenchError: the run keeps no model, or `client` does not name one.
        """
        from safetensors import safe_open

        run, path = self.run, self.folder / "adapter.safetensors"
        local = run.procedure == "local-only"
        if run.model is None:
            raise FedbenchError(
                f"{run.baseline} is a classical baseline, of which no model is kept",
                where=self.folder,
                remedy="Choose a run of a language model.",
            )
        if local and (client is None or not 0 <= client < run.clients):
            which = "which one is not said" if client is None else f"there is no client {client}"
            raise FedbenchError(
                f"a local-only run has a model for each of its {run.clients} clients, and {which}",
                where=self.folder,
                remedy=f"Choose one with --client 0 to --client {run.clients - 1}.",
            )
        if not local and client is not None:
            raise FedbenchError(
                f"a {run.procedure} run has one model for all", where=self.folder, remedy="Leave out --client."
            )
        prefix = f"{_OF_CLIENT}{client}." if local else ""
        with safe_open(path, framework="numpy") as stored:
            names = [name for name in stored.keys() if name.startswith(prefix)]  # noqa: SIM118 - it is no dictionary
            arrays = {name.removeprefix(prefix): stored.get_tensor(name) for name in names}
        if not arrays and run.procedure != "zero-shot":
            raise FedbenchError("no model in it", where=path, remedy="Delete the run's folder and run it again.")
        return arrays

    def snapshot(self, models: Path | None = None) -> Path:
        """Return the folder of the base model, in `models` or else where the run's experiment keeps it.

        Raises:
            FedbenchError: it is not there; says how to make it.
        """
        assert self.run.model is not None
        folder = models or self.folder.resolve().parents[2] / "models"
        path = folder / f"{self.run.model.name}-{self.run.model.weights.digest()}"
        if not (path / "config.json").is_file() and unavailable.reason(path) is None:
            experiment = self.folder.resolve().parents[1].name
            raise FedbenchError(
                f"the base model {self.run.model.title} is not there",
                where=path,
                remedy="Name the folder that holds it with --models, or make it: .venv/bin/snakemake "
                "--workflow-profile workflow/profiles/default "
                f"--configfile config/experiments/{experiment}.yaml models",
            )
        unavailable.require(path)
        return path

    def trainer(self, client: int | None = None, models: Path | None = None, **training: Any) -> "Trainer":
        """Load the model with what the run trained, to be used.

        Args:
            client: whose model of a local-only run.
            models: folder of the base models.
            training: keys of the run's training to change, e.g. `quantisation` and `dtype`.
        """
        arrays, snapshot = self.arrays(client), self.snapshot(models)
        from fedbench.federation.strategies import frozen
        from fedbench.models.loading import load
        from fedbench.training.loop import Trainer
        from fedbench.using.unpacked import unpack

        run = self.run
        labels = self.labels() if run.study == "gsfs" else None
        spec = run.training.model_copy(update={**_NO_TRAINING, **training})
        loaded = load(snapshot, "classify" if run.study == "gsfs" else "instruct", spec, labels, run.seed)
        trainer = Trainer(loaded, spec, frozen(run.strategy))
        if arrays:
            trainer.load(arrays)
        loaded.model.eval()
        if spec.quantisation == "nf4":
            unpack(loaded.model, loaded.compute)
        return trainer


_NO_TRAINING: dict[str, Any] = {"optimizer": TrainingSpec().optimizer, "gradient_checkpointing": False}
"""Keys that only matter to training; some need a device that using the model does not."""


def find(name: str, results: Path = Path("results")) -> Finished:
    """Return the run that `name` names: its folder, or `<experiment>/<label>` below `results`.

    Raises:
        FedbenchError: there is none, several have this label, or it did not succeed.
    """
    folder = _folder(name, results)
    manifest = read_json(folder / "manifest.json")
    try:
        run = RunSpec.model_validate(manifest["run"])
    except (ValidationError, KeyError) as error:
        raise FedbenchError(
            "not the manifest of a run, or that of another version",
            where=folder / "manifest.json",
            remedy=_AGAIN,
        ) from error
    if manifest["status"] != "ok":
        raise FedbenchError(
            f"the run did not succeed ({manifest['status']}): {manifest['message']}",
            where=folder,
            remedy="Mend what it says, delete the folder and make the experiment again.",
        )
    return Finished(folder, run, manifest, read_json(folder / "usage.json"))


def _folder(name: str, results: Path) -> Path:
    path = Path(name)
    if (path / "manifest.json").is_file():
        return path
    if path.is_dir():
        raise FedbenchError(
            "no manifest.json there: not a finished run", where=path, remedy="Name a folder of results/*/runs."
        )
    experiment, _, label = name.strip("/").partition("/")
    runs = results / experiment / "runs"
    there = sorted(one.parent for one in runs.glob("*/manifest.json"))
    chosen = [one for one in there if label in (one.name, _label(one))]
    if len(chosen) == 1:
        return chosen[0]
    if len(chosen) > 1:
        raise FedbenchError(
            f"{len(chosen)} runs have the label {label!r}",
            where=runs,
            remedy=f"Use one of: {', '.join(f'{experiment}/{one.name}' for one in chosen)}.",
        )
    if there:
        remedy = f"Use one of: {', '.join(f'{experiment}/{_label(one)}' for one in there)}."
    else:
        finished = sorted({one.parents[2].name for one in results.glob("*/runs/*/manifest.json")})
        remedy = f"Give a run's folder, or <experiment>/<label>; experiments with finished runs below {results}: "
        remedy += f"{', '.join(finished) or 'none'}."
    raise FedbenchError(f"no finished run {name!r}", where=runs if label else results, remedy=remedy)


def _label(folder: Path) -> str:
    """Return the label of a run from its folder's name, `<label>-<hash8>`."""
    return folder.name.rpartition("-")[0]
