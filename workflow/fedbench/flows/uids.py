"""Which rows repeat a uid that was read before: told by 64-bit hashes, which wait on disk to bound memory."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from fedbench.flows.blocks import Integers
from fedbench.flows.encoded import Array

_PARTS = 64  # equal hashes share a part; parts are looked at one by one, each 16 bytes a row / 64
_ENTRY = np.dtype([("hash", np.uint64), ("key", np.int64)])
_LINE_BITS = 40  # a row's key, which grows in reading order: the index of its log, then this many bits for its line


Booleans = np.ndarray[Any, np.dtype[np.bool_]]


class Uids:
    """The uids of all logs: first all are added, then it tells the repeated ones."""

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

    def add(self, hashes: Array, lines: Integers, log: int) -> None:
        """Note the uids, by their hashes, of the rows on some lines of the log with index `log`."""
        part = (hashes >> np.uint64(58)).astype(np.uint8)
        order = np.argsort(part, kind="stable")
        entries = np.empty(len(hashes), dtype=_ENTRY)
        entries["hash"], entries["key"] = hashes[order], (log << _LINE_BITS) + lines[order].astype(np.int64)
        ends = np.cumsum(np.bincount(part, minlength=_PARTS))
        for file, own in zip(self._files, np.split(entries, ends[:-1]), strict=True):
            file.write(own.data)

    def repeated(self) -> "Repeated":
        """Find the rows whose uid has been read before."""
        self._open.close()
        found: list[Integers] = [np.empty(0, dtype=np.int64)]
        for path in self._paths:
            entries = np.fromfile(path, dtype=_ENTRY)
            hashes = np.sort(entries["hash"])
            if (hashes[1:] == hashes[:-1]).any():  # rarely: only then it is worth to know which
                entries = entries[np.lexsort((entries["key"], entries["hash"]))]
                found.append(entries["key"][1:][entries["hash"][1:] == entries["hash"][:-1]])
        return Repeated(np.sort(np.concatenate(found)))


class Repeated:
    """The rows, of all logs, whose uid was read before."""

    def __init__(self, keys: Integers) -> None:
        self._keys = keys  # ascending

    def among(self, log: Integers, line: Integers) -> Booleans:
        """Tell for each row, given by the index of its log and its line, whether it is one."""
        if not self._keys.size:
            return np.zeros(len(line), dtype=np.bool_)
        keys = (log.astype(np.int64) << _LINE_BITS) + line
        at = np.searchsorted(self._keys, keys)
        return np.asarray(self._keys[np.minimum(at, self._keys.size - 1)] == keys)
