"""A pipeline that is killed, one that is started twice, and results that cannot be written: the same command helps."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from checkout import Checkout

from fedbench.files import sha256

STAGE = "data"  # no run: what is shown here is the engine's side, and kills of runs are shown without it


def start(checkout, config, *arguments):
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "workflow/profiles/default", STAGE, *arguments]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FEDBENCH_")}
    return subprocess.Popen(
        [*command, "--configfile", str(config)],
        cwd=checkout.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def release(checkout):
    """What `make reproduce` does first."""
    environment = os.environ | {"PYTHONPATH": "workflow"}
    command = [sys.executable, "-m", "fedbench.engine"]
    return subprocess.run(command, cwd=checkout.folder, env=environment, capture_output=True, text=True, check=False)


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.05)


def data(checkout):
    """What the data stage leaves, without the journal of downloads and what names a time."""
    folder = checkout.folder / "results/tiny/data"
    return {str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*.parquet")}


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    return Checkout(folder)


def test_a_killed_pipeline_is_started_again_by_the_same_command(checkout, tiny, finished):
    wanted = data(finished)
    for moment in ("flows.parquet", "dataset.parquet"):
        process = start(checkout, tiny)
        wait_for(
            lambda name=moment, process=process: (
                list(checkout.folder.glob(f"results/tiny/data/*/{name}")) or process.poll() == 0
            )
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
        answer = release(checkout)
        assert answer.returncode == 0, answer.stderr
    assert not list((checkout.folder / ".snakemake/locks").glob("*"))
    process = start(checkout, tiny)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert data(checkout) == {name: digest for name, digest in wanted.items() if name in data(checkout)}
    assert data(checkout)


def test_two_pipelines_do_not_work_on_one_results_folder(checkout, tiny):
    first = start(checkout, tiny)
    try:
        wait_for(lambda: (checkout.folder / "results/tiny/.lock").exists())
        second = checkout.snakemake(STAGE, config=tiny)
        assert second.returncode != 0
        assert re.search(r"another pipeline is at work here: process \d+ on .+: Wait|process \d+", second.stdout)
        wait_for(lambda: list((checkout.folder / ".snakemake/locks").glob("*")) or first.poll() is not None)
        if first.poll() is None:
            answer = release(checkout)
            assert answer.returncode == 1
            assert "another pipeline is at work" in answer.stderr
        assert checkout.planned(STAGE, config=tiny) is not None, "a dry run may look on"
    finally:
        output, _ = first.communicate()
    assert first.returncode == 0, output


def test_release_does_nothing_where_nothing_is_locked(checkout):
    answer = release(checkout)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_a_clear_error_and_room_is_all_it_takes(checkout, tiny, finished):
    results = checkout.folder / "results"
    results.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "none", results], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        answer = checkout.snakemake(STAGE, config=tiny)
        assert answer.returncode != 0
        assert "No space left on device" in answer.stdout
        there = data(checkout)
        assert there == {name: digest for name, digest in data(finished).items() if name in there}, (
            "whole, or not there"
        )
        subprocess.run(["mount", "-o", "remount,size=200m", results], check=True)
        answer = checkout.snakemake(STAGE, config=tiny)
        assert answer.returncode == 0, answer.stdout
        assert data(checkout)
    finally:
        subprocess.run(["umount", "-l", results], check=False)


def test_a_half_written_parquet_names_itself_and_how_to_mend_it(tmp_path, tiny, finished):
    moved = finished.moved(tmp_path / "moved")
    shutil.rmtree(moved.folder / "results/tiny/tables")
    path = next(moved.folder.glob("results/tiny/runs/*/predictions.parquet"))
    stat, content = path.stat(), path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    score = moved.folder / "results/tiny/scores" / f"{path.parent.name}.parquet"
    score.unlink()
    (score.parent / "scores.parquet").unlink()
    answer = moved.snakemake("scores", config=tiny)
    assert answer.returncode != 0
    assert path.parent.name in answer.stdout
    assert "predictions.parquet" in answer.stdout
    assert re.search(r"[Dd]elete", answer.stdout), "the remedy"
