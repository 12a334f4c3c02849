"""Where the instruction records come from: made by the project, found in a folder, or downloaded from the hub."""

import json
import os
from pathlib import Path

from fedbench.download import download
from fedbench.errors import FedbenchError
from fedbench.files import sha256, write_json, write_text
from fedbench.instructions import records, synthetic
from fedbench.spec import InstructionsSpec, MirrorSource, OfficialInstructions

FILE_NAME = "databricks-dolly-15k.jsonl"
SYNTHETIC_NAME = "synthetic-dolly.jsonl"
HUB = "https://huggingface.co"
_REMEDY = (
    f"Download {FILE_NAME} (Databricks Dolly 15k, CC BY-SA 3.0, data set databricks/databricks-dolly-15k on the "
    "Hugging Face hub) into that folder, or set the source's `path` and `files`, or use `kind: official`, which "
    "downloads it, or `kind: synthetic`."
)


def fetch(
    spec: InstructionsSpec,
    folder: Path,
    sources: Path,
    *,
    downloads: Path = Path("results/downloads"),
    checksums: Path | None = None,
    hub: str | None = None,
) -> None:
    """Make, find or download the records and list them in `sources` (path, sha256, bytes).

    Args:
        spec: its `source` says where from.
        folder: receives synthetic records; a mirror's files stay where they lie.
        sources: JSON list that `filtering.filter_iot` reads.
        downloads: receives an official file, dolly/<dataset>/<revision>/<file>; what is there is not fetched again.
        checksums: YAML file of address -> SHA-256 (see `fedbench.download`).
        hub: address of the hub; HF_ENDPOINT in the environment by default, as for the hub's own client.

    Raises:
        FedbenchError: the mirror's folder or file is missing or ambiguous (says how to get the data), a line of it is
            not a record (names file and line), or the download failed.
    """
    source = spec.source
    if isinstance(source, MirrorSource):
        paths = _find(Path(source.path), source.files)
        for path in paths:
            records.read(path)
    elif isinstance(source, OfficialInstructions):
        paths = [downloads / "dolly" / source.dataset / source.revision / source.file]
        host = (hub or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        address = f"{host}/datasets/{source.dataset}/resolve/{source.revision}/{source.file}"
        download(address, paths[0], checksums=checksums, look=records.read)
        records.read(paths[0])
    else:
        paths = [folder / SYNTHETIC_NAME]
        lines = (json.dumps(record) + "\n" for record in synthetic.generate(source.rows, source.seed))
        write_text(paths[0], "".join(lines))
    write_json(
        sources,
        [
            {
                "scenario": "dolly",
                "path": str(path),
                "sha256": sha256(path),
                "bytes": path.stat().st_size,
                "source": source.kind,
            }
            for path in paths
        ],
    )


def _find(folder: Path, patterns: list[str]) -> list[Path]:
    if not folder.is_dir():
        raise FedbenchError("the folder of the instruction data does not exist", where=folder, remedy=_REMEDY)
    found: list[Path] = []
    for pattern in patterns:
        matches = sorted(path for path in folder.glob(pattern) if path.is_file())
        if not matches:
            raise FedbenchError(f"no file matches {pattern!r}", where=folder, remedy=_REMEDY)
        found += [path for path in matches if path not in found]
    if patterns:
        return found
    found = sorted(path for path in folder.rglob(FILE_NAME) if path.is_file())
    if not found:
        raise FedbenchError(f"{FILE_NAME} not found in this folder", where=folder, remedy=_REMEDY)
    if len(found) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found)
        raise FedbenchError(f"more than one {FILE_NAME}: {names}", where=folder, remedy="Name one under `files`.")
    return found
