"""A copy of the workflow in a folder of its own, so that tests neither wait for nor touch the results of a user."""

import os
import re
import shutil
import subprocess
import sys
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
