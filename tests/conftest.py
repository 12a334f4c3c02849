"""Shared fixtures: where the repository and the real data lie."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real IoT-23 logs and Dolly; skips, with the reason, where it is absent."""
    folder = Path(os.environ.get("FEDBENCH_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "iot23").is_dir():
        pytest.skip(f"real data not found at {folder} (set FEDBENCH_DATA)")
    return folder
