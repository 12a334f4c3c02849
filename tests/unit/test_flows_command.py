"""`fedbench clean` as a user calls it: exit codes, one line for an error, and nothing left behind."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from zeek_rows import HEADER, line


@pytest.fixture
def command(tmp_path, repository):
    """Start `fedbench clean` on a log in an empty folder; options are passed on to the process."""

    def start(log, **options):
        words = [
            sys.executable,
            "-m",
            "fedbench.cli",
            "clean",
            str(log),
            "--out",
            "flows.parquet",
            "--ledger",
            "l.json",
        ]
        (tmp_path / "out").mkdir()
        return subprocess.Popen(
            words,
            cwd=tmp_path / "out",
            env={**os.environ, "PYTHONPATH": str(repository / "workflow")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return start


def write(path, rows):
    """A log with so many rows."""
    before, _, after = line(uid="UID").partition("UID")
    path.write_text(HEADER + "".join(f"{before}C{i}{after}\n" for i in range(rows)))
    return path


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "out").iterdir())


def test_a_log_that_is_read_exits_with_0_and_says_how_many_rows_were_kept(command, tmp_path):
    process = command(write(tmp_path / "conn.log", 3))
    out, _ = process.communicate()
    assert (process.returncode, left(tmp_path)) == (0, ["flows.parquet", "l.json"])
    assert "3 of 3 rows kept, 0 quarantined" in out


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08\x00", bytes(range(256)) * 9, b"<html></html>\n", b"{}\n"])
def test_a_log_that_cannot_be_read_exits_with_1_and_one_line(command, tmp_path, content):
    (tmp_path / "conn.log").write_bytes(content)
    process = command(tmp_path / "conn.log")
    out, error = process.communicate()
    assert (process.returncode, out, left(tmp_path)) == (1, "", [])
    assert error.startswith(f"fedbench: {tmp_path / 'conn.log'}")
    assert error.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(command, tmp_path, number):
    process = command(write(tmp_path / "conn.log", 600_000))
    while process.poll() is None and not left(tmp_path):
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate()
    assert (process.returncode, left(tmp_path)) == (128 + number, [])


def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(command, tmp_path):
    def small():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = command(write(tmp_path / "conn.log", 20_000), preexec_fn=small)
    _, error = process.communicate()
    assert (process.returncode, left(tmp_path)) == (1, [])
    assert "cannot be written: File too large" in error
    assert error.count("\n") == 1
