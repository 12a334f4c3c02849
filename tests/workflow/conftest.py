"""The tiny experiment, run once for all tests of the workflow."""

from pathlib import Path

import pytest
from checkout import Checkout

TINY = Path(__file__).with_name("tiny.yaml")


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The configuration of the tiny experiment."""
    return TINY


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which the tiny experiment has run to its end."""
    checkout = Checkout(tmp_path_factory.mktemp("tiny"))
    answer = checkout.snakemake(config=TINY)
    assert answer.returncode == 0, f"exit {answer.returncode}\n{answer.stdout}"
    return checkout
