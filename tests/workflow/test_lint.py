"""The linters of `make lint` are clean."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import REPOSITORY

LINES = re.findall(
    r"^\t\.venv/bin/(.+)$",
    re.split(r"^lint:.*$", (REPOSITORY / "Makefile").read_text(), flags=re.M)[1].split("\n\n")[0],
    re.M,
)


def test_there_are_linters():
    assert len(LINES) == 6


@pytest.mark.parametrize("line", LINES)
def test_the_linter_is_clean(line):
    program, *arguments = line.split()
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
