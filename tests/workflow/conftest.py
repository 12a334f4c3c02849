"""The tiny experiment, run once for all tests of the workflow."""

import os
import shutil
from pathlib import Path

import pytest
from checkout import Checkout
from filelock import FileLock

TINY = Path(__file__).with_name("tiny.yaml")


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The configuration of the tiny experiment."""
    return TINY


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which the tiny experiment has run to its end; one of several workers runs it, each has a copy."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if is_worker else base) / "tiny"
    done = folder.with_suffix(".done")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            answer = Checkout(folder).snakemake(config=TINY)
            assert answer.returncode == 0, f"exit {answer.returncode}\n{answer.stdout}"
            done.touch()
    made = Checkout.at(folder)
    return made.moved(tmp_path_factory.mktemp("finished") / "checkout") if is_worker else made
