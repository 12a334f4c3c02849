"""The logs of an experiment: made, found in a folder, or downloaded from their publisher; each with its checksum."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fedbench.download import download
from fedbench.errors import FedbenchError
from fedbench.files import sha256, write_json
from fedbench.flows.synthetic import write_logs
from fedbench.spec import FlowsSpec, MirrorSource, OfficialFlows, SyntheticSource

USUAL_NAMES = ("**/*conn.log.labeled*", "**/conn.log.calibration*")
_REMEDY = (
    "Get IoT-23 (Garcia, Parmisano and Erquiaga, 2020, doi:10.5281/zenodo.4743746, CC BY 4.0): unpack its scenario "
    "folders, each with a conn.log.labeled, there, or set gsfs.flows.source.path to the folder that has them; or use "
    "source: {kind: official}, which downloads it, or {kind: synthetic}."
)


def fetch(
    spec: FlowsSpec,
    folder: Path,
    sources: Path,
    *,
    addresses: Mapping[str, str] | None = None,
    downloads: Path = Path("results/downloads"),
    checksums: Path | None = None,
) -> None:
    """Provide the logs of `spec.source` and list them in `sources` (JSON).

    Each entry has scenario, path, sha256, bytes and source (synthetic, mirror or official). Synthetic logs are written
    below `folder`; mirrored ones stay where they are. Original logs come before derived samples of them, since a uid
    is kept where it is read first.

    Args:
        spec: its `source` says where from.
        folder: receives synthetic logs.
        sources: what the next stage reads.
        addresses: of the captures of an official source, by name, in reading order.
        downloads: receives official logs, iot23/<capture>/conn.log.labeled; those that are there are not fetched again.
        checksums: YAML file of address -> SHA-256 (see `fedbench.download`).

    Raises:
        FedbenchError: the mirror's folder is absent, has no log, or a log is empty; a download failed, or what came
            does not begin as a published log.
    """
    sums: dict[Path, str] = {}
    match spec.source:
        case SyntheticSource() as source:
            logs = write_logs(folder, source.rows, source.seed)
        case MirrorSource() as source:
            logs = _found(source)
        case OfficialFlows():
            logs = [(name, downloads / "iot23" / name / "conn.log.labeled") for name in addresses or {}]
            for name, path in logs:
                sums[path] = download((addresses or {})[name], path, checksums=checksums, look=_begins_as_log)
            _check_filled([path for _, path in logs])
    entries: list[dict[str, Any]] = [
        {
            "scenario": scenario,
            "path": str(path),
            "sha256": sums.get(path) or sha256(path),
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
    _check_filled(logs)
    return [(scenario, path) for path, scenario in logs.items()]


def _begins_as_log(path: Path) -> None:
    # Not by the parser: an edit of it would fetch again.
    with path.open("rb") as stream:
        head = stream.read(200)
    if not head:
        raise FedbenchError("empty log: no byte in it", where=path)
    if not head.startswith(b"#separator"):
        raise FedbenchError(f"it begins with {head[:40]!r}, a published log with '#separator'", where=path)


def _check_filled(logs: Iterable[Path]) -> None:
    for path in logs:
        if not path.stat().st_size:
            raise FedbenchError("empty log: no byte in it", where=path, remedy="Fetch the file again.")


def scenario_of(path: Path, root: Path) -> str:
    """Name the scenario of a log: the folder above it named CTU-..., else the folder it lies in, else its own name."""
    folders = path.relative_to(root).parts[:-1]
    captures = [name for name in folders if name.startswith("CTU-")]
    return captures[-1] if captures else folders[-1] if folders else path.name
