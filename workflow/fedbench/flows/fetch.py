"""The logs of an experiment: made by the synthetic generator, or found in a folder; each with its checksum."""

from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError
from fedbench.files import sha256, write_json
from fedbench.flows.synthetic import write_logs
from fedbench.spec import FlowsSpec, MirrorSource, SyntheticSource

USUAL_NAMES = ("**/*conn.log.labeled*", "**/conn.log.calibration*")
_REMEDY = (
    "Get IoT-23 (Garcia, Parmisano and Erquiaga, 2020, doi:10.5281/zenodo.4743746, CC BY 4.0): unpack its scenario "
    "folders, each with a conn.log.labeled, there, or set gsfs.flows.source.path to the folder that has them; or use "
    "source: {kind: synthetic}."
)


def fetch(spec: FlowsSpec, folder: Path, sources: Path) -> None:
    """Provide the logs of `spec.source` and list them in `sources` (JSON).

    Each entry has scenario, path, sha256, bytes and source (synthetic or mirror). Synthetic logs are written below
    `folder`; mirrored ones stay where they are. Original logs come before derived samples of them, since a uid is
    kept where it is read first.

    Raises:
        FedbenchError: the mirror's folder is absent, has no log, or a log is empty.
    """
    match spec.source:
        case SyntheticSource() as source:
            logs = write_logs(folder, source.rows, source.seed)
        case MirrorSource() as source:
            logs = _found(source)
    entries: list[dict[str, Any]] = [
        {
            "scenario": scenario,
            "path": str(path),
            "sha256": sha256(path),
            "bytes": path.stat().st_size,
            "source": spec.source.kind,
        }
        for scenario, path in logs
    ]
    write_json(sources, entries)


def _found(source: MirrorSource) -> list[tuple[str, Path]]:
    root = Path(source.path)
    if not root.is_dir():
        raise FedbenchError("no such folder of IoT-23 logs", where=root, remedy=_REMEDY)
    logs: dict[Path, str] = {}
    for pattern in source.files or USUAL_NAMES:
        for path in sorted(root.glob(pattern)):
            if path.is_file():
                logs.setdefault(path, scenario_of(path, root))
    if not logs:
        tried = ", ".join(source.files or USUAL_NAMES)
        raise FedbenchError(f"no log that matches {tried}", where=root, remedy=_REMEDY)
    for path in logs:
        if not path.stat().st_size:
            raise FedbenchError("empty log: no byte in it", where=path, remedy="Fetch the file again.")
    return [(scenario, path) for path, scenario in logs.items()]


def scenario_of(path: Path, root: Path) -> str:
    """Name the scenario of a log: the folder above it named CTU-..., else the folder it lies in, else its own name."""
    folders = path.relative_to(root).parts[:-1]
    captures = [name for name in folders if name.startswith("CTU-")]
    return captures[-1] if captures else folders[-1] if folders else path.name
