"""Which rows repeat a uid that was read before: told by 64-bit hashes that wait on disk, so that memory stays bounded."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl

from fedbench.flows.blocks import Integers

_PARTS = 64  # equal hashes share a part, and one part at a time is looked at: 16 bytes a row / 64
_ENTRY = np.dtype([("hash", np.uint64), ("key", np.int64)])


class Uids:
    """The uids of all logs, each with a key that grows in reading order."""

    def __init__(self, folder: Path) -> None:
        self._paths = [folder / f"uids-{part:02d}" for part in range(_PARTS)]
        self._open = ExitStack()
        self._files = [self._open.enter_context(path.open("wb")) for path in self._paths]

    def __enter__(self) -> "Uids":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, uids: pl.Series, keys: Integers) -> None:
        """Note uids with their keys."""
        entries = np.empty(len(uids), dtype=_ENTRY)
        entries["hash"], entries["key"] = uids.hash(seed=0).to_numpy(), keys
        part = (entries["hash"] >> np.uint64(58)).astype(np.uint8)
        entries = entries[np.argsort(part, kind="stable")]
        ends = np.cumsum(np.bincount(part, minlength=_PARTS))
        for file, own in zip(self._files, np.split(entries, ends[:-1]), strict=True):
            file.write(own.tobytes())

    def repeated(self) -> Integers:
        """Return the keys, ascending, of all rows whose uid has a smaller key too."""
        self._open.close()
        found: list[np.ndarray[Any, Any]] = [np.empty(0, dtype=np.int64)]
        for path in self._paths:
            entries = np.fromfile(path, dtype=_ENTRY)
            hashes = np.sort(entries["hash"])
            if (hashes[1:] == hashes[:-1]).any():
                entries = entries[np.lexsort((entries["key"], entries["hash"]))]
                found.append(entries["key"][1:][entries["hash"][1:] == entries["hash"][:-1]])
        return np.sort(np.concatenate(found))
