"""One pipeline at a time on one results folder, and a clean start after one that was killed.

Snakemake locks the files of a working directory and leaves that lock behind when it is killed. Two checkouts that share
a results folder it does not see. So the main process holds a lock of the kernel on the results folder, which ends with
it, and `release` takes Snakemake's own lock away where nobody who could hold it is alive.
"""

import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import psutil

from fedbench.errors import FedbenchError
from fedbench.files import read_json, write_json

LOCKS, RECORD = Path(".snakemake/locks"), Path(".snakemake/engine.json")
_READING = (
    "-n",
    "--dry-run",
    "--dryrun",
    "--report",
    "--unlock",
    "--lint",
    "--list",
    "--summary",
    "--dag",
    "--rulegraph",
)
_held: dict[Path, TextIO] = {}  # open for as long as the process lives


def only_reads(arguments: list[str]) -> bool:
    """Return whether a call of the engine with these arguments runs no job."""
    return any(argument.split("=")[0] in _READING for argument in arguments)


def claim(results: Path, arguments: list[str]) -> None:
    """Hold `results` (results/<experiment>) until this process ends; a command that only reads takes nothing.

    Raises:
        FedbenchError: another pipeline holds it.
    """
    if results in _held or only_reads(arguments):
        return
    results.mkdir(parents=True, exist_ok=True)
    stream = open(results / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 (held until the process ends)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.seek(0)
        raise FedbenchError(
            f"another pipeline is at work here: {stream.read().strip() or 'unknown'}",
            where=results,
            remedy="Wait until it is done, or stop it.",
        ) from None
    stream.truncate(0)
    stream.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
    stream.flush()
    _held[results] = stream
    write_json(RECORD, {"host": socket.gethostname(), "pid": os.getpid()})


def release() -> str | None:
    """Take away the lock of a killed pipeline, and stop what it left running; return what was done, None if nothing.

    Raises:
        FedbenchError: a pipeline is at work in this folder, or may be, on another host.
    """
    if not (LOCKS.is_dir() and any(LOCKS.iterdir())):
        return None
    host = read_json(RECORD)["host"] if RECORD.is_file() else socket.gethostname()
    if host != socket.gethostname():
        raise FedbenchError(
            f"this folder is locked, perhaps by a pipeline on {host}",
            where=LOCKS,
            remedy="Look there; if it is gone, run snakemake --unlock.",
        )
    mine = list(_at_work())
    for process, command in mine:
        if "--target-jobs" not in command and not _is_script(command):
            started = time.strftime("%H:%M:%S", time.localtime(process.create_time()))
            raise FedbenchError(
                f"another pipeline is at work in this folder: process {process.pid} since {started}",
                where=Path.cwd(),
                remedy="Wait until it is done, or stop it.",
            )
    for process, _ in mine:
        process.kill()
    psutil.wait_procs([process for process, _ in mine], timeout=10)
    for lock in LOCKS.iterdir():
        lock.unlink()
    left = f", {len(mine)} processes that it left running were ended" if mine else ""
    return f"a pipeline was killed here: its lock is taken away{left}"


def _at_work() -> Iterator[tuple[psutil.Process, list[str]]]:
    """Yield the processes of Snakemake, and of the jobs it started, in this folder, and the words of their commands."""
    here = str(Path.cwd())
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.cwd() != here:
                continue
            command = process.cmdline()
        except psutil.Error:
            continue
        runs = any(Path(word).name == "snakemake" for word in command[:4])
        if (runs and not {*_READING} & {*command}) or _is_script(command):
            yield process, command


def _is_script(command: list[str]) -> bool:
    return any("/.snakemake/scripts/" in word for word in command)


if __name__ == "__main__":
    done = release()
    if done:
        print(f"fedbench: {done}", file=sys.stderr)
