"""A capture that does not exist stops before any job, with the names there are."""

import yaml
from checkout import REPOSITORY, Checkout


def test_an_unknown_capture_is_refused(tmp_path_factory, tmp_path):
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    config = yaml.safe_load((REPOSITORY / "tests" / "workflow" / "tiny.yaml").read_text())
    config["gsfs"]["flows"]["source"] = {"kind": "official", "captures": ["CTU-IoT-Malware-Capture-34-2"]}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config))
    answer = checkout.snakemake(config=path)
    assert answer.returncode != 0
    for part in ("mine.yaml", "gsfs.flows.source.captures", "CTU-IoT-Malware-Capture-34-2", "Remedy", "Did you mean"):
        assert part in answer.stdout
    assert "Traceback" not in answer.stdout
    assert "Job " not in answer.stdout
    assert not (checkout.folder / "results").exists()
