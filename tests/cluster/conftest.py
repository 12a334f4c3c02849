"""A Slurm cluster of five virtual nodes, and a checkout in which the small experiment has run on it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm as cluster
from checkout import Checkout
from filelock import FileLock

SMALL = Path(__file__).with_name("small.yaml")
TIERS = {"tiny-bert": "central", "tiny-llama": "gateway"}


@pytest.fixture(scope="session")
def slurm() -> Iterator[cluster.Slurm]:
    """A running cluster; skips, with the reason, where there can be none."""
    if reason := cluster.install():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short path: munge's socket lies in it
    with cluster.Slurm(folder) as running:
        yield running
    shutil.rmtree(folder)


def checkout(folder: Path) -> Path:
    """Make a checkout in which the two tiny models ask for GPUs."""
    folder.mkdir(parents=True)
    Checkout(folder)
    models = folder / "config/models.yaml"
    text = models.read_text()
    for name, tier in TIERS.items():
        head, found, tail = text.partition(f"\n{name}:\n")
        assert found
        text = head + found + tail.replace("tier: local", f"tier: {tier}", 1)
    models.write_text(text)
    return folder


class Engine:
    """A snakemake at work in a checkout; what it says goes to a file, since nobody reads a pipe meanwhile."""

    def __init__(self, folder: Path, profile: str, *arguments: object, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", profile, *map(str, arguments)]
        environment = {key: value for key, value in environment.items() if not key.startswith("FEDBENCH_")}
        environment |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
        self._said = folder / "snakemake.out"
        with self._said.open("w") as stream:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=stream)

    @property
    def said(self) -> str:
        return self._said.read_text()

    def finish(self) -> None:
        """Wait for its end; it must have ended well."""
        assert self.process.wait() == 0, f"exit {self.process.returncode}\n{self.said}"


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the small experiment has run on this machine, without a scheduler; one for all workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, done = shared / "cluster-local", shared / "cluster-local.done"
    with FileLock(shared / "cluster-local.lock"):
        if not done.exists():
            checkout(folder)
            profile = "workflow/profiles/default"
            Engine(folder, profile, "--configfile", SMALL, environment=dict(os.environ)).finish()
            done.touch()
    return folder


@pytest.fixture(scope="session")
def submitted(slurm: cluster.Slurm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the small experiment has run through the slurm profile as it is shipped."""
    folder = checkout(tmp_path_factory.mktemp("submitted") / "checkout")
    here = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", 1, "--latency-wait", 10]
    profile = "workflow/profiles/slurm"
    Engine(folder, profile, "--configfile", SMALL, *here, environment=slurm.environment).finish()
    return folder
