"""Child processes that never outlive their owner: started in groups of their own, found again by a mark."""

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from fedbench.errors import FedbenchError

MARK = "FEDBENCH_DEPLOYMENT"
"""Environment variable that every descendant inherits, even one that leaves its parent's session as Flower's do."""

GRACE = 8.0  # seconds between asking a process to end and ending it


class Processes:
    """The processes of one deployment; use as a context manager, on whose end none is left.

    Args:
        environment: laid over this process's own.
        logs: folder of <name>.log, both streams of each process.
    """

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self.mark, self._logs = secrets.token_hex(8), logs
        self._environment = {**os.environ, **environment, MARK: self.mark}
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[object], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start `command` in a session of its own, so that a Ctrl-C reaches its owner first."""
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                env={**self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        self._started[name] = process
        return process

    def run(self, command: Sequence[object], environment: Mapping[str, str], timeout: float = 60) -> str:
        """Run a short command and return what it printed.

        Raises:
            FedbenchError: it failed, or took longer than `timeout` seconds.
        """
        try:
            answer = subprocess.run(
                [str(part) for part in command],
                env={**self._environment, **environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise FedbenchError(f"`{_short(command)}` gave no answer in {timeout:g} s") from late
        if answer.returncode:
            said = (answer.stderr.strip() or answer.stdout.strip()).splitlines()
            raise FedbenchError(f"`{_short(command)}` failed: {said[-1] if said else 'it said nothing'}")
        return answer.stdout

    def check(self) -> None:
        """Raise a FedbenchError, with the last line of its log, if a process has ended by itself."""
        for name, process in self._started.items():
            if process.poll() is not None:
                raise FedbenchError(
                    f"{name} ended with code {process.returncode}: {self.said(name)}", where=self.log(name)
                )

    def said(self, name: str) -> str:
        """Return the last line that a process logged."""
        lines = self.log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it logged nothing"

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self._logs / f"{name}.log"

    def left(self) -> list[psutil.Process]:
        """Return every live process that carries the mark, whoever its parent is by now."""
        return [process for process in psutil.process_iter() if process.pid != os.getpid() and self._ours(process)]

    def stop(self) -> None:
        """End all of them: ours politely, the last started first; then whatever they leave behind, by force."""
        for process in reversed(self._started.values()):
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in self._started.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # Flower 1.41's executors retry for minutes to reach the process that started them.
        while orphans := self.left():
            for orphan in orphans:
                with suppress(psutil.NoSuchProcess):
                    orphan.kill()
            psutil.wait_procs(orphans, timeout=1)
        self._started.clear()

    def _ours(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark
        except (psutil.Error, OSError):
            return False  # ended meanwhile, or another user's


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the block as an exception, so that what it opened is closed; a second one waits."""

    def leave(number: int, _: FrameType | None) -> None:
        for name in previous:
            signal.signal(name, signal.SIG_IGN)
        raise SystemExit(128 + number)

    previous = {name: signal.signal(name, leave) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)


def _short(command: Sequence[object]) -> str:
    return " ".join([Path(str(command[0])).name, *(str(part) for part in command[1:3])])


def _end_with_parent() -> None:
    """Have the kernel end this child if its parent is killed outright (Linux; elsewhere a SIGKILL leaves it)."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
