"""Sources of logs: synthetic ones are seeded and in the original format, mirrored ones are found and checked."""

import pytest

from fedbench.errors import FedbenchError
from fedbench.files import read_json, sha256
from fedbench.flows.behaviours import PUBLISHED_FLOWS
from fedbench.flows.fetch import fetch
from fedbench.flows.synthetic import RARE, SCENARIOS, class_mix, write_logs
from fedbench.spec import FlowsSpec


def mirror(path, *files):
    return FlowsSpec.model_validate({"source": {"kind": "mirror", "path": str(path), "files": list(files)}})


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x\n")


def test_a_missing_folder_says_how_to_get_the_data(tmp_path):
    with pytest.raises(FedbenchError, match=r"absent: no such folder.*doi:10\.5281/zenodo\.4743746"):
        fetch(mirror(tmp_path / "absent"), tmp_path / "logs", tmp_path / "sources.json")
    with pytest.raises(FedbenchError, match="no log that matches"):
        fetch(mirror(tmp_path), tmp_path / "logs", tmp_path / "sources.json")
    assert not (tmp_path / "sources.json").exists()


def test_an_empty_log_is_named(tmp_path):
    (tmp_path / "conn.log.labeled").touch()
    with pytest.raises(FedbenchError, match=r"conn\.log\.labeled: empty log"):
        fetch(mirror(tmp_path), tmp_path / "logs", tmp_path / "sources.json")


def test_a_mirror_finds_logs_by_their_usual_names_originals_first(tmp_path):
    data = tmp_path / "data"
    put(data, "a-sample/conn.log.calibration_90_10", "CTU-IoT-1-1/bro/conn.log.labeled", "CTU-IoT-2-1/http.log")
    put(data, "CTU-IoT-2-1/conn.log.labeled.gz", "conn.log.labeled")
    fetch(mirror(data), tmp_path / "logs", tmp_path / "sources.json")
    entries = read_json(tmp_path / "sources.json")
    assert [entry["scenario"] for entry in entries] == ["CTU-IoT-1-1", "CTU-IoT-2-1", "conn.log.labeled", "a-sample"]
    assert entries[0] == {
        "scenario": "CTU-IoT-1-1",
        "path": str(data / "CTU-IoT-1-1/bro/conn.log.labeled"),
        "sha256": sha256(data / "CTU-IoT-1-1/bro/conn.log.labeled"),
        "bytes": 2,
        "source": "mirror",
    }


def test_a_mirror_takes_only_the_files_named(tmp_path):
    put(tmp_path, "a/conn.log.labeled", "b/conn.log.labeled", "b/other.log")
    fetch(mirror(tmp_path, "b/*.log", "a/*"), tmp_path / "logs", tmp_path / "sources.json")
    assert [entry["scenario"] for entry in read_json(tmp_path / "sources.json")] == ["b", "a"]


def test_synthetic_logs_are_the_same_bytes_for_the_same_seed_only(tmp_path):
    def digests(folder, seed):
        spec = FlowsSpec.model_validate({"source": {"kind": "synthetic", "rows": 300, "seed": seed}})
        fetch(spec, tmp_path / folder, tmp_path / folder / "sources.json")
        entries = read_json(tmp_path / folder / "sources.json")
        assert {entry["source"] for entry in entries} == {"synthetic"}
        return [entry["sha256"] for entry in entries]

    assert digests("a", 1) == digests("b", 1)
    assert digests("a", 1) != digests("c", 2)


def test_the_class_mix_is_the_published_one_but_for_the_rare_classes():
    mix = class_mix()
    assert sum(mix.values()) == pytest.approx(1)
    assert min(mix.values()) == RARE
    for one, other in (("PartOfAHorizontalPortScan", "Okiru"), ("Okiru", "Benign"), ("Benign", "DDoS")):
        assert mix[one] / mix[other] == pytest.approx(PUBLISHED_FLOWS[one] / PUBLISHED_FLOWS[other])


def test_synthetic_logs_have_the_quirks_of_the_real_ones(tmp_path):
    logs = {scenario: path.read_bytes() for scenario, path in write_logs(tmp_path, 1000, 0)}
    assert set(logs) == set(SCENARIOS)
    together = b"".join(logs.values())
    assert b"tunnel_parents   label   detailed-label\n" in together
    assert b"\t-   benign   -\r\n" in together
    assert b"\t(empty)   Malicious   " in together
    assert any(log.rstrip().splitlines()[-1].startswith(b"#close") and b"   " in log[-40:] for log in logs.values())
    sample = logs["synthetic-mixed-sample"]
    assert sample.startswith(b"ts\tuid\t")
    assert b".0\t" in sample
    times = [float(row.split(b"\t")[0]) for row in logs[SCENARIOS[0]].splitlines() if not row.startswith(b"#")]
    assert times != sorted(times)
