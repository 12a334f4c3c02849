"""A faulty original stops its own job, naming file and line; other outputs stay, and the next call goes on."""

from pathlib import Path

import pytest
import yaml
from checkout import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder = tmp_path / "checkout"
    folder.mkdir()
    return Checkout(folder)


def test_a_line_that_is_not_json_is_named_and_mended(checkout, tiny, tmp_path):
    made = "results/tiny/data/dolly/records"
    assert checkout.snakemake("dolly_fetch", config=tiny).returncode == 0
    lines = next((checkout.folder / made).glob("*.jsonl")).read_text().splitlines()
    mirror = tmp_path / "mirror" / "databricks-dolly-15k.jsonl"
    mirror.parent.mkdir()
    mirror.write_text("\n".join([*lines[:2], '{"instruction": ', *lines[2:]]) + "\n")
    config = yaml.safe_load(tiny.read_text()) | {"experiment": "mine"}
    config["edge_fit"]["instructions"]["source"] = {"kind": "mirror", "path": str(mirror.parent)}
    mine = tmp_path / "mine.yaml"
    mine.write_text(yaml.safe_dump(config))

    answer = checkout.snakemake("iot23_sample", "dolly_filter", config=mine)
    assert answer.returncode != 0
    assert f"{mirror}:3" in answer.stdout
    assert "Traceback" not in answer.stdout
    data = checkout.folder / "results/mine/data"
    assert (data / "iot23/sample.parquet").is_file()  # the other data set went on
    assert not (data / "dolly/filtered.parquet").exists()

    mirror.write_text("\n".join(lines) + "\n")
    planned = checkout.planned("iot23_sample", "dolly_filter", config=mine)
    assert {job.split(":")[0] for job in planned} == {"Dolly"}
    assert checkout.snakemake("dolly_filter", config=mine).returncode == 0
