"""Official sources through the engine: downloaded once, compared with what is published, from a local server."""

import csv
import json
import shutil

import pytest
import web
import yaml
from checkout import Checkout

from fedbench.flows.synthetic import write_logs
from fedbench.instructions import synthetic

NAMES = ("CTU-IoT-Malware-Capture-34-1", "CTU-Honeypot-Capture-4-1")
DOLLY = "/datasets/databricks/databricks-dolly-15k/resolve/main/databricks-dolly-15k.jsonl"
TARGETS = ("results/tiny/data/iot23/captures.csv", "results/tiny/data/dolly/sources.json")


class Official:
    """A checkout whose captures.yaml names two captures of a local server."""

    def __init__(self, server, folder, tiny):
        for part in ("checkout", "made"):
            (folder / part).mkdir()
        self.server, self.checkout = server, Checkout(folder / "checkout")
        logs = [path.read_bytes() for _, path in write_logs(folder / "made", 600, 0)[:2]]
        self.rows = [sum(not row.startswith(b"#") for row in log.splitlines()) for log in logs]
        for name, log in zip(NAMES, logs, strict=True):
            server.answers[f"/{name}"] = [web.truncated(log, 1_000), web.ranged(log)]
        records = "".join(json.dumps(record) + "\n" for record in synthetic.generate(150, 0))
        server.answers[DOLLY] = [web.ranged(records.encode())]
        self.publish(self.rows[0], self.rows[1] + 1)
        config = yaml.safe_load(tiny.read_text())
        config["gsfs"]["flows"]["source"] = config["edge_fit"]["instructions"]["source"] = {"kind": "official"}
        self.config = folder / "official.yaml"
        self.config.write_text(yaml.safe_dump(config))

    def publish(self, *flows):
        entries = {
            name: {"address": self.server.url(f"/{name}"), "device": "Mirai", "flows": rows}
            for name, rows in zip(NAMES, flows, strict=True)
        }
        (self.checkout.folder / "config" / "captures.yaml").write_text(yaml.safe_dump(entries))

    def run(self):
        answer = self.checkout.snakemake(*TARGETS, config=self.config)
        assert answer.returncode == 0, answer.stdout
        with open(self.checkout.folder / TARGETS[0], newline="") as stream:
            return {row["capture"]: row for row in csv.DictReader(stream) if row["class"] == "all flows"}


@pytest.fixture(scope="module")
def official(tmp_path_factory, tiny):
    with web.serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", server.url(""))
        yield Official(server, tmp_path_factory.mktemp("official"), tiny)


def test_what_is_downloaded_is_compared_and_nothing_is_fetched_twice(official):
    table, asked = official.run(), len(official.server.asked)
    assert [table[name]["verdict"] for name in NAMES] == ["equal", "differs"]
    assert [int(table[name]["parsed"]) for name in NAMES] == official.rows
    assert official.server.ranges().count("bytes=1000-") == 2
    folder = official.checkout.folder
    recorded = yaml.safe_load((folder / "config" / "checksums.yaml").read_text())
    assert {official.server.url(path) for path in (DOLLY, *(f"/{name}" for name in NAMES))} <= set(recorded)
    assert len(list((folder / "results" / "downloads").rglob("conn.log.labeled"))) == 2

    official.publish(*official.rows)  # a corrected count compares again, and no more
    planned = official.checkout.planned(*TARGETS, config=official.config)
    assert planned == {"IoT-23: what was parsed beside what is published"}
    shutil.rmtree(folder / "results" / "tiny")
    assert {row["verdict"] for row in official.run().values()} == {"equal"}
    assert len(official.server.asked) == asked
