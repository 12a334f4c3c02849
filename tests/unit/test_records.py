"""The engine's records lie with the results, and give restored files their times."""

import base64
import json
import os
from pathlib import Path

import pytest

from fedbench import records


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record(name: str, made: float) -> None:
    """Write a record as Snakemake 9 does: long names in pieces."""
    encoded = base64.urlsafe_b64encode(name.encode()).decode()
    *folders, last = [encoded[start : start + 254] for start in range(0, len(encoded), 254)]
    path = records.HOME.joinpath("metadata", *(f"@{part}" for part in folders), last)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"endtime": made}))


def test_links_lead_to_the_results(folder):
    records.keep()
    records.keep()
    (folder / ".snakemake/metadata/x").write_text("1")
    assert (folder / "results/records/metadata/x").read_text() == "1"
    assert not os.path.isabs(os.readlink(folder / ".snakemake/incomplete"))


def test_records_of_an_earlier_version_are_moved(folder):
    old = folder / ".snakemake/metadata/@piece"
    old.mkdir(parents=True)
    (old / "x").write_text("1")
    records.keep()
    assert (folder / "results/records/metadata/@piece/x").read_text() == "1"
    assert (folder / ".snakemake/metadata").is_symlink()


def test_deleted_results_leave_no_dangling_link(folder):
    records.keep()
    for part in records.PARTS:
        (folder / records.HOME / part).rmdir()
    records.keep()
    assert (folder / ".snakemake/metadata").is_dir()


def test_where_nothing_can_be_linked_all_stays_as_it_is(folder):
    (folder / "results").write_text("a file where the folder should be")
    records.keep()
    assert not (folder / ".snakemake").exists()


def test_folders_and_large_files_get_their_times_and_small_files_keep_theirs(folder):
    large, small, deep = (folder / name for name in ("large", "small", "/".join(["d" * 100] * 3)))
    large.write_bytes(bytes(records.BY_CONTENT + 1))
    small.write_bytes(b"1")
    deep.mkdir(parents=True)
    for path in (large, small, deep, folder / "gone"):
        record(str(path.relative_to(folder)), 1000.5)
    assert records.set_times() == 2
    assert large.stat().st_mtime == (deep / ".snakemake_timestamp").stat().st_mtime == 1000.5
    assert small.stat().st_mtime > 2000
