"""What long work has done so far, as JSON lines beside its output, so that it goes on where it was cut off."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from fedbench.files import write_text

LOG = logging.getLogger(__name__)


class Journal:
    """Entries of one piece of work, one a line below a line with its key.

    An entry counts once its line is whole: a line that a crash cut short is dropped.

    Args:
        path: the file; made at the first entry.
        key: what the work depends on; a journal with another key is not used.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self.key = path, key

    def load(self) -> list[dict[str, Any]]:
        """Return the whole entries, and cut off what follows them; a journal of other work is removed."""
        if not self.path.is_file():
            return []
        found, size = [], 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n") or not isinstance(entry, dict):
                break
            found.append(entry)
            size += len(line)
        if not found or found[0].get("key") != self.key:
            LOG.warning("%s: not used, it belongs to other work; starting from the beginning", self.path)
            self.clear()
            return []
        os.truncate(self.path, size)
        return found[1:]

    def append(self, entry: dict[str, Any]) -> None:
        """Add an entry."""
        if not self.path.exists():
            write_text(self.path, json.dumps({"key": self.key}) + "\n")
        with self.path.open("ab") as stream:
            stream.write(json.dumps(entry, allow_nan=False).encode() + b"\n")

    def clear(self) -> None:
        """Remove the journal of finished work."""
        self.path.unlink(missing_ok=True)
