"""Files that appear whole or not at all, and their checksums."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedbench.errors import FedbenchError


@contextmanager
def scratch(folder: Path, prefix: str) -> Iterator[Path]:
    """Yield a new folder `<folder>/<prefix><random>` of mode 0700 and remove it at the end, however that comes.

    Unlike `tempfile`, it is named before it is made, so that a signal between the two leaves nothing behind.
    """
    made = folder / f"{prefix}{secrets.token_hex(8)}"
    try:
        made.mkdir(mode=0o700)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffixes) that is renamed to it on success and removed otherwise."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch(target.parent, f".{target.name}.") as folder:
        partial = folder / target.name
        yield partial
        os.replace(partial, target)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        FedbenchError: the file is not JSON; names file, line and column.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise FedbenchError(
            f"not valid JSON: {error.msg}",
            where=f"{path}:{error.lineno}:{error.colno}",
            remedy="Delete the file and run the same command again; it will be rebuilt.",
        ) from error


def read_parquet(path: str | Path) -> Any:
    """Read a Parquet file as a pandas frame.

    Raises:
        FedbenchError: the file is damaged.
    """
    import pandas as pd  # not everything that writes files reads tables
    from pyarrow import ArrowInvalid

    try:
        return pd.read_parquet(path)
    except (ArrowInvalid, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise FedbenchError(
            f"not a whole Parquet file ({str(error).splitlines()[0]})",
            where=path,
            remedy="Delete the file and run the same command again; it will be rebuilt.",
        ) from error


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
