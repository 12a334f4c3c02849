"""A copy of the workflow in a folder of its own, so that tests neither wait for nor touch the results of a user."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "rules", "workflow", "config", "envs")


class Checkout:
    """A copy of what the engine reads, and a way to call the engine in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in PARTS:
            source = REPOSITORY / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy2(source, folder / part)

    @classmethod
    def at(cls, folder: Path) -> "Checkout":
        """Return the checkout that a folder already is."""
        found = cls.__new__(cls)
        found.folder = folder
        return found

    def moved(self, folder: Path) -> "Checkout":
        """Return a copy of this checkout, results and time stamps included, in another folder."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout.at(folder)

    def restore(self, other: "Checkout", with_times: bool = True) -> None:
        """Copy results/, and nothing else, to another checkout."""
        copy = shutil.copy2 if with_times else shutil.copy
        shutil.copytree(self.folder / "results", other.folder / "results", copy_function=copy, dirs_exist_ok=True)

    def python(self, *arguments: str) -> str:
        """Run Python here with the package of this checkout, and return what it printed."""
        environment = os.environ | {"PYTHONPATH": "workflow"}
        command = [sys.executable, *arguments]
        answer = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def snakemake(self, *arguments: object, config: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run snakemake here as a user would, and return its exit code with both streams in `stdout`."""
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", "workflow/profiles/default"]
        chosen = ["--configfile", str(config)] if config else []
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FEDBENCH_")}
        return subprocess.run(
            [*command, *map(str, arguments), *chosen],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def planned(self, *arguments: object, config: Path) -> set[str]:
        """Return the messages of the jobs that a dry run announces."""
        answer = self.snakemake("--dry-run", *arguments, config=config)
        assert answer.returncode == 0, f"exit {answer.returncode}\n{answer.stdout}"
        return set(re.findall(r"^Job \d+: (.+)$", answer.stdout, flags=re.MULTILINE))


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """Replace text in a file for a while, and leave its time stamp as it was."""
    good, stat = path.read_text(), path.stat()
    assert old in good
    path.write_text(good.replace(old, new, 1))
    try:
        yield
    finally:
        path.write_text(good)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def stages(planned: set[str]) -> set[str]:
    """Return the first word of each job's message: Run, Score, Table, ..."""
    return {job.split(":")[0] for job in planned}
