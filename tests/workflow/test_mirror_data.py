"""The experiments on real data: their data stages end, for every partition, where the mirror is at hand."""

import pytest
import yaml
from checkout import REPOSITORY, Checkout

FILES = {path.stem: path for path in sorted((REPOSITORY / "config/experiments").glob("*.yaml"))}


def on_mirror(path):
    told = yaml.safe_load(path.read_text())
    sources = (told.get("gsfs", {}).get("flows", {}), told.get("edge_fit", {}).get("instructions", {}))
    return any(study.get("source", {}).get("kind") == "mirror" for study in sources)


@pytest.mark.parametrize("name", [name for name, path in FILES.items() if on_mirror(path)])
def test_the_data_stage_ends(name, real_data, tmp_path):
    told = yaml.safe_load(FILES[name].read_text())
    for study, part, folder in (("gsfs", "flows", "iot23"), ("edge_fit", "instructions", "dolly")):
        if study in told:
            told[study][part]["source"]["path"] = str(real_data / folder)
    checkout = Checkout(tmp_path)
    config = checkout.folder / "config/experiments" / f"{name}.yaml"
    config.write_text(yaml.safe_dump(told))
    answer = checkout.snakemake("data", config=config)
    assert answer.returncode == 0, answer.stdout[-3000:]
