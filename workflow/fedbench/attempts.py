"""The attempts at a run on a cluster, a line each, so that a failure row can say what became of them."""

import json
import os
import shutil
import socket
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ENDS = (["squeue", "-h", "-t", "all", "-o", "%T", "-j"], ["sacct", "-n", "-X", "-o", "State", "-j"])
"""Who knows how a Slurm job ended: the controller for some minutes, the accounting, where there is one, for long."""


class Journal:
    """The attempts at one run, in a file beside its checkpoints that is there until the run has its five files."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, tier: str) -> None:
        """Note an attempt before it does anything that might end it."""
        entry = {
            "tier": tier,
            "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
            "job": os.environ.get("SLURM_JOB_ID"),
            "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")

    def told(self) -> str:
        """Return the attempts and their ends in words."""
        if not self._path.is_file():
            return "none had begun"
        entries = [json.loads(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
        return "; ".join(_told(**entry) for entry in entries)

    def forget(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)


def last_line(log: Path) -> str:
    """Return the last line that an attempt left in its log, "" where it left none."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _told(tier: str, host: str, job: str | None, begun: str) -> str:
    place = f"job {job} on {host}" if job else host
    end = _end(job) if job else ""
    return f"{tier} ({place}, begun {begun}{': ' + end if end else ''})"


def _end(job: str) -> str:
    """Return the state that Slurm gives a job, "" where nobody remembers it."""
    for command in ENDS:
        if shutil.which(command[0]):
            asked = subprocess.run([*command, job], capture_output=True, text=True, check=False, timeout=30)
            if asked.returncode == 0 and asked.stdout.strip():
                return asked.stdout.split("\n")[0].strip()
    return ""
