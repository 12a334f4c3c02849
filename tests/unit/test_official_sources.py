"""Official sources: captures from their addresses, Dolly from the hub; and published counts beside parsed ones."""

import json
import shutil
from collections import Counter

import polars as pl
import pytest
import web
import yaml
from zeek_rows import HEADER, ROW, line

from fedbench.errors import FedbenchError
from fedbench.experiment import load, read_registry
from fedbench.files import read_json, sha256
from fedbench.flows import captures as comparison
from fedbench.flows import fetch as flows
from fedbench.flows.clean import clean
from fedbench.flows.schema import DETAILED_LABELS
from fedbench.instructions import fetch as instructions
from fedbench.runs import captures, runs
from fedbench.spec import CaptureSpec, FlowsSpec, InstructionsSpec

OFFICIAL = FlowsSpec.model_validate({"source": {"kind": "official"}})
STRATOSPHERE = "https://mcfp.felk.cvut.cz/publicDatasets/IoT-23-Dataset/IndividualScenarios"
RECORD = json.dumps({"instruction": "i", "context": "", "response": "r", "category": "open_qa"}) + "\n"


@pytest.fixture
def server():
    with web.serving() as running:
        yield running


@pytest.fixture(scope="module")
def registry(repository):
    return read_registry(repository / "config")


# --- config/captures.yaml -----------------------------------------------------------------------------------------


def test_all_captures_are_listed_with_address_and_counts(registry):
    entries = registry.captures
    malware = {name for name in entries if name.startswith("CTU-IoT-Malware-Capture-")}
    assert (len(malware), len(entries)) == (20, 23)
    assert set(entries) - malware == {f"CTU-Honeypot-Capture-{number}-1" for number in (4, 5, 7)}
    for name, capture in entries.items():
        assert capture.address.startswith(f"{STRATOSPHERE}/{name}/")
        assert capture.address.endswith("/bro/conn.log.labeled")
    assert len({capture.address for capture in entries.values()}) == 23


def test_the_counts_add_up_to_the_published_totals(registry):
    total = Counter({name: capture.flows for name, capture in registry.captures.items()})
    assert sum(total.values()) == 325_309_946
    assert sum(rows for name, rows in total.items() if "Malware" in name) == 325_307_990
    labelled = {name: capture for name, capture in registry.captures.items() if capture.labels}
    assert len(labelled) == 11
    for capture in labelled.values():  # the model refuses others; this says it of the file
        assert sum(capture.labels.values()) == capture.flows
        assert set(capture.labels) <= {"Benign", *DETAILED_LABELS}


def test_labels_that_do_not_add_up_are_refused(tmp_path, repository):
    folder = shutil.copytree(repository / "config", tmp_path / "config")
    entries = yaml.safe_load((folder / "captures.yaml").read_text())
    entries["CTU-IoT-Malware-Capture-34-1"]["labels"]["DDoS"] += 1
    (folder / "captures.yaml").write_text(yaml.safe_dump(entries))
    with pytest.raises(FedbenchError, match=r"CTU-IoT-Malware-Capture-34-1.*labels add up to 23146, flows is 23145"):
        read_registry(folder)


def test_the_recorded_checksums_are_of_addresses_that_are_used(registry, repository):
    sums = yaml.safe_load((repository / "config" / "checksums.yaml").read_text())
    used = {capture.address for capture in registry.captures.values()}
    assert all(address in used or address.startswith(f"{instructions.HUB}/datasets/") for address in sums)


# --- which captures -----------------------------------------------------------------------------------------------


def table(registry, repository, *names):
    """The runs of the demo on official captures."""
    demo = yaml.safe_load((repository / "config" / "experiments" / "demo.yaml").read_text())
    demo["experiment"] = "mine"
    demo["gsfs"]["flows"]["source"] = {"kind": "official", "captures": list(names)}
    return runs(load(demo, folder=repository / "config", origin="mine.yaml"), registry, where="mine.yaml")


def test_an_unknown_capture_stops_with_the_names_there_are(registry, repository):
    with pytest.raises(FedbenchError, match=r"mine\.yaml: key 'gsfs\.flows\.source\.captures'") as caught:
        table(registry, repository, "CTU-IoT-Malware-Capture-34-2")
    assert "'CTU-IoT-Malware-Capture-34-2' is not registered" in caught.value.what
    assert "CTU-Honeypot-Capture-4-1, " in caught.value.remedy
    assert "Did you mean 'CTU-IoT-Malware-Capture-34-1'?" in caught.value.remedy


def test_an_official_experiment_is_not_synthetic(registry, repository):
    specs = table(registry, repository, "CTU-IoT-Malware-Capture-34-1")
    assert {spec.synthetic for spec in specs.values() if spec.study == "gsfs"} == {False}


def test_the_captures_of_a_source(registry):
    def of(**source):
        return list(captures(FlowsSpec.model_validate({"source": source}).source, registry))

    assert of(kind="synthetic") == []
    assert len(of(kind="mirror", path=".")) == len(of(kind="official")) == 23
    two = ["CTU-IoT-Malware-Capture-42-1", "CTU-Honeypot-Capture-4-1"]
    assert of(kind="official", captures=two) == two


# --- IoT-23 -------------------------------------------------------------------------------------------------------


def log(**labels):
    """A log with so many flows of each detailed label."""
    rows = [name for name, rows in labels.items() for _ in range(rows)]
    lines = [line(uid=f"C{i}-{name}", detailed_label=name) for i, name in enumerate(rows)]
    return (HEADER + "".join(f"{text}\n" for text in lines)).encode()


def test_captures_are_downloaded_listed_and_not_fetched_twice(server, tmp_path):
    server.answers["/a"], server.answers["/b"] = [web.ranged(log(DDoS=2))], [web.ranged(log(Okiru=1))]
    addresses = {"CTU-A": server.url("/a"), "CTU-B": server.url("/b")}
    options = {
        "addresses": addresses,
        "downloads": tmp_path / "downloads",
        "checksums": tmp_path / "checksums.yaml",
    }
    for _ in range(2):
        flows.fetch(OFFICIAL, tmp_path / "logs", tmp_path / "sources.json", **options)
    entries = read_json(tmp_path / "sources.json")
    assert [entry["scenario"] for entry in entries] == ["CTU-A", "CTU-B"]
    path = tmp_path / "downloads" / "iot23" / "CTU-A" / "conn.log.labeled"
    assert entries[0] == {
        "scenario": "CTU-A",
        "path": str(path),
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "source": "official",
    }
    assert [asked for asked, _ in server.asked] == ["/a", "/b"]
    assert yaml.safe_load((tmp_path / "checksums.yaml").read_text())[addresses["CTU-A"]] == sha256(path)
    assert not (tmp_path / "logs").exists()


def test_a_capture_that_is_not_to_be_had_stops_before_anything_is_listed(server, tmp_path):
    server.answers["/a"] = [web.ranged(log(DDoS=2))]
    addresses = {"CTU-A": server.url("/a"), "CTU-B": server.url("/gone")}
    with pytest.raises(FedbenchError, match="the server answered 404") as caught:
        flows.fetch(
            OFFICIAL, tmp_path, tmp_path / "sources.json", addresses=addresses, downloads=tmp_path / "downloads"
        )
    assert caught.value.where == addresses["CTU-B"]
    assert not (tmp_path / "sources.json").exists()
    assert (tmp_path / "downloads" / "iot23" / "CTU-A" / "conn.log.labeled").is_file()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "empty log"),
        (b"<html>log in first</html>\n", "begins with b'<html>log in first</html>"),
    ],
)
def test_what_does_not_begin_as_a_log_is_named_and_neither_kept_nor_recorded(server, tmp_path, body, complaint):
    server.answers["/a"] = [web.whole(body), web.whole(log(DDoS=2))]
    options = {"downloads": tmp_path / "downloads", "checksums": tmp_path / "checksums.yaml"}
    with pytest.raises(FedbenchError, match=f"what came is something else: .*{complaint}") as caught:
        flows.fetch(OFFICIAL, tmp_path, tmp_path / "s.json", addresses={"A": server.url("/a")}, **options)
    assert caught.value.where == server.url("/a")
    assert not (tmp_path / "checksums.yaml").exists()
    flows.fetch(OFFICIAL, tmp_path, tmp_path / "s.json", addresses={"A": server.url("/a")}, **options)
    assert list(yaml.safe_load((tmp_path / "checksums.yaml").read_text())) == [server.url("/a")]


# --- Dolly --------------------------------------------------------------------------------------------------------

DOLLY = "/datasets/databricks/databricks-dolly-15k/resolve/main/databricks-dolly-15k.jsonl"


def official_dolly(server, tmp_path):
    spec = InstructionsSpec.model_validate({"source": {"kind": "official"}})
    options = {"downloads": tmp_path / "downloads", "checksums": tmp_path / "checksums.yaml", "hub": server.url("/")}
    instructions.fetch(spec, tmp_path / "in", tmp_path / "sources.json", **options)


def test_dolly_comes_from_the_hub_once(server, tmp_path):
    server.answers[DOLLY] = [lambda exchange: exchange.reply(302, Location="/storage")]
    server.answers["/storage"] = [web.truncated(RECORD.encode() * 9, 100), web.ranged(RECORD.encode() * 9)]
    official_dolly(server, tmp_path)
    official_dolly(server, tmp_path)
    (entry,) = read_json(tmp_path / "sources.json")
    folder = tmp_path / "downloads" / "dolly" / "databricks" / "databricks-dolly-15k" / "main"
    assert (entry["path"], entry["source"]) == (str(folder / "databricks-dolly-15k.jsonl"), "official")
    assert entry["sha256"] == sha256(folder / "databricks-dolly-15k.jsonl")
    assert server.ranges() == [None, None, "bytes=100-", "bytes=100-"]  # asked twice each: the address and the storage
    assert list(yaml.safe_load((tmp_path / "checksums.yaml").read_text())) == [server.url(DOLLY)]


def test_the_hub_may_be_named_by_the_environment(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url("/mirror/"))
    server.answers[f"/mirror{DOLLY}"] = [web.ranged(RECORD.encode())]
    spec = InstructionsSpec.model_validate({"source": {"kind": "official"}})
    instructions.fetch(spec, tmp_path, tmp_path / "sources.json", downloads=tmp_path / "downloads")
    assert len(server.asked) == 1


def test_a_page_instead_of_records_is_noticed(server, tmp_path):
    server.answers[DOLLY] = [web.whole(b"<html>maintenance</html>\n")]
    with pytest.raises(FedbenchError, match=r"what came is something else: line 1: not valid JSON"):
        official_dolly(server, tmp_path)
    assert not (tmp_path / "sources.json").exists()
    assert not (tmp_path / "checksums.yaml").exists()


# --- published and parsed -----------------------------------------------------------------------------------------


def compared(tmp_path, published, **logs):
    """Clean logs (scenario -> bytes) and set them beside the published counts (scenario -> flows, labels)."""
    entries = []
    for scenario, content in logs.items():
        (tmp_path / scenario).write_bytes(content)
        entries.append({"scenario": scenario, "path": str(tmp_path / scenario)})
    (tmp_path / "sources.json").write_text(json.dumps(entries))
    read, quarantine = tmp_path / "flows.parquet", tmp_path / "quarantine.parquet"
    named = [(scenario, tmp_path / scenario) for scenario in logs]
    clean(named, read, tmp_path / "ledger.json", quarantine, max_quarantined=0.5)
    specs = {
        name: CaptureSpec(address="https://example.org", device="Mirai", flows=flows, labels=labels)
        for name, (flows, labels) in published.items()
    }
    frame = comparison.compare(specs, read, quarantine, tmp_path / "sources.json", tmp_path / "captures.csv")
    assert pl.read_csv(tmp_path / "captures.csv").equals(frame)
    return frame.select("capture", "class", "published", "parsed", "verdict").rows()


def test_equal_counts_are_equal(tmp_path):
    assert compared(tmp_path, {"A": (5, {"DDoS": 3, "Okiru": 2})}, A=log(DDoS=3, Okiru=2)) == [
        ("A", "all flows", 5, 5, "equal"),
        ("A", "DDoS", 3, 3, "equal"),
        ("A", "Okiru", 2, 2, "equal"),
    ]


def test_a_missing_row_and_a_class_that_is_not_published_differ(tmp_path):
    assert compared(tmp_path, {"A": (5, {"DDoS": 4, "Attack": 1})}, A=log(DDoS=3, Okiru=2)) == [
        ("A", "all flows", 5, 5, "equal"),
        ("A", "DDoS", 4, 3, "differs"),
        ("A", "Okiru", 0, 2, "differs"),
        ("A", "Attack", 1, 0, "differs"),
    ]


def test_what_is_not_published_is_said_so(tmp_path):
    logs = {"A": log(DDoS=3, Okiru=2), "B": log(Attack=1), "mixed-sample": log(FileDownload=4)}
    assert compared(tmp_path, {"A": (6, None), "B": (None, None)}, **logs) == [
        ("A", "all flows", 6, 5, "differs"),
        ("A", "DDoS", None, 3, "not published"),
        ("A", "Okiru", None, 2, "not published"),
        ("B", "all flows", None, 1, "not published"),
        ("B", "Attack", None, 1, "not published"),
        ("mixed-sample", "all flows", None, 4, "not published"),
    ]


def test_rows_that_were_dropped_as_duplicates_were_parsed(tmp_path):
    """B repeats the uids of A and adds an Okiru of its own; the sample repeats them again."""
    first, again = log(DDoS=2, Attack=1), log(DDoS=2, Attack=1, Okiru=1)
    benign = (line(uid="CB", label="benign", detailed_label="-") + "\r\n").encode()
    labels = {"DDoS": 2, "Attack": 1, "Benign": 1}
    published = {"A": (4, labels), "B": (5, labels | {"Okiru": 1})}
    rows = compared(tmp_path, published, A=first + benign, B=again + benign, sample=first)
    assert {row[-1] for row in rows if row[0] in "AB"} == {"equal"}
    assert len(rows) == 1 + 3 + 1 + 4 + 1
    assert rows[-1] == ("sample", "all flows", None, 3, "not published")
    assert pl.read_parquet(tmp_path / "flows.parquet").height == 5


def test_a_duplicate_in_another_format_shows_as_a_difference(tmp_path):
    flow = {"uid": "C1-DDoS", "label": "Malicious", "detailed-label": "DDoS"}
    names = ("ts", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "conn_state")
    as_json = json.dumps(flow | {name: ROW[name] for name in names}) + "\n"
    rows = compared(tmp_path, {"B": (1, {"DDoS": 1})}, A=log(DDoS=2), B=as_json.encode())
    assert rows[1:] == [
        ("B", "all flows", 1, 1, "equal"),
        ("B", "DDoS", 1, 0, "differs"),
        ("B", "duplicate uid", 0, 1, "differs"),
    ]


def test_an_unreadable_row_shows(tmp_path):
    content = log(DDoS=3) + (line(ts="yesterday", uid="CX", detailed_label="DDoS") + "\n").encode()
    assert compared(tmp_path, {"A": (4, {"DDoS": 4})}, A=content) == [
        ("A", "all flows", 4, 3, "differs"),
        ("A", "DDoS", 4, 3, "differs"),
        ("A", "unreadable", 0, 1, "differs"),
    ]


def test_the_real_captures_hold_what_is_published(real_data, tmp_path, registry):
    spec = FlowsSpec.model_validate({"source": {"kind": "mirror", "path": str(real_data / "iot23")}})
    flows.fetch(spec, tmp_path / "logs", tmp_path / "sources.json")
    logs = [(entry["scenario"], entry["path"]) for entry in read_json(tmp_path / "sources.json")]
    read, quarantine = tmp_path / "flows.parquet", tmp_path / "quarantine.parquet"
    clean([(name, real_data / path) for name, path in logs], read, tmp_path / "ledger.json", quarantine)
    frame = comparison.compare(
        registry.captures, read, quarantine, tmp_path / "sources.json", tmp_path / "captures.csv"
    )
    known = frame.filter(pl.col("capture").str.starts_with("CTU-"))
    assert known["capture"].n_unique() == 3
    assert set(known["verdict"]) == {"equal"}
    assert frame.filter(pl.col("capture") == "mixed-sample").rows() == [
        ("mixed-sample", "", "all flows", None, 10_000, "not published")
    ]
