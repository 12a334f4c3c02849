"""The engine's records of each file (parameters, inputs, code), kept with the files so that both are restored together.

`python -m fedbench.records` sets back the time stamps of restored results that were copied without them.
"""

import base64
import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from fedbench.files import read_json

ENGINE, HOME = Path(".snakemake"), Path("results/records")
PARTS = ("metadata", "incomplete")
BY_CONTENT = 1_000_000
"""Bytes up to which the engine compares files by content (`--max-checksum-file-size`), whatever their time stamps."""


def keep(engine: Path = ENGINE, home: Path = HOME) -> None:
    """Make the engine read and write its records in `home`: links in `engine` lead there; what it has is moved.

    Where that cannot be (a read-only folder), all stays as it is, and the job that cannot write says so.
    """
    with contextlib.suppress(OSError):
        for part in PARTS:
            link, target = engine / part, home / part
            target.mkdir(parents=True, exist_ok=True)
            if link.is_symlink():
                continue
            engine.mkdir(exist_ok=True)
            if link.is_dir():  # records of an earlier version, or of a checkout that was copied with its links followed
                shutil.copytree(link, target, dirs_exist_ok=True)
                shutil.rmtree(link)
            with contextlib.suppress(FileExistsError):  # another call of the engine was quicker
                link.symlink_to(os.path.relpath(target.resolve(), engine.resolve()))


def recorded(home: Path = HOME) -> Iterator[tuple[Path, float]]:
    """Yield each file that has a record, and the time stamp that it had when it was made (seconds)."""
    folder = home / PARTS[0]
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            # Snakemake names a record after its file, in base64, long names in pieces that begin with @.
            name = "".join(part.removeprefix("@") for part in path.relative_to(folder).parts)
            made = read_json(path).get("endtime")
            if made is not None:
                yield Path(base64.urlsafe_b64decode(name).decode()), float(made)


def set_times(home: Path = HOME) -> int:
    """Give folders and large files the time stamps of their records; return how many there were.

    Smaller files keep theirs: the engine compares them by content, and would see a restored one that differs.
    """
    found = 0
    for path, made in recorded(home):
        if path.is_dir():
            path = path / ".snakemake_timestamp"  # what it takes for the time of a folder
            path.touch()
        elif not path.is_file() or path.stat().st_size <= BY_CONTENT:
            continue
        os.utime(path, (made, made))
        found += 1
    return found


if __name__ == "__main__":
    print(f"{set_times()} folders and large files have the times at which they were made again.")
